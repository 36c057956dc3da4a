"""The names of a graph's values; what it refuses: the CHECKs of Net::Init and Blob::Reshape."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import CaffeCompatError, ShapeError, UnsupportedError
from caffe_compat.layers.families.rectifier import ReLU
from caffe_compat.layers.families.regression import EuclideanLoss
from caffe_compat.layers.naming import named

from ..cases import graph_of, make
from ..slope_nets import conv, layer

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
        (
            _data(2, 3) + _IP % ("", 2**30),
            r"layer 'ip' \(InnerProduct\): 'weight' would have the shape \(1073741824, 3\)",
        ),
    ],
)
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


def test_a_loss_of_two_tops_says_both_weights(monkeypatch):
    """None of Caffe's has two; a layer of one's own may."""
    monkeypatch.setattr(EuclideanLoss, "tops", 2)
    monkeypatch.setattr(EuclideanLoss, "shapes", lambda self, *x: [(), x[0]])
    text = _data(2, 3) + 'layer { name: "x" type: "EuclideanLoss" bottom: "d" bottom: "d" %s }'
    text = text.replace('bottom: "d" %s', 'bottom: "d" top: "y" top: "p" %s')
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


# ---- names --------------------------------------------------------------------------------------

PICTURE = _data(2, 3, 8, 9)


def test_the_last_writer_has_the_blobs_name():
    graph = graph_of(
        PICTURE
        + conv("c", "d")
        + layer("ReLU", "c", "c", name="r")
        + layer("Dropout", "c", "c", name="e")
    )
    assert [v.name for v in graph.values] == ["d", "c/c", "c/r", "c"]
    assert [v.blob for v in graph.values] == ["d", "c", "c", "c"]
    assert graph.blob("c").name == "c"
    assert [node.inplace for node in graph.nodes] == [False, False, True, True]
    with pytest.raises(ShapeError, match="the net has no blob 'fc'"):
        graph.blob("fc")


def test_an_input_keeps_its_name_when_it_is_overwritten():
    graph = graph_of(PICTURE + layer("ReLU", "d", "d", name="r"))
    assert [v.name for v in graph.values] == ["d", "d/r"]
    assert [v.name for v in graph.inputs] == ["d"]
    assert [v.name for v in graph.outputs] == ["d/r"]


def test_names_that_collide_are_told_apart():
    """A blob c/c beside the first version of blob c, the top of a layer c."""
    graph = graph_of(
        PICTURE
        + conv("c", "d")
        + layer("ReLU", "c", "c", name="r")
        + layer("ReLU", "c", "c/c", name="s")
    )
    assert [v.blob for v in graph.values] == ["d", "c", "c", "c/c"]
    assert len({v.name for v in graph.values}) == 4


def test_outputs_are_what_nothing_reads_sorted_by_name():
    graph = graph_of(
        PICTURE + layer("ReLU", "d", "z") + layer("TanH", "d", "B") + layer("Sigmoid", "d", "a")
    )
    assert [v.blob for v in graph.outputs] == ["B", "a", "z"]


def test_a_loss_without_a_top():
    graph = graph_of(PICTURE + layer("EuclideanLoss", "d d", "", name="l").replace('top: ""', ""))
    assert [v.name for v in graph.nodes[-1].tops] == ["l/loss"]
    assert graph.nodes[-1].loss_weights == (1.0,)
    assert graph.outputs == ()


# ---- connections --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            layer("ReLU", "nothing", "r", name="r"),
            r"layer 'r' \(ReLU\): unknown bottom blob 'nothing' \(bottom index 0\)",
        ),
        (
            conv("a", "d") + layer("ReLU", "d", "a", name="r"),
            r"layer 'r' \(ReLU\): top blob 'a' produced by multiple sources",
        ),
        (
            conv("a", "d") + layer("ReLU", "a", "b", name="r") + layer("ReLU", "a", "a", name="s"),
            r"layer 's' \(ReLU\): top blob 'a' produced by multiple sources",
        ),
        (
            conv("d", "d"),
            r"layer 'd' \(Convolution\): cannot run in place: its top is its own bottom 'd'",
        ),
        (
            layer("Eltwise", "d", "e", name="e"),
            r"layer 'e' \(Eltwise\): takes at least 2 bottom blob\(s\), and has 1",
        ),
        (layer("ReLU", "d d", "r"), r"takes 1 bottom blob\(s\), and has 2"),
        (layer("ReLU", "d", "r s"), r"takes 1 top blob\(s\), and has 2"),
        (
            layer("Pooling", "d", "p q r", "pooling_param { kernel_size: 2 }"),
            r"takes 1 to 2 top blob\(s\), and has 3",
        ),
        (
            layer("ReLU", "d", "r", "propagate_down: true propagate_down: false"),
            r"propagate_down is given 2 times for 1 bottom blob\(s\)",
        ),
    ],
)
def test_connections_that_caffe_refuses(text, message):
    with pytest.raises(ShapeError, match=message):
        graph_of(PICTURE + text)


def test_all_unknown_types_at_once():
    with pytest.raises(UnsupportedError) as caught:
        graph_of(
            PICTURE
            + layer("Foo", "d", "f")
            + layer("ReLU", "f", "r")
            + layer("Bar", "r", "b")
            + layer("Foo", "b", "g", name="again")
        )
    refused = ("'foo' (Foo)", "'bar' (Bar)", "'again' (Foo)")
    assert str(caught.value) == "; ".join(f"layer {each}: unknown layer type" for each in refused)


def test_a_fork_that_nobody_knows():
    with pytest.raises(UnsupportedError, match="no fork 'nowhere' is known; these are: "):
        graph_of(PICTURE, fork="nowhere")
