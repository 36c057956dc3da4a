"""Padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import (
    check_both,
    check_gradients,
    check_varying,
    make,
    one_layer,
    operators,
)

SHAPE = (2, 3, 5, 4)


def outcome(body, *arrays):
    """What a layer makes of arrays; onnxruntime agrees."""
    arrays = [np.float32(array) for array in arrays]
    text = one_layer(body, *(array.shape for array in arrays))
    return check_both(text, feeds=dict(zip("abc", arrays, strict=False)))["y"]


def test_padding_by_hand():
    x = [[[[1, 2], [3, 4]]]]
    zero = outcome('type: "Padding" padding_param { pad_beg: 1 }', x)
    assert zero.tolist() == [[[[0, 0, 0], [0, 1, 2], [0, 3, 4]]]]
    cut = outcome('type: "Padding" padding_param { pad_beg: -1 }', x)
    assert cut.tolist() == [[[[4]]]]
    sides = outcome('type: "Padding" padding_param { pad_l: 1 pad_b: 1 pad_value: 7 }', x)
    assert sides.tolist() == [[[[7, 1, 2], [7, 3, 4], [7, 7, 7]]]]
    every = outcome('type: "Padding" padding_param { pad: 1 }', [[[[5]]]])
    assert every.tolist() == [[[[0, 0, 0], [0, 5, 0], [0, 0, 0]]]]


@pytest.mark.parametrize(
    "param", ["pad: 2", "pad_beg: -1 pad_end: -2", "pad_t: 2 pad_r: 1 pad_value: -3"]
)
def test_padding(param):
    body = f'type: "Padding" padding_param {{ {param} }}'
    check_both(one_layer(body, SHAPE))
    check_gradients(one_layer(body, SHAPE))
    check_varying(one_layer(body, SHAPE), {"a": (None, 3, None, None)}, [{"a": (4, 3, 7, 6)}])
    assert operators(one_layer(body, SHAPE)) == ["Pad"]  # which runtimes merge into a Conv


@pytest.mark.parametrize(
    ("body", "shapes", "error", "words"),
    [
        ('type: "Padding" padding_param { pad_beg: -3 }', [(2, 3, 3, 4)], ShapeError, r"\(0, 1\)"),
        (
            'type: "Padding" padding_param { pad: 1 pad_l: 1 }',
            [(2, 3, 3, 4)],
            UnsupportedError,
            "several forks",
        ),
        (
            'type: "Padding" padding_param { pad_beg: 1 pad_end: -1 }',
            [(2, 3, 3, 4)],
            UnsupportedError,
            "two signs",
        ),
        ('type: "Padding"', [(2, 3, 4)], ShapeError, "4 axes"),
    ],
)
def test_refused(body, shapes, error, words):
    with pytest.raises(error, match=words):
        make(one_layer(body, *shapes))


@given(
    shape=st.tuples(*[st.integers(1, 5)] * 4),
    sides=st.lists(st.integers(0, 3), min_size=4, max_size=4),
)
@settings(max_examples=15)
def test_any_sides(shape, sides):
    pads = " ".join(f"pad_{side}: {n}" for side, n in zip("tblr", sides, strict=True))
    check_both(one_layer(f'type: "Padding" padding_param {{ {pads} pad_value: 2 }}', shape))
