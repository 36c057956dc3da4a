"""What a graph refuses: the CHECKs of Net::Init and Blob::Reshape, with layer and numbers."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import CaffeCompatError, ShapeError
from caffe_compat.layer import named
from caffe_compat.layers.activation import ReLU

from .cases import graph_of, make

_DATA = 'layer {{ name: "d" type: "Input" top: "d" input_param {{ shape {{ {} }} }} }}\n'
_IP = """layer { name: "ip" type: "InnerProduct" bottom: "d" top: "y" %s
         inner_product_param { num_output: %d } }\n"""
_RELU = 'layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }\n'


def _data(*dims):
    return _DATA.format(" ".join(f"dim: {n}" for n in dims))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_data(2, 0, 5), r"layer 'd' \(Input\): 'd' would have the shape \(2, 0, 5\); every axis"),
        (_data(2, -1), r"layer 'd' \(Input\): 'd' would have the shape \(2, -1\)"),
        (_data(100000, 100000), r"layer 'd' \(Input\): .* at most 32 axes and 2147483647 values"),
        (_data(2, 3) + _IP % ("", 2**30),
         r"layer 'ip' \(InnerProduct\): 'weight' would have the shape \(1073741824, 3\)"),
    ],
)  # fmt: skip
def test_sizes_that_no_blob_can_have(text, message):
    with pytest.raises(ShapeError, match=message):
        graph_of(text)


def test_in_place_over_a_loss():
    """InsertSplits counts a stated loss weight as a reader, so the blob is not the layer's own."""
    with pytest.raises(ShapeError, match=r"layer 'relu' \(ReLU\): top blob 'y' produced by mult"):
        graph_of(_data(2, 3) + _IP % ("loss_weight: 2", 5) + _RELU)
    graph_of(_data(2, 3) + _IP % ("loss_weight: 0", 5) + _RELU)


def test_the_same_top_twice():
    with pytest.raises(ShapeError, match=r"layer 's' \(Split\): top blob 'y' produced by multiple"):
        graph_of(_data(2, 3) + 'layer { name: "s" type: "Split" bottom: "d" top: "y" top: "y" }')


def test_a_loss_of_two_tops_says_both_weights():
    text = _data(2, 3) + _data(2).replace('"d"', '"l"') + """
        layer { name: "x" type: "SoftmaxWithLoss" bottom: "d" bottom: "l" top: "y" top: "p" %s }"""
    with pytest.raises(ShapeError, match=r"layer 'x' .* needs a loss_weight for each of its 2"):
        graph_of(text % "")
    weighted = graph_of(text % "loss_weight: 1 loss_weight: 0").nodes[-1]
    assert weighted.loss_weights == (1, 0)


def test_want_of_memory_names_the_layer(monkeypatch):
    def forward(self, x):
        raise MemoryError("Unable to allocate 8.00 GiB")

    monkeypatch.setattr(ReLU, "forward", forward)
    net = make(_data(2, 3) + _IP % ("", 5) + _RELU)
    with pytest.raises(CaffeCompatError, match=r"^layer 'relu' \(ReLU\): Unable to allocate"):
        net.forward({"d": np.zeros((2, 3), np.float32)})
    proto = net.graph.net.layer[0]
    with pytest.raises(CaffeCompatError, match=r"not enough memory$"), named(proto):
        raise MemoryError
