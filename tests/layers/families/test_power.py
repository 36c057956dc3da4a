"""Exp, Log and Power."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError

from ...cases import (
    assert_close,
    check_both,
    check_gradients,
    check_varying,
    make,
    off_kinks,
    one_layer,
    operators,
    run_onnx,
)

SHAPE = (2, 3, 5, 4)
BY_HAND = [
    ('type: "Exp"', [0, 2], [1, np.exp(2)]),
    ('type: "Exp" exp_param { base: 2 scale: 0.5 shift: -1 }', [0, 6], [0.5, 4]),
    ('type: "Exp" exp_param { shift: 1 }', [0], [np.e]),
    ('type: "Log"', [1, 3], [0, np.log(3)]),
    ('type: "Log" log_param { base: 10 scale: 2 shift: 1 }', [4.5], [1]),
    ('type: "Power"', [-2, 3], [-2, 3]),
    ('type: "Power" power_param { scale: -2 }', [-2, 3], [4, -6]),
    ('type: "Power" power_param { shift: 0.5 }', [-2, 3], [-1.5, 3.5]),
    ('type: "Power" power_param { power: 2 scale: 2 shift: 1 }', [-2, -0.5, 0.25], [9, 0, 2.25]),
    ('type: "Power" power_param { power: 3 scale: 0.5 shift: 1 }', [-2, 2], [0, 8]),
    ('type: "Power" power_param { power: 3 scale: 0 shift: 2 }', [-2, 3], [8, 8]),
    ('type: "Power" power_param { power: 0 }', [-2, 3], [1, 1]),
    ('type: "Power" power_param { power: 0.5 }', [4], [2]),
    ('type: "Power" power_param { power: -1.25 scale: 2 shift: 0.5 }', [7.75], [2**-5]),
]
LAYERS = [body for body, _, _ in BY_HAND]


def positive():
    return {"a": np.abs(off_kinks(SHAPE)) + np.float32(0.5)}


@pytest.mark.parametrize(("body", "x", "y"), BY_HAND)
def test_by_hand(body, x, y):
    made = make(one_layer(body, (len(x),))).forward({"a": np.float32(x)})["y"]
    np.testing.assert_allclose(made, y, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("body", LAYERS)
def test_numpy_and_onnxruntime_agree_and_gradients(body):
    check_both(one_layer(body, SHAPE), feeds=positive())
    check_gradients(one_layer(body, SHAPE), feeds=positive())
    net = make(one_layer(body, SHAPE, top="a"))
    want = make(one_layer(body, SHAPE)).forward(positive())["y"]
    np.testing.assert_array_equal(net.forward(positive())["a"], want)
    assert_close(run_onnx(net, positive())["a"], want)


@pytest.mark.parametrize("body", [body for body in LAYERS if "Log" not in body and "." not in body])
def test_negative_numbers(body):
    check_both(one_layer(body, SHAPE), feeds={"a": off_kinks(SHAPE)})
    check_gradients(one_layer(body, SHAPE), feeds={"a": off_kinks(SHAPE)})


@pytest.mark.parametrize("body", [body for body in LAYERS if "Exp" in body or "scale: 0 " in body])
def test_all_axes_may_vary(body):
    others = [{"a": SHAPE}, {"a": (4, 1, 7, 2)}]
    check_varying(one_layer(body, SHAPE), {"a": (None, None, None, None)}, others)


def test_the_inverse_of_minus_zero_is_caffes():
    net = make(one_layer('type: "Power" power_param { power: -1 scale: -2 }', (2,)))
    feeds = {"a": np.float32([0, 1])}
    np.testing.assert_array_equal(net.forward(feeds)["y"], np.float32([-np.inf, -0.5]))
    np.testing.assert_array_equal(run_onnx(net, feeds)["y"], np.float32([-np.inf, -0.5]))


def test_what_changes_nothing_is_no_node():
    """Neither a factor of 1 nor a summand of 0 costs a pass over the blob."""
    assert operators(one_layer('type: "Power"', SHAPE)) == ["Identity"]  # an output needs a node
    assert operators(one_layer('type: "Power" power_param { scale: -2 }', SHAPE)) == ["Mul"]
    assert operators(one_layer('type: "Power" power_param { shift: 3 }', SHAPE)) == ["Add"]
    assert operators(one_layer('type: "Exp"', SHAPE)) == ["Exp"]


def test_a_constant_of_a_fixed_size_asks_for_no_shape():
    constant = 'type: "Power" power_param { power: 0 }'
    assert operators(one_layer(constant, SHAPE)) == ["ConstantOfShape"]


def test_gradients_at_zero_are_caffes():
    def gradient(body):
        net = make(one_layer(body, (1,)))
        grads, _ = net.backward(net.run({"a": np.zeros(1)}), {"y": np.ones(1, np.float32)})
        return grads["a"]

    assert gradient('type: "Power" power_param { power: 2 }') == 0
    assert np.isnan(gradient('type: "Power" power_param { power: 3 }'))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('type: "Exp" exp_param { base: 0 }', r"'l' \(Exp\): base must be .* it is 0"),
        ('type: "Log" log_param { base: -2 }', "it is -2"),
        ('type: "Log" log_param { base: 1 }', "base 1 has no logarithm"),
        ('type: "Log" log_param { base: inf }', "it is inf"),
    ],
)
def test_refused(body, message):
    with pytest.raises(ShapeError, match=message):
        make(one_layer(body, (7,)))


@settings(max_examples=15)
@given(
    a=st.sampled_from([-2, -0.75, 0.5, 1.25]),
    b=st.sampled_from([-1.5, 0, 0.25, 2]),
    c=st.sampled_from([1, 2, 3]),
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=5),
)
def test_any_shape_and_parameters(a, b, c, shape):
    for body in (
        f'type: "Exp" exp_param {{ base: {abs(a) + 0.25} scale: {b} shift: {c} }}',
        f'type: "Power" power_param {{ power: {c} scale: {a} shift: {b} }}',
        f'type: "Log" log_param {{ base: {c + 1} scale: 0 shift: {abs(a) + 0.5} }}',
    ):
        check_both(one_layer(body, shape))
