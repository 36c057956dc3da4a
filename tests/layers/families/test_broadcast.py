"""Axpy, BroadcastMul, ChannelScale and Mul."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import (
    check_both,
    check_gradients,
    make,
    one_layer,
)

SHAPE = (2, 3, 5, 4)


def outcome(body, *arrays, **options):
    """What a layer makes of arrays; onnxruntime agrees."""
    arrays = [np.float32(array) for array in arrays]
    text = one_layer(body, *(array.shape for array in arrays))
    return check_both(text, feeds=dict(zip("abc", arrays, strict=False)), **options)["y"]


def test_axpy_by_hand():
    """2 (1, 3) + (10, 20) and -1 (5, 7) + (30, 40)."""
    made = outcome('type: "Axpy"', [[2, -1]], [[[1, 3], [5, 7]]], [[[10, 20], [30, 40]]])
    assert made.tolist() == [[[12, 26], [25, 33]]]


@pytest.mark.parametrize("a", [(2, 3), (2, 3, 1, 1)])
def test_axpy(a):
    net = one_layer('type: "Axpy"', a, (2, 3, 5, 4), (2, 3, 5, 4))
    check_both(net)
    check_gradients(net)


def test_axpy_of_more_axes_than_what_it_scales():
    check_both(one_layer('type: "Axpy"', (2, 3, 1, 1), (2, 3), (2, 3)))


def test_broadcast_mul_by_hand():
    x, part = [[[[1, 3]], [[5, 7]]]], [[[[2]], [[-1]]]]
    assert outcome('type: "BroadcastMul"', x, part).tolist() == [[[[2, 6]], [[-5, -7]]]]
    assert outcome('type: "BroadcastMul"', part, x).tolist() == [[[[2, 6]], [[-5, -7]]]]


@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 3, 5, 4), (2, 3, 1, 1)),
        ((2, 3), (2, 3, 5, 4)),
        ((2, 3, 1), (2, 3, 5)),
        ((2, 3), (2, 3, 1)),
    ],
)
def test_broadcast_mul(shapes):
    check_both(one_layer('type: "BroadcastMul"', *shapes))
    check_gradients(one_layer('type: "BroadcastMul"', *shapes))


def test_channel_scale_by_hand():
    """Position 0 times 2, position 1 times -1, in both channels."""
    made = outcome('type: "ChannelScale"', [[[[1, 3]], [[5, 7]]]], [[[[2, -1]]]])
    assert made.tolist() == [[[[2, -3]], [[10, -7]]]]
    kept = 'type: "ChannelScale" channel_scale_param { do_forward: false }'
    assert outcome(kept, [[1, 2]], [[5]]).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("x", "scale"),
    [((2, 3, 5, 4), (2, 1, 5, 4)), ((2, 3, 5, 4), (2, 5, 4)), ((2, 3), (2,)), ((2, 3), (2, 1))],
)
def test_channel_scale(x, scale):
    check_both(one_layer('type: "ChannelScale"', x, scale))
    check_gradients(one_layer('type: "ChannelScale"', x, scale))


def test_mul_by_hand():
    """Each row times (2, -1), and each times its own factor."""
    x = [[1, 3], [5, 7]]
    for factor, product in (([2, -1], [[2, -3], [10, -7]]), ([[2], [-1]], [[2, 6], [-5, -7]])):
        y = outcome('type: "Mul"', x, factor, fork="synopsys-caffe")
        assert y.tolist() == product


@pytest.mark.parametrize(
    "shapes", [(SHAPE, SHAPE), (SHAPE, (3, 1, 4)), ((4,), SHAPE), ((2, 1, 4), (3, 1)), ((), SHAPE)]
)
def test_mul(shapes):
    check_both(one_layer('type: "Mul"', *shapes), fork="synopsys-caffe")


def test_mul_needs_a_fork():
    """Another fork's Mul is a product of matrices."""
    net = one_layer('type: "Mul"', (2, 3), (2, 3))
    with pytest.raises(UnsupportedError, match=r"name the fork .* synopsys-caffe: a times b"):
        make(net)


def test_mul_has_no_backward():
    """As in its fork."""
    with pytest.raises(UnsupportedError, match="no backward"):
        check_gradients(one_layer('type: "Mul"', (2, 3), (2, 3)), fork="synopsys-caffe")


def test_mul_of_shapes_that_do_not_broadcast():
    with pytest.raises(ShapeError, match=r"\(2, 3\) and bottom 1 \(2,\) do not broadcast"):
        make(one_layer('type: "Mul"', (2, 3), (2,)), fork="synopsys-caffe")


@pytest.mark.parametrize(
    ("body", "shapes", "error", "words"),
    [
        ('type: "Axpy"', [(2, 3), (2, 4, 5), (2, 4, 5)], ShapeError, r"bottom 0 \(2, 3\)"),
        ('type: "Axpy"', [(2, 4), (2, 4, 5), (2, 4, 6)], ShapeError, "the same shape"),
        ('type: "BroadcastMul"', [(2, 3, 5), (2, 1, 5)], ShapeError, "smaller must be N x C"),
        ('type: "ChannelScale"', [(2, 3, 5), (2, 4)], ShapeError, r"bottom 1 \(2, 4\)"),
        ('type: "ChannelScale"', [(2, 3, 5), (4, 5)], ShapeError, "alike in the first"),
        (
            'type: "ChannelScale" channel_scale_param { global_scale: true }',
            [(2, 3), (2,)],
            UnsupportedError,
            "global_scale",
        ),
    ],
)
def test_refused(body, shapes, error, words):
    with pytest.raises(error, match=words):
        make(one_layer(body, *shapes))


@given(shape=st.lists(st.integers(1, 5), min_size=2, max_size=4))
@settings(max_examples=15)
def test_any_shape(shape):
    images, channels = shape[:2]
    check_both(one_layer('type: "Axpy"', (images, channels), shape, shape))
    check_both(one_layer('type: "BroadcastMul"', (images, channels), shape))
    check_both(one_layer('type: "ChannelScale"', shape, (images, *shape[2:])))
