"""The sizes of a net that vary with open input sizes, and those that cannot."""

from __future__ import annotations

import pytest

from caffe_compat.errors import ShapeError

from ..cases import graph_of
from ..slope_nets import conv, layer

INPUT = 'input: "data" input_shape { dim: 2 dim: 3 dim: 8 dim: 9 }\n'


def dims_of(text, **inputs):
    return {v.blob: v.dims for v in graph_of(text, inputs=inputs).values}


def test_open_sizes_reach_as_far_as_they_matter():
    text = (
        INPUT
        + conv("c", "data")
        + layer("Pooling", "c", "p", "pooling_param { global_pooling: true }")
    )
    assert dims_of(text, data=(None, 3, None, 9)) == {
        "data": (None, 3, None, 9),
        "c": (None, 4, None, 7),
        "p": (None, 4, 1, 1),
    }
    assert graph_of(text, inputs={"data": (None, 3, None, 9)}).blob("c").shape == (2, 4, 6, 7)


def test_a_size_that_rounding_hides():
    """From 9 to 10 columns nothing changes, to 18 it does."""
    text = INPUT + layer("Pooling", "data", "p", "pooling_param { kernel_size: 2 stride: 2 }")
    assert dims_of(text, data=(2, 3, 8, None))["p"] == (2, 3, 4, None)


def test_a_net_that_takes_only_multiples():
    """One column more does not fit, and the batch of 8 tells what varies."""
    text = INPUT + layer("Reshape", "data", "r", "reshape_param { shape { dim: -1 dim: 54 } }")
    assert dims_of(text, data=(None, 3, 8, 9))["r"] == (None, 54)
    assert dims_of(text, data=(2, 3, 8, None))["r"] == (None, 54)


def test_inputs_of_the_same_size_vary_together():
    text = (
        INPUT
        + 'input: "other" input_shape { dim: 2 dim: 3 dim: 8 dim: 9 }'
        + layer("Eltwise", "data other", "e")
    )
    dims = (None, 3, 8, 9)
    assert dims_of(text, data=dims, other=dims)["e"] == dims
    with pytest.raises(ShapeError, match="axis 0 of the input cannot vary: layer 'eltwise'"):
        graph_of(text, inputs={"data": dims})


def test_rows_that_only_the_data_decide():
    """A Filter's rows vary though every input's size is fixed, and so do blobs behind it."""
    text = (
        INPUT
        + 'input: "which" input_shape { dim: 2 }'
        + layer("Filter", "data which", "f")
        + conv("c", "f")
    )
    assert {n: d for n, d in dims_of(text).items() if n in "fc"} == {
        "f": (None, 3, 8, 9),
        "c": (None, 4, 6, 7),
    }


def test_what_cannot_vary():
    fixed = layer("Reshape", "data", "r", "reshape_param { shape { dim: 2 dim: 216 } }", "r")
    with pytest.raises(ShapeError, match="axis 2 of the input cannot vary: layer 'r'"):
        graph_of(INPUT + fixed, inputs={"data": (2, 3, None, 9)})
    with pytest.raises(ShapeError, match="leaves sizes open that the prototxt does not give"):
        graph_of(INPUT, inputs={"data": (2, 3, None)})


def test_inputs_by_name():
    assert graph_of(INPUT, inputs={"data": (1, 2)}).inputs[0].shape == (1, 2)
    with pytest.raises(ShapeError, match="the net has no input 'dtaa'; its inputs: data"):
        graph_of(INPUT, inputs={"dtaa": (1, 2)})
