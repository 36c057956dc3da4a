"""Sizes of blobs, and those that the caller chooses for inputs."""

from __future__ import annotations

import pytest

from caffe_compat.errors import ShapeError
from caffe_compat.net.sizes import check_size, follow_batch, input_sizes

from ..cases import graph_of


@pytest.mark.parametrize(
    ("shape", "dims", "batch", "want"),
    [
        ((2, 3, 8), None, None, ((2, 3, 8), (2, 3, 8))),
        ((2, 3, 8), (5, 3, 9), None, ((5, 3, 9), (5, 3, 9))),
        ((2, 3, 8), (None, 3, None), None, ((2, 3, 8), (None, 3, None))),
        ((2, 3, 8), (7,), None, ((7,), (7,))),
        (None, (1, 2), None, ((1, 2), (1, 2))),
        ((2, 3, 8), None, 4, ((4, 3, 8), (4, 3, 8))),
        ((2, 3, 8), None, "dynamic", ((2, 3, 8), (None, 3, 8))),
        ((2, 3, 8), (5, 3, None), "dynamic", ((5, 3, 8), (None, 3, None))),
        ((2, 3, 8), (5, 3, None), 4, ((4, 3, 8), (4, 3, None))),
        ((0, 3, 8), None, 4, ((4, 3, 8), (4, 3, 8))),
        ((), None, "dynamic", ((), ())),
    ],
)
def test_the_callers_sizes_over_the_prototxts(shape, dims, batch, want):
    assert input_sizes("x", shape, dims, batch) == want


def test_sizes_that_nobody_gives():
    with pytest.raises(ShapeError, match=r'inputs=\{"x": \(1, 3, 224, 224\)\}') as error:
        input_sizes("x", None, None, 3)
    assert error.value.remedies == ("inputs",)
    with pytest.raises(ShapeError, match="leaves sizes open"):
        input_sizes("x", (1, 2), (None, 2, 3), None)


@pytest.mark.parametrize("shape", [(), (1,), (1,) * 32, (2**31 - 1,)])
def test_sizes_that_a_blob_may_have(shape):
    check_size("x", shape)


@pytest.mark.parametrize("shape", [(0,), (3, -1), (1,) * 33, (2**16, 2**15)])
def test_sizes_that_no_blob_can_have(shape):
    with pytest.raises(ShapeError, match="'x' would have the shape"):
        check_size("x", shape)


def test_a_batch_reaches_every_input():
    text = (
        'input: "a" input_shape { dim: 2 dim: 3 } input: "b" input_shape { dim: 5 }'
        'layer { name: "s" type: "Silence" bottom: "a" bottom: "b" }'
    )
    graph = graph_of(text, batch=7)
    assert [value.shape for value in graph.inputs] == [(7, 3), (7,)]
    graph = graph_of(text, batch="dynamic")
    assert [(v.shape, v.dims) for v in graph.inputs] == [((2, 3), (None, 3)), ((5,), (None,))]


DATA = """
layer { name: "d" type: "Data" top: "data" top: "label"
  transform_param { crop_size: 227 mean_value: 1 mean_value: 2 mean_value: 3 }
  data_param { source: "db" batch_size: 50 } }
"""
READERS = """
layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { global_pooling: true } }
layer { name: "a" type: "Accuracy" bottom: "p" bottom: "label" top: "a" }
layer { name: "l" type: "SoftmaxWithLoss" bottom: "p" bottom: "label" top: "l" }
"""


@pytest.mark.parametrize(
    ("inputs", "batch", "data", "label"),
    [
        ({}, None, (50, 3, 227, 227), (50,)),
        ({"data": (1, 3, 9, 9)}, None, (1, 3, 9, 9), (1,)),
        ({"label": (7,), "data": (7, 3, 9, 9)}, None, (7, 3, 9, 9), (7,)),
        ({"label": (4,)}, None, (4, 3, 227, 227), (4,)),
        ({"data": (None, 3, 227, 227)}, None, (None, 3, 227, 227), (None,)),
        ({"data": (1, 3, 9, 9)}, 6, (6, 3, 9, 9), (6,)),
    ],
)
def test_labels_follow_the_batch_of_their_layer(inputs, batch, data, label):
    graph = graph_of(DATA + READERS, inputs=inputs, batch=batch)
    assert [value.dims for value in graph.inputs] == [data, label]


def test_labels_that_are_given_stay():
    graph = graph_of(DATA, inputs={"data": (1, 3, 9, 9), "label": (50,)})
    assert [value.shape for value in graph.inputs] == [(1, 3, 9, 9), (50,)]


def test_boxes_do_not_follow_the_batch():
    text = DATA.replace('"Data"', '"AnnotatedData"')
    graph = graph_of(text, inputs={"data": (1, 3, 9, 9)})
    assert [value.shape for value in graph.inputs] == [(1, 3, 9, 9), (1, 1, 1, 8)]


def test_what_is_not_known_does_not_follow():
    shapes = [None, (5, 2)]
    assert follow_batch(["a", "b"], shapes, {"b": (3, 2)}) == {}
    assert follow_batch(["a", "b"], shapes, {"a": (3, 2)}) == {"b": (3, 2)}
    assert follow_batch(["a", "b"], shapes, {"a": ()}) == {}
    assert follow_batch(["a", "b"], shapes, {}) == {}


def test_a_source_that_has_the_sizes_is_a_remedy():
    with pytest.raises(ShapeError, match=r"inputs=data\.shapes\(prototxt\)") as error:
        graph_of(DATA.replace("crop_size: 227", ""))
    assert error.value.remedies == ("inputs", "data")
