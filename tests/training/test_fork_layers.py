"""Forks' layers in training: a state, blobs that a pass changes, gradients of their own."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format

from caffe_compat.caffe_pb2 import SolverParameter
from caffe_compat.training.solver import Solver

from .cases import ENGINES, blobs

SOLVER = """base_lr: 0.05 lr_policy: "fixed" max_iter: 6 momentum: 0.9 weight_decay: 0.01
random_seed: 3 snapshot_after_train: false net_param { %s }"""
INPUT = 'layer { name: "d" type: "Input" top: "x" top: "t" input_param { %s } }'
SOFTMAX = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "t" top: "loss" }'
MARGIN = """layer { name: "ip" type: "InnerProduct" bottom: "x" top: "f" inner_product_param {
  num_output: 7 weight_filler { type: "xavier" } } }
layer { name: "m" type: "%s" bottom: "f" bottom: "t" top: "y" %s_param { num_output: 4 %s } }"""
PASSES = 'type: QUADRUPLE base: 9 gamma: 0.5 weight_filler { type: "xavier" }'
MARGIN_2 = MARGIN.replace('top: "y"', 'top: "y" top: "lambda"')
PLAIN = ((8, 3, 2, 2), (8,))
NETS = {
    "LargeMarginInnerProduct": (
        MARGIN_2 % ("LargeMarginInnerProduct", "largemargin_inner_product", PASSES),
        *PLAIN,
    ),
    "MarginInnerProduct": (
        MARGIN_2 % ("MarginInnerProduct", "margin_inner_product", PASSES),
        *PLAIN,
    ),
    "CosinL2Normalize": (
        MARGIN % ("CosinL2Normalize", "cosin_loss", 'scale: 5 cosin_filler { type: "xavier" }'),
        *PLAIN,
    ),
    "DenseBlock": (
        """layer { name: "b" type: "DenseBlock" bottom: "x" top: "b" denseblock_param {
  numTransition: 2 growthRate: 2 Filter_Filler { type: "msra" }
  BN_Scaler_Filler { type: "constant" value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "b" top: "y" inner_product_param {
  num_output: 4 weight_filler { type: "xavier" } } }""",
        *PLAIN,
    ),
    "NVIDIA's BatchNorm": (
        """layer { name: "b" type: "BatchNorm" bottom: "x" top: "b" batch_norm_param {
  scale_bias: true moving_average_fraction: 0.9 } }
layer { name: "ip" type: "InnerProduct" bottom: "b" top: "y" inner_product_param {
  num_output: 4 weight_filler { type: "xavier" } } }""",
        *PLAIN,
    ),
    "CtcLoss": (
        """layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {
  num_output: 4 axis: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "CtcLoss" bottom: "y" bottom: "t" top: "loss"
  ctc_loss_param { alphabet_size: 4 time_step: 6 } }""",
        (6, 5, 3),
        (5, 2),
    ),
    "DetectionLoss": (
        """layer { name: "c" type: "Convolution" bottom: "x" top: "y" convolution_param {
  num_output: 7 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "DetectionLoss" bottom: "y" bottom: "t" top: "loss"
  detection_loss_param { cls_num: 3 field_h: 20 field_w: 20 downsample_rate: 8 bg_multiple: 1
    sample_mode: "mixture" } }""",
        (2, 3, 5, 4),
        (2, 6, 5, 4),
    ),
    "ProposalTarget": (
        """layer { name: "map" type: "DummyData" top: "map" dummy_data_param {
  shape { dim: 1 dim: 6 dim: 2 dim: 2 } } }
layer { name: "of MS-CNN" type: "BoxOutput" bottom: "map" top: "b" box_output_param {
  field_h: 9 field_w: 9 downsample_rate: 8 } }
layer { name: "end" type: "Silence" bottom: "b" }
layer { name: "p" type: "ProposalTarget" bottom: "x" bottom: "t" top: "r" top: "labels" top: "d"
  top: "in" top: "out" top: "match" propagate_down: false propagate_down: false
  proposal_target_param { cls_num: 4 batch_size: 12 fg_thr: 0.2 bg_thr_hg: 0.2 bg_thr_lw: 0 } }
layer { name: "near" type: "Power" bottom: "r" top: "near" power_param { scale: 0.02 } }
layer { name: "ip" type: "InnerProduct" bottom: "near" top: "y" inner_product_param {
  num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "labels" top: "loss" }""",
        (40, 5),
        (3, 7),
    ),
    "rows by the data": (  # Cascade R-CNN's ProposalTarget
        """layer { name: "map" type: "DummyData" top: "m" top: "n" dummy_data_param {
  shape { dim: 1 dim: 2 dim: 2 dim: 2 } shape { dim: 1 dim: 4 dim: 2 dim: 2 } } }
layer { name: "of Cascade R-CNN" type: "BoxGroupOutput" bottom: "m" bottom: "n" top: "b"
  box_group_output_param { box_group_param { field_h: 9 field_w: 9 stride: 8 } } }
layer { name: "end" type: "Silence" bottom: "b" }
layer { name: "p" type: "ProposalTarget" bottom: "x" bottom: "t" top: "r" top: "labels" top: "d"
  top: "in" top: "out" top: "match" propagate_down: false propagate_down: false
  proposal_target_param { cls_num: 4 batch_size: -1 fg_thr: 0.2 bg_thr_hg: 0.2 bg_thr_lw: 0.01 } }
layer { name: "near" type: "Power" bottom: "r" top: "near" power_param { scale: 0.02 } }
layer { name: "a" type: "InnerProduct" bottom: "near" top: "a" inner_product_param {
  num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }
layer { name: "ip" type: "InnerProduct" bottom: "a" top: "y" inner_product_param {
  num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "labels" top: "loss" }""",
        (40, 5),
        (3, 7),
    ),
    "TripletLoss": (
        """layer { name: "ip" type: "InnerProduct" bottom: "x" top: "f" inner_product_param {
  num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "s" type: "SampleTriplet" bottom: "f" bottom: "t" top: "s" }
layer { name: "loss" type: "TripletLoss" bottom: "f" bottom: "s" top: "loss" }""",
        (8, 3),
        (3,),
    ),
}


def batches(kind, x, t):
    """Yield batches of one kind of net."""
    rng = np.random.default_rng(1)
    while True:
        data, labels = rng.standard_normal(x), rng.integers(0, 4, t)
        if kind == "TripletLoss":
            labels = np.array([3, 2, 2])
        elif kind == "DetectionLoss":  # a label, a box and an overlap
            classes = rng.integers(0, 3, (t[0], 1, *t[2:]))
            labels = np.concatenate([classes, rng.uniform(8, 24, (t[0], 5, *t[2:]))], axis=1)
            labels[:, 5] = np.where(classes[:, 0] > 0, 0.8, 0.2)
        elif kind in ("ProposalTarget", "rows by the data"):
            data = np.zeros(x)
            data[:, 1:3] = rng.uniform(0, 60, (x[0], 2))
            data[:, 3:] = data[:, 1:3] + rng.uniform(10, 40, (x[0], 2))
            labels = np.zeros(t)
            labels[:, :5], labels[:, 5] = data[:3], [1, 2, 3]
            labels[:, 1:5] += 1
        yield {"x": data.astype(np.float32), "t": labels.astype(np.float32)}


def solver_of(kind, engine):
    """Return a solver of one kind of net."""
    text, x, t = NETS[kind]
    shapes = " ".join(f"shape {{ {' '.join(f'dim: {n}' for n in s)} }}" for s in (x, t))
    text = INPUT % shapes + text + ("" if '"loss"' in text else SOFTMAX)
    p = text_format.Parse(SOLVER % text, SolverParameter())
    return Solver(p, data=batches(kind, x, t), engine=engine, device="cpu")


@pytest.mark.parametrize("kind", NETS)
def test_engines_agree(kind):
    """The same losses and the same blobs after six steps, each of which moves every one."""
    reference = solver_of(kind, "numpy")
    begin = {name: array.copy() for name, array in blobs(reference).items()}
    losses = [reference.step(1).loss for _ in range(6)]
    want = blobs(reference)
    assert len(set(losses)) == 6
    still = {name for name in want if np.array_equal(want[name], begin[name])}
    assert still <= {"b:10", "b:2"}  # the counts of DenseBlock and of NVIDIA's BatchNorm
    for engine in set(ENGINES) - {"numpy"}:
        other = solver_of(kind, engine)
        np.testing.assert_allclose([other.step(1).loss for _ in range(6)], losses, 2e-5)
        for name, array in blobs(other).items():
            moved = np.abs(want[name] - begin[name]).max()
            np.testing.assert_allclose(array, want[name], 0, 1e-3 * moved + 1e-7, err_msg=name)


@pytest.mark.parametrize("kind", ["LargeMarginInnerProduct", "MarginInnerProduct"])
@pytest.mark.parametrize("engine", ENGINES)
def test_margins_grow(kind, engine):
    """The weight of the plain product falls from pass to pass: 9 / (1 + n / 2)."""
    solver = solver_of(kind, engine)
    seen = [float(solver.step(1).outputs["lambda"][0]) for _ in range(3)]
    np.testing.assert_allclose(seen, [9 / 1.5, 9 / 2, 9 / 2.5], 1e-6)
