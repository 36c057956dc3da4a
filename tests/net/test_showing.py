"""What is shown of a blob whose memory a layer in place overwrote under another name."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat import to_onnx, verify
from caffe_compat.errors import ShapeError
from caffe_compat.net.showing import show
from caffe_compat.runtime.session import Session

from ..cases import feed, make

DATA = """layer { name: "d" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 } } }
layer { name: "pre" type: "Power" bottom: "x" top: "p" }
"""
VIEWS = {
    "Flatten": 'layer { name: "view" type: "Flatten" bottom: "p" top: "v" }\n',
    "Reshape": 'layer { name: "view" type: "Reshape" bottom: "p" top: "v" '
    "reshape_param { shape { dim: 4 dim: -1 } } }\n",
    "Split": 'layer { name: "view" type: "Split" bottom: "p" top: "v" }\n',
    "Slice": 'layer { name: "view" type: "Slice" bottom: "p" top: "v" }\n',
}
RELU = 'layer { name: "relu" type: "ReLU" bottom: "v" top: "v" }\n'


@pytest.mark.parametrize("view", VIEWS)
def test_forward_and_blobs_show_what_is_left(view, tmp_path):
    """As real Caffe does: the Power's top is relu(x) after the run, in its own shape."""
    text = DATA + VIEWS[view] + RELU
    net = make(text)
    feeds = feed(net)
    want = np.maximum(feeds["x"], 0)
    np.testing.assert_array_equal(net.forward(feeds)["p"], want)
    np.testing.assert_array_equal(Session(net, "cpu", blobs=["p"]).run(feeds)["p"], want)
    to_onnx(net, tmp_path / "n.onnx", blobs=["p"])
    np.testing.assert_array_equal(Session(tmp_path / "n.onnx", "cpu").run(feeds)["p"], want)
    assert verify(net, tmp_path / "n.onnx").agrees


def test_an_open_axis_stays_open():
    net = make(DATA + VIEWS["Flatten"] + RELU, inputs={"x": (None, 3, 4)})
    x = np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)
    outputs = Session(net, "cpu", blobs=["p"]).run({"x": x})
    np.testing.assert_array_equal(outputs["p"], np.maximum(x, 0))


def test_nets_without_such_blobs_stay():
    net = make(DATA + RELU.replace('"v"', '"p"'))
    same, values = show(net, ["p", "x"])
    assert same is net
    assert [value.name for value in values] == ["p", "x"]
    with pytest.raises(ShapeError, match="no blob 'q'"):
        show(net, ["q"])
