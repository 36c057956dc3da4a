"""What a prototxt states and can hardly mean, and whose layers a net's types tell."""

from __future__ import annotations

import pytest

from caffe_compat.net.creation import Creator
from caffe_compat.net.doubts import evident_forks, folded_batches, small_inputs

from ..cases import graph_of

CONV = """layer { name: "c" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 4 kernel_size: 1 } }"""
FC = """layer { name: "f" type: "InnerProduct" bottom: "data" top: "f"
  inner_product_param { num_output: 4 } }"""


def shaped(*dims):
    return 'input: "data" input_shape { ' + " ".join(f"dim: {n}" for n in dims) + " }\n"


@pytest.mark.parametrize(
    ("text", "small"),
    [
        (shaped(1, 3, 16, 17) + CONV, ["data"]),
        (shaped(1, 3, 33, 16) + CONV, []),
        (shaped(1, 3, 16, 17) + FC, []),  # its weights fix the size
        (shaped(1, 3) + FC, []),
    ],
)
def test_small_inputs(text, small):
    assert [value.blob for value in small_inputs(graph_of(text))] == small


def test_open_axes_are_not_small():
    graph = graph_of(shaped(1, 3, 16, 17) + CONV, inputs={"data": (1, 3, None, None)})
    assert not [*small_inputs(graph)]


@pytest.mark.parametrize(
    ("dims", "batch", "folds"),
    [
        ("dim: 1 dim: -1", 2, True),
        ("dim: 1 dim: -1", "dynamic", True),
        ("dim: 1 dim: -1", None, False),
        ("dim: 0 dim: -1", 2, False),
        ("dim: -1 dim: 3", 2, False),
    ],
)
def test_folded_batches(dims, batch, folds):
    text = shaped(1, 3, 4) + (
        'layer { name: "r" type: "Reshape" bottom: "data" top: "r" '
        f"reshape_param {{ shape {{ {dims} }} }} }}"
    )
    nodes = [*folded_batches(graph_of(text, batch=batch))]
    assert [node.layer.name for node in nodes] == ["r"] * folds


ALIGN = (
    shaped(1, 3, 8, 9)
    + 'input: "rois" input_shape { dim: 2 dim: 5 }\n'
    + 'layer { name: "a" type: "ROIAlign" bottom: "data" bottom: "rois" top: "a" '
    + "roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 1 pad_ratio: 0 } }"
)


def test_a_fork_that_the_other_types_tell():
    net = graph_of(ALIGN, fork="cascade-rcnn").net
    assert Creator().attempt(net.layer[1]) is None
    net.layer.add(name="b", type="DecodeBBox")
    created = Creator(None, None, net).attempt(net.layer[1])
    assert type(created).fork == "cascade-rcnn"


@pytest.mark.parametrize("kind", ["LargeMarginInnerProduct", "GeneralContrastiveLoss"])
def test_whose_bn_it_is(kind):
    """Four blobs 1 x C are of two forks, and differ in the last."""
    text = shaped(2, 3, 4, 5) + 'layer { name: "n" type: "BN" bottom: "data" top: "n" }'
    net, stored = graph_of(text, fork="pspnet").net, {"n": [(1, 3)] * 4}
    assert Creator(None, stored, net).attempt(net.layer[-1]) is None
    net.layer.add(name="m", type=kind)
    created = Creator(None, stored, net).attempt(net.layer[-2])
    assert type(created).fork == "caffe-windows"


def test_a_fork_that_a_field_tells():
    text = (
        shaped(1, 3, 8, 9)
        + 'layer { name: "m" type: "Mul" bottom: "data" bottom: "data" top: "m" }'
    )
    net = graph_of(text, fork="synopsys-caffe").net
    assert Creator(None, None, net).attempt(net.layer[1]) is None
    net.layer.add(name="c", type="Convolution").convolution_param.pad_l = 1
    assert type(Creator(None, None, net).attempt(net.layer[1])).fork == "synopsys-caffe"


def test_a_fork_is_told():
    graph = graph_of(ALIGN, fork="cascade-rcnn")
    assert not [*evident_forks(graph)]
    graph.net.layer.add(name="b", type="FrcnnOutput")
    assert [*evident_forks(graph)] == [
        "layers of type ROIAlign are taken as cascade-rcnn's, which has FrcnnOutput"
    ]
