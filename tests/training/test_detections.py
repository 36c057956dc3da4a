"""Tests that score detections: the lines that real SSD logged for the same boxes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from google.protobuf import text_format

from caffe_compat.caffe_pb2 import SolverParameter
from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.training.solver import Solver

from .cases import ENGINES, GOLDEN

WANT = json.loads((GOLDEN / "detection_tests.json").read_text())
TRAIN = """
layer { name: "d" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 2 dim: 3 } shape { dim: 2 dim: 2 } data_filler { type: "constant" value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""
TEST = """
layer {{ name: "in" type: "Input" top: "det" top: "gt" input_param {{
  shape {{ dim: 1 dim: 1 dim: {boxes} dim: 7 }} shape {{ dim: 1 dim: 1 dim: {truths} dim: 8 }} }} }}
layer {{ name: "eval" type: "DetectionEvaluate" bottom: "det" bottom: "gt" top: "eval"
  detection_evaluate_param {{ num_classes: 5 background_label_id: 0 overlap_threshold: 0.5
    evaluate_difficult_gt: false }} }}
"""


def scoring(number, version, engine, log=None, extra=""):
    with np.load(GOLDEN / "detection_tests.npz") as file:
        boxes, truths = file[f"det{number}"], file[f"gt{number}"]
    p = text_format.Parse(
        'base_lr: 0.1 lr_policy: "fixed" random_seed: 1 test_interval: 5 eval_type: "detection" '
        f'show_per_class_result: true test_iter: {len(boxes)} ap_version: "{version}"',
        SolverParameter(),
    )
    text_format.Parse(TRAIN, p.net_param)
    text = TEST.format(boxes=boxes.shape[2], truths=truths.shape[2]) + extra
    text_format.Parse(text, p.test_net_param.add())
    feeds = [{"det": b[None], "gt": t[None]} for b, t in zip(boxes, truths, strict=True)]
    return Solver(p, test_data=[feeds], engine=engine, device="cpu", log=log)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", WANT)
def test_the_lines_of_ssd(case, engine):
    number, version = case.split()
    lines = []
    scores = scoring(number, version, engine, lines.append).test()
    logged = [line.partition("] ")[2].strip() for line in lines]
    shown = [line for line in logged if line.startswith(("class", "Missing", "Test net output"))]
    assert shown == WANT[case]
    if shown:
        assert shown[-1] == f"Test net output #0: eval = {float(scores['eval']):g}"


def test_an_output_of_another_kind():
    sum_of = 'layer { name: "sum" type: "Reduction" bottom: "gt" top: "sum" }'
    with pytest.raises(ShapeError, match=r"five numbers.*the output 'sum' is \(\)"):
        scoring(0, "Integral", "numpy", extra=sum_of).test()


def test_a_version_that_is_not_known():
    with pytest.raises(UnsupportedError, match="ap_version '101point' is not known"):
        scoring(0, "101point", "numpy")
