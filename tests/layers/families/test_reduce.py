"""ArgMax and Reduction."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import (
    assert_close,
    check_both,
    check_gradients,
    feed,
    inline,
    make,
    one_layer,
    operators,
    run_onnx,
)


def net(kind, body, dims=(3, 4, 5, 6)):
    sizes = " ".join(f"dim: {n}" for n in dims)
    field = f"{kind.lower()}_param {{ {body} }}"
    return (
        f'layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ {sizes} }} }} }}\n'
        f'layer {{ name: "l" type: "{kind}" bottom: "x" top: "y" {field} }}'
    )


@pytest.mark.parametrize(
    ("body", "dims", "shape"),
    [
        ("", (3, 4, 5, 6), (3, 1, 1, 1)),
        ("", (3, 7), (3, 1, 1)),
        ("", (3,), (3, 1, 1)),
        ("", (2, 3, 4, 5, 6), (2, 1, 1, 1, 1)),
        ("out_max_val: true", (3, 7), (3, 2, 1)),
        ("top_k: 5", (3, 7), (3, 1, 5)),
        ("top_k: 5 out_max_val: true", (3, 4, 5, 6), (3, 2, 5, 1)),
        ("axis: 1", (3, 4, 5, 6), (3, 1, 5, 6)),
        ("axis: 0 top_k: 2", (3, 4, 5, 6), (2, 4, 5, 6)),
        ("axis: -1 top_k: 6", (3, 4, 5, 6), (3, 4, 5, 6)),
        ("axis: 1 out_max_val: true", (3, 4, 5, 6), (3, 1, 5, 6)),
        ("axis: 2 out_max_val: true top_k: 3", (3, 4, 5, 6), (3, 4, 3, 6)),
    ],
)
def test_argmax(body, dims, shape):
    text = net("ArgMax", body, dims)
    assert check_both(text)["y"].shape == shape
    # Whole numbers, so that many are equal: the largest index of these comes first.
    feeds = {"x": np.round(feed(make(text))["x"])}
    check_both(text, feeds=feeds)


def test_argmax_of_equal_values_names_the_last_first():
    text = net("ArgMax", "top_k: 4 out_max_val: true", (2, 6))
    x = np.array([[1, 3, 3, 1, 3, 0], [-1, 0, -0.0, 0, -1, -1]], np.float32)
    made = check_both(text, feeds={"x": x})["y"]
    assert made.tolist() == [[[4, 2, 1, 3], [3, 3, 3, 1]], [[3, 2, 1, 5], [0, 0, 0, -1]]]
    one = check_both(net("ArgMax", "axis: 1", (2, 6)), feeds={"x": x})["y"]
    assert one.tolist() == [[4], [3]]


def test_argmax_of_many_equal_values():
    text = net("ArgMax", "top_k: 40", (3, 5000))
    x = np.random.default_rng(3).integers(0, 50, (3, 5000)).astype(np.float32)
    made = check_both(text, feeds={"x": x})["y"][:, 0]
    for row, found in zip(x, made, strict=True):
        assert found.tolist() == np.flatnonzero(row == 49)[::-1][:40].tolist()


def test_argmax_has_no_backward_pass():
    made = make(net("ArgMax", ""))
    with pytest.raises(UnsupportedError, match=r"layer 'l' \(ArgMax\): has no backward pass"):
        made.backward(made.run(feed(made)), {"y": np.ones((3, 1, 1, 1), np.float32)})


def smooth(text):
    """Input away from 0, where a magnitude has no slope."""
    x = feed(make(text))["x"]
    return {"x": x + np.sign(x)}


REDUCTIONS = [
    ("", ()),
    ("axis: 1", (3,)),
    ("axis: -1 coeff: -0.7", (3, 4, 5)),
    ("operation: ASUM axis: 2 coeff: 2.5", (3, 4)),
    ("operation: ASUM", ()),
    ("operation: SUMSQ axis: -3", (3,)),
    ("operation: MEAN axis: 1", (3,)),
    ("operation: MEAN axis: 2 coeff: 0.45", (3, 4)),
]


@pytest.mark.parametrize(("body", "shape"), REDUCTIONS)
def test_reduction(body, shape):
    text = net("Reduction", body)
    assert check_both(text)["y"].shape == shape
    check_gradients(text, feeds=smooth(text))


def test_is_onnxs_own_operator():
    """Which runtimes compute without what lies between a square or a magnitude and its sum."""
    for operation, operator in (
        ("SUM", "ReduceSum"),
        ("ASUM", "ReduceL1"),
        ("SUMSQ", "ReduceSumSquare"),
        ("MEAN", "ReduceMean"),
    ):
        assert operators(net("Reduction", f"operation: {operation} axis: 1")) == [operator]


def test_one_place_is_found_without_a_sort_and_from_the_end():
    """select_last_index has no kernel on GPUs, and opset 11 does not have it."""
    assert operators(net("ArgMax", "axis: 1")) == ["Slice", "ArgMax", "Sub", "Cast"]
    assert operators(net("ArgMax", "axis: 1 out_max_val: true")) == ["ReduceMax"]


def test_reduction_says_nothing_of_the_slope_at_zero():
    made = make(net("Reduction", "operation: ASUM", (2, 3)))
    x = np.array([[0, -2, 3], [0, 1, -1]], np.float32)
    grads, _ = made.backward(made.run({"x": x}), {"y": np.float32(2)})
    assert grads["x"].tolist() == [[0, -2, 2], [0, 2, -2]]


@pytest.mark.parametrize(
    "text",
    [
        net("ArgMax", "top_k: 2"),
        net("ArgMax", "out_max_val: true"),
        net("ArgMax", "axis: 1"),
        net("ArgMax", "axis: 0"),
        net("ArgMax", "axis: 0 top_k: 2"),
        net("Reduction", "operation: MEAN axis: 1 coeff: 2"),
        net("Reduction", "operation: MEAN"),
    ],
)
def test_any_batch(text):
    lowered = make(text, inputs={"x": (None, 4, 5, 6)})
    inline(lower(lowered))
    for rows in (2, 7):
        fixed = make(text, inputs={"x": (rows, 4, 5, 6)})
        feeds = feed(fixed)
        assert_close(run_onnx(lowered, feeds)["y"], fixed.forward(feeds)["y"])


@pytest.mark.parametrize(
    ("kind", "body", "dims", "message"),
    [
        ("ArgMax", "top_k: 0", (3, 4), "top_k 0 must be 1 to 4"),
        ("ArgMax", "top_k: 21", (3, 4, 5), "top_k 21 must be 1 to 20"),
        ("ArgMax", "axis: 2 top_k: 6", (3, 4, 5), "top_k 6 must be 1 to 5"),
        ("ArgMax", "axis: -4", (3, 4, 5), "axis -4 out of range for a 3-D blob"),
        ("ArgMax", "", (), "needs a bottom of 1 axis or more"),
        ("Reduction", "axis: 3", (3, 4, 5), "axis 3 out of range for a 3-D blob"),
        ("Reduction", "", (), "axis 0 out of range for a 0-D blob"),
    ],
)
def test_refused(kind, body, dims, message):
    with pytest.raises(ShapeError, match=re.escape(f"layer 'l' ({kind}): {message}")):
        make(net(kind, body, dims))


@st.composite
def nets(draw):
    dims = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    axis = draw(st.integers(-len(dims), len(dims) - 1))
    if draw(st.booleans()):
        operation = draw(st.sampled_from(["SUM", "ASUM", "SUMSQ", "MEAN"]))
        coeff = draw(st.sampled_from([1, -0.5, 3]))
        return net("Reduction", f"operation: {operation} axis: {axis} coeff: {coeff}", dims)
    given_axis = draw(st.booleans())
    k = draw(st.integers(1, dims[axis] if given_axis else int(np.prod(dims[1:]))))
    values = draw(st.sampled_from(["true", "false"]))
    at = f"axis: {axis}" if given_axis else ""
    return net("ArgMax", f"top_k: {k} out_max_val: {values} {at}", dims)


@given(nets(), st.booleans())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_parameters(text, whole):
    feeds = feed(make(text))
    check_both(text, feeds={"x": np.round(feeds["x"])} if whole else feeds)
    if "Reduction" in text:
        check_gradients(text, feeds=smooth(text))


@pytest.mark.parametrize("weights", [(6,), (6, 1, 1, 1)])
def test_batch_by_weights(weights):
    text = one_layer('type: "BatchPool"', (6, 3, 2), weights)
    feeds = feed(make(text))
    want = sum(x * w for x, w in zip(feeds["a"], feeds["b"].ravel(), strict=True))
    assert_close(check_both(text, feeds=feeds)["y"], want[None])
    check_gradients(text)


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_batch_pools(pool):
    """The mean's gradient is times the batch size, as in the fork."""
    text = one_layer(f'type: "BatchPool" batch_pool_param {{ pool: {pool} }}', (6, 3, 2))
    x = feed(make(text))["a"]
    want = x.max(0, keepdims=True) if pool == "MAX" else x.mean(0, keepdims=True)
    assert_close(check_both(text)["y"], want)
    if pool == "MAX":
        check_gradients(text)
    else:
        dy = np.float32([[[1, 2], [3, 4], [5, 6]]])
        dx = make(text).graph.nodes[-1].layer.backward(dy, x)
        assert np.array_equal(dx, np.repeat(6 * dy, 6, axis=0))


def test_batch_pools_that_are_refused():
    with pytest.raises(ShapeError, match="a weight for each of 6 images"):
        make(one_layer('type: "BatchPool"', (6, 3), (5,)))
    with pytest.raises(UnsupportedError, match="STOCHASTIC"):
        make(one_layer('type: "BatchPool" batch_pool_param { pool: STOCHASTIC }', (6, 3)))
