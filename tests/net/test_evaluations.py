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


LOSS = """
layer { name: "data" type: "Input" top: "data" top: "words"
  input_param { shape { dim: 5 dim: 2 dim: 3 } shape { dim: 2 dim: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 4 axis: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "CtcLoss" bottom: "ip" bottom: "words" top: "loss"
  ctc_loss_param { alphabet_size: 4 time_step: 5 } }
"""


def test_a_loss_without_a_form(run, tmp_path):
    """A note says what is left out, and that --deploy exists."""
    path = tmp_path / "net.prototxt"
    path.write_text(LOSS)
    status, out, err = run("convert", path, "-o", tmp_path / "net.onnx", "--verify")
    assert (status, "verified: " in out) == (0, True)
    assert "left out: 'loss' (CtcLoss), which has no ONNX form" in err
    assert "note: the net is one for training; --deploy gives the one that predicts" in err
    model = onnx.load(tmp_path / "net.onnx")
    assert [each.name for each in model.graph.input] == ["data"]
    status, _, err = run("convert", path, "-o", tmp_path / "deploy.onnx", "--deploy")
    assert (status, "for training" in err) == (0, False)
    status, _, err = run("convert", path, "-o", tmp_path / "no.onnx", "--blob", "loss")
    assert status == 1
    assert "'loss' (CtcLoss): has no ONNX form: it compares outputs with the ground truth" in err


def test_many_are_named_by_their_number(run, tmp_path):
    head = """layer { name: "loss%d" type: "CtcLoss" bottom: "ip" bottom: "words" top: "l%d"
      ctc_loss_param { alphabet_size: 4 time_step: 5 } }"""
    path = tmp_path / "net.prototxt"
    path.write_text(LOSS + "".join(head % (i, i) for i in range(6)))
    status, _, err = run("convert", path, "-o", tmp_path / "net.onnx")
    assert (status, "'loss2' (CtcLoss) and 3 more, which have no ONNX form" in err) == (0, True)


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


@pytest.mark.parametrize(
    "writer", ["FLOWriter", "ImgWriter", "PFMWriter", "FloatWriter", "MatWrite"]
)
def test_what_a_writer_writes_is_an_output(writer):
    """Beside what it reads, a net that ends in such a layer has none."""
    net = make(
        'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }'
        'layer { name: "twice" type: "Power" bottom: "x" top: "y" power_param { scale: 2 } }'
        f'layer {{ name: "end" type: "{writer}" bottom: "y" }}'
    )
    cut, out = without_evaluations(net)
    assert [node.layer.type for node in out] == [out[0].layer.type]
    assert [value.blob for value in cut.graph.outputs] == ["y"]
