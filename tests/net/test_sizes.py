"""Sizes of blobs, and those that the caller chooses for inputs."""

from __future__ import annotations

import pytest

from caffe_compat.errors import ShapeError
from caffe_compat.net.sizes import check_size, input_sizes

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
