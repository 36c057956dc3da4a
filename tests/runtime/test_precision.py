"""Smaller numbers: how far they are from float32, and what must not become small."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from PIL import Image

from caffe_compat.runtime.parity import Parity, compare
from caffe_compat.runtime.precision import with_places

from ..cases import GOLDEN, graph_of

SSD = GOLDEN / "models" / "hyperlpr_ssd"


class Says:
    """A session that always says the same."""

    def __init__(self, **outputs):
        self.outputs = {k: np.asarray(v, np.float32) for k, v in outputs.items()}

    def run(self, feeds):
        return self.outputs


def parity(wanted, made):
    return compare(Says(**wanted), Says(**made), [{}])


BOXES = [
    [0, 1, 0.9, 0.1, 0.1, 0.5, 0.5],
    [0, 1, 0.8, 0.5, 0.5, 0.9, 0.8],
    [0, 2, 0.8, 0.5, 0.5, 0.9, 0.8],
]


def test_detections_are_compared_in_any_order():
    other = np.array(BOXES)
    other[:, 2:] += 0.01
    moved = parity({"out": [[BOXES]]}, {"out": [[other[::-1]]]})
    assert moved.found == (3, 3)
    assert moved.largest["out"] == pytest.approx(0.01 / 0.9, rel=1e-4)
    assert str(moved).endswith("out 1.1e-02; 3 of 3 boxes found again")


def test_detections_are_found_again_once_and_by_class():
    once = parity({"out": [[BOXES[:1] * 2]]}, {"out": [[BOXES[:1]]]})
    assert once.found == (1, 2)
    other = [[0, 3, *BOXES[0][2:]], [1, *BOXES[1][1:]], [0, 2, 0.8, 0.5, 0.5, 0.6, 0.6]]
    assert parity({"out": [[BOXES]]}, {"out": [[other]]}) == Parity({"out": 0.0}, None, (0, 3))
    nothing = [[[[0, -1, -1, -1, -1, -1, -1]]]]
    assert parity({"out": nothing}, {"out": nothing}).found is None
    assert parity({"out": [[BOXES]]}, {"out": nothing}).found == (0, 3)


def test_classes_and_what_is_not_a_number():
    said = parity({"prob": [[0.9, 0.1], [0.2, 0.8]]}, {"prob": [[0.6, 0.4], [0.6, 0.4]]})
    assert said.same == (1, 2)
    assert said.largest["prob"] == pytest.approx(0.4 / 0.9)
    assert parity({"x": [[1, 2]]}, {"x": [[1, np.nan]]}).largest["x"] == float("inf")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(3)
    for i in range(2):
        small = Image.fromarray(rng.integers(0, 256, (9, 11, 3), np.uint8))
        small.resize((512, 512)).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize(
    ("form", "share", "kind"),
    [("--fp16", 1.0, onnx.TensorProto.FLOAT16), ("--int8", 0.8, onnx.TensorProto.INT8)],
)
def test_a_detector_keeps_its_boxes(run, tmp_path, pictures, form, share, kind):
    model = tmp_path / "small.onnx"
    status, out, _ = run(
        "convert",
        SSD / "net.prototxt",
        SSD / "weights.caffemodel",
        "-o",
        model,
        form,
        "--calibrate",
        pictures,
        "--mean",
        127.5,
        "--scale",
        1 / 128,
    )
    assert status == 0
    found, total = map(int, re.findall(r"(\d+) of (\d+) boxes found again", out)[0])
    assert found >= share * total > 10
    held = {tensor.name: tensor.data_type for tensor in onnx.load(model).graph.initializer}
    nodes = onnx.load(model).graph.node
    makers = {output: node for node in nodes for output in node.output}
    for conv in (node for node in nodes if node.op_type == "Conv"):
        weight = conv.input[1]
        weight = weight if weight in held else makers[weight].input[0]  # DequantizeLinear's
        assert held[weight] == kind


def test_layers_that_compute_with_places():
    graph = graph_of(
        """
input: "x" input_shape { dim: 1 dim: 4 dim: 6 dim: 7 }
input: "info" input_shape { dim: 1 dim: 3 }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
  convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "loc" type: "Convolution" bottom: "x" top: "loc"
  convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "find" type: "Proposal" bottom: "conv" bottom: "loc" bottom: "info" top: "rois"
  proposal_param { ratio: 1 scale: 8 } }
layer { name: "take" type: "ROIPooling" bottom: "x" bottom: "rois" top: "take"
  roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.0625 } }
layer { name: "fc" type: "InnerProduct" bottom: "take" top: "fc"
  inner_product_param { num_output: 5 } }
""",
        fork="pvanet",
    )
    assert with_places(graph) == {"find", "take"}
