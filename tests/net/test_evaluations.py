"""Nets without the evaluations that no ONNX operators compute."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import caffe_compat
from caffe_compat.errors import UnsupportedError
from caffe_compat.net.evaluations import without_evaluations
from caffe_compat.onnx.lowering import lower

from ..cases import make

NET = """
layer { name: "data" type: "Input" top: "data" top: "truth"
  input_param { shape { dim: 1 dim: 2 dim: 3 dim: 4 } shape { dim: 1 dim: 1 dim: 3 dim: 4 } } }
layer { name: "score" type: "SegAccuracy" bottom: "data" bottom: "truth" top: "score" }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "shared" type: "Convolution" bottom: "conv" top: "shared"
  convolution_param { num_output: 2 kernel_size: 1 } param { name: "w" } param { name: "b" } }
layer { name: "again" type: "Convolution" bottom: "shared" top: "again"
  convolution_param { num_output: 2 kernel_size: 1 } param { name: "w" } param { name: "b" } }
layer { name: "last" type: "SegAccuracy" bottom: "again" bottom: "truth" top: "last" %s }
"""


def test_what_they_read_is_an_output_or_no_input():
    net = make(NET % "")
    cut, out = without_evaluations(net)
    assert [node.layer.name for node in out] == ["score", "last"]
    assert [value.blob for value in cut.graph.inputs] == ["data"]
    assert [value.blob for value in cut.graph.outputs] == ["again"]
    data = np.random.default_rng(0).standard_normal((1, 2, 3, 4)).astype(np.float32)
    whole = net.forward({"data": data, "truth": np.zeros((1, 1, 3, 4))})
    assert np.array_equal(cut.forward({"data": data})["again"], whole["again"])
    assert net.graph.inputs[1].blob == "truth"


def test_what_the_caller_reads_stays():
    cut, out = without_evaluations(make(NET % ""), ["last", "truth"])
    assert [node.layer.name for node in out] == ["score"]
    assert [value.blob for value in cut.graph.inputs] == ["data", "truth"]
    assert [value.blob for value in cut.graph.outputs] == ["last"]


def test_what_a_layer_reads_stays():
    net = make(NET % "" + 'layer { name: "twice" type: "Power" bottom: "last" top: "twice" }')
    _, out = without_evaluations(net)
    assert [node.layer.name for node in out] == ["score"]
    with pytest.raises(UnsupportedError, match="has no ONNX form") as error:
        lower(net)
    assert error.value.changes == ({"deploy": True},)


def test_converted_and_verified(run, tmp_path):
    """One that cannot run at all is no obstacle to the file."""
    path = tmp_path / "net.prototxt"
    path.write_text(NET % "seg_accuracy_param { reset: false }")
    status, out, err = run("convert", path, "-o", tmp_path / "net.onnx", "--verify")
    left = "left out: 'score' (SegAccuracy), 'last' (SegAccuracy), which have no ONNX form"
    assert (status, left in err) == (0, True)
    assert "verified: " in out
    model = onnx.load(tmp_path / "net.onnx")
    assert [each.name for each in model.graph.input] == ["data"]
    assert [each.name for each in model.graph.output] == ["again"]
    session = caffe_compat.Session(caffe_compat.load(path), "cpu")
    assert (list(session.inputs), list(session.outputs)) == (["data"], ["again"])
