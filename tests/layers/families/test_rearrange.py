"""ShuffleChannel, Permute, Transpose, Reverse and Reorg."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import (
    check_both,
    check_gradients,
    check_varying,
    feed,
    make,
    one_layer,
    operators,
    run_onnx,
)


def text(kind, body="", shape=(2, 6, 4, 5)):
    sizes = " ".join(f"dim: {n}" for n in shape)
    return f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ {sizes} }} }} }}
        layer {{ name: "l" type: "{kind}" bottom: "x" top: "y" {body} }}"""


def run(body, x, fork=None):
    """What numpy and onnxruntime make of `x`, alike to the bit."""
    net = make(body, fork=fork)
    made = net.forward({"x": x})["y"]
    np.testing.assert_array_equal(run_onnx(net, {"x": x})["y"], made)
    return made


def counted(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def shuffle(group, **shape):
    return text("ShuffleChannel", f"shuffle_channel_param {{ group: {group} }}", **shape)


def test_shuffle_by_hand():
    made = run(shuffle(2, shape=(1, 6, 1, 1)), counted(1, 6, 1, 1))
    assert made.ravel().tolist() == [0, 3, 1, 4, 2, 5]
    made = run(shuffle(3, shape=(1, 6)), counted(1, 6))
    assert made.ravel().tolist() == [0, 2, 4, 1, 3, 5]


def test_an_order_that_changes_nothing_is_no_node():
    same = "transpose_param { dim: 0 dim: 1 dim: 2 dim: 3 }"
    for body in (
        shuffle(1),
        shuffle(6),
        text("Transpose", same),
        text("Permute", "permute_param { order: 0 }"),
        text("Permute"),
    ):
        assert operators(body) == ["Identity"]  # an output needs a name of its own


def test_shuffle_of_any_batch_and_size():
    check_gradients(shuffle(3))
    check_varying(shuffle(3), {"x": (None, 6, 4, 5)}, [{"x": (2, 6, 4, 5)}, {"x": (3, 6, 4, 5)}])
    check_varying(
        shuffle(3), {"x": (None, 6, None, None)}, [{"x": (2, 6, 4, 5)}, {"x": (1, 6, 7, 3)}]
    )


def test_transpose_by_hand():
    body = text("Transpose", "transpose_param { dim: 2 dim: 0 dim: 1 }", (2, 1, 3))
    made = run(body, counted(2, 1, 3))
    assert made.tolist() == [[[0], [3]], [[1], [4]], [[2], [5]]]
    check_gradients(body)


@pytest.mark.parametrize(
    ("order", "shape"), [((0, 2, 3, 1), (2, 4, 5, 6)), ((3, 1), (5, 6, 2, 4)), ((), (2, 6, 4, 5))]
)
def test_permute(order, shape):
    """The axes that `order` names, then the others as they stand."""
    body = text("Permute", f"permute_param {{ {' '.join(f'order: {n}' for n in order)} }}")
    rest = [axis for axis in range(4) if axis not in order]
    x = counted(2, 6, 4, 5)
    np.testing.assert_array_equal(run(body, x), x.transpose(*order, *rest))
    assert run(body, x).shape == shape
    check_gradients(body)
    others = [{"x": (7, 6, 4, 5)}]
    check_varying(body, {"x": (None, 6, 4, 5)}, others)


def test_reverse_by_hand():
    made = run(text("Reverse", "", (3, 2)), counted(3, 2))
    assert made.tolist() == [[4, 5], [2, 3], [0, 1]]
    made = run(text("Reverse", "reverse_param { axis: 1 }", (2, 3)), counted(2, 3))
    assert made.tolist() == [[2, 1, 0], [5, 4, 3]]
    body = text("Reverse", "reverse_param { axis: 0 axis: -1 }", (2, 3))
    assert run(body, counted(2, 3)).tolist() == [[5, 4, 3], [2, 1, 0]]
    check_gradients(body)
    check_varying(text("Reverse"), {"x": (None, 6, 4, 5)}, [{"x": (7, 6, 4, 5)}])


def reorg(param, **shape):
    return text("Reorg", f"reorg_param {{ {param} }}", **shape)


def reorg_by_loops(x, stride, spreads):
    """Darknet's loop over the bottom's axes; what it writes lies flat, in the bottom's order."""
    _, c, h, w = x.shape
    channels = c // stride**2
    y = np.zeros(x.size, np.float32)
    flat = x.ravel()
    for b, k, j, i in product(*map(range, x.shape)):
        here = i + w * (j + h * (k + c * b))
        part, column, row = k // channels, i * stride, j * stride
        column, row = column + part % stride, row + part // stride
        there = column + w * stride * (row + h * stride * (k % channels + channels * b))
        if spreads:
            y[there] = flat[here]
        else:
            y[here] = flat[there]
    return y


def test_reorg_by_hand():
    """4 channels of 2 x 2 are read as one of 4 x 4; its 2 x 2 cells give 4 channels of 2 x 2."""
    made = run(reorg("stride: 2", shape=(1, 4, 2, 2)), counted(1, 4, 2, 2))
    assert made.shape == (1, 16, 1, 1)
    assert made.ravel().tolist() == [0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15]


@pytest.mark.parametrize(
    ("stride", "shape"), [(2, (2, 8, 4, 6)), (3, (1, 18, 3, 6)), (1, (1, 2, 3, 4))]
)
def test_reorg_as_the_loop_goes(stride, shape):
    x = counted(*shape)
    n, c, h, w = shape
    made = run(reorg(f"stride: {stride}", shape=shape), x)
    assert made.shape == (n, c * stride**2, h // stride, w // stride)
    np.testing.assert_array_equal(made.ravel(), reorg_by_loops(x, stride, False))
    other = run(reorg(f"stride: {stride}", shape=shape), x, fork="caffe-yolo9000")
    assert other.shape == made.shape
    np.testing.assert_array_equal(other.ravel(), reorg_by_loops(x, stride, True))
    back = run(reorg(f"stride: {stride} reverse: true", shape=shape), x)
    assert back.shape == (n, c // stride**2, h * stride, w * stride)
    np.testing.assert_array_equal(back.ravel(), reorg_by_loops(x, stride, True))


def test_reorg_of_any_batch():
    body = reorg("stride: 2", shape=(2, 8, 4, 6))
    check_gradients(body)
    check_gradients(reorg("stride: 2 reverse: true", shape=(2, 8, 4, 6)))
    check_varying(body, {"x": (None, 8, 4, 6)}, [{"x": (3, 8, 4, 6)}])
    with pytest.raises(UnsupportedError, match="has no reverse"):
        make(reorg("stride: 2 reverse: false", shape=(2, 8, 4, 6)), fork="caffe-yolo9000")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (shuffle(4), "group 4 must divide the 6 channels"),
        (shuffle(0), "group 0 must divide"),
        (text("ShuffleChannel", shape=(6,)), "needs channels on axis 1, and its bottom is (6,)"),
        (
            text("Transpose", "transpose_param { dim: 0 dim: 1 dim: 1 dim: 2 }"),
            "dim [0, 1, 1, 2] must name each axis of (2, 6, 4, 5) once",
        ),
        (
            text("Permute", "permute_param { order: 4 }"),
            "order [4] must name axes of a 4-D blob, each once",
        ),
        (
            text("Permute", "permute_param { order: 1 order: 1 }"),
            "order [1, 1] must name axes of a 4-D blob, each once",
        ),
        (text("Reverse", "reverse_param { axis: 4 }"), "axis 4 out of range for a 4-D blob"),
        (reorg("stride: 2"), "the 6 channels must be a multiple of stride 2 squared"),
        (reorg("stride: 2", shape=(1, 4, 3, 4)), "stride 2 must divide the height and width"),
        (reorg(""), "stride must be positive, and is 0"),
        (reorg("stride: 2", shape=(4, 4)), "needs a bottom of 4 axes"),
    ],
)
def test_errors(body, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        make(body)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_any_shape(data):
    rank = data.draw(st.integers(2, 5))
    shape = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    group = data.draw(st.integers(1, 4))
    check_both(shuffle(group, shape=(shape[0], shape[1] * group, *shape[2:])))
    order = data.draw(st.permutations(range(rank)))
    dims = " ".join(f"dim: {axis}" for axis in order)
    check_both(text("Transpose", f"transpose_param {{ {dims} }}", shape))
    some = " ".join(f"order: {axis}" for axis in order[: data.draw(st.integers(0, rank))])
    check_both(text("Permute", f"permute_param {{ {some} }}", shape))
    axes = data.draw(st.lists(st.integers(-rank, rank - 1), max_size=3))
    given_axes = " ".join(f"axis: {axis}" for axis in axes)
    check_both(text("Reverse", f"reverse_param {{ {given_axes} }}", shape))
    stride, images = data.draw(st.integers(1, 3)), shape[0]
    folded = (images, shape[1] * stride**2, 2 * stride, 3 * stride)
    check_both(reorg(f"stride: {stride}", shape=folded))
    check_both(reorg(f"stride: {stride} reverse: true", shape=folded))


@pytest.mark.parametrize(
    ("body", "axes"),
    [
        ("", (3,)),
        ("flip_height: true", (2, 3)),
        ("flip_width: false flip_height: true", (2,)),
        ("flip_width: false", ()),
    ],
)
def test_flip(body, axes):
    text = one_layer(f'type: "Flip" flip_param {{ {body} }}', (2, 3, 4, 5))
    x, y = feed(make(text))["a"], check_both(text)["y"]
    for n, c, i, j in np.ndindex(*x.shape):
        assert y[n, c, 3 - i if 2 in axes else i, 4 - j if 3 in axes else j] == x[n, c, i, j]
    check_gradients(text)


def test_flip_is_of_images():
    with pytest.raises(ShapeError, match="4 axes"):
        make(one_layer('type: "Flip"', (2, 3)))
