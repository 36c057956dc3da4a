"""Elementwise activations."""

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

# A layer, numbers, what it makes of them.
BY_HAND = [
    ('type: "AbsVal"', [-2, 0, 3], [2, 0, 3]),
    ('type: "BNLL"', [0, 1, -20], [np.log(2), 1.31326169, 2.0611536e-9]),
    ('type: "Clip" clip_param { min: -1 max: 1 }', [-2, -0.5, 3], [-1, -0.5, 1]),
    ('type: "Clip" clip_param { min: 1 max: -1 }', [-2, 0.25, 3], [1, 1, 1]),
    ('type: "ELU"', [-2, 3], [np.exp(-2) - 1, 3]),
    ('type: "ELU" elu_param { alpha: -0.5 }', [-2, 3], [(np.exp(-2) - 1) / -2, 3]),
    ('type: "HardSwish"', [-4, -1, 0, 3, 5], [0, -1 / 3, 0, 3, 5]),
    ('type: "Mish"', [0, 1, -2], [0, 0.86509839, -0.25250148]),
    ('type: "Sigmoid"', [0, 2], [0.5, 1 / (1 + np.exp(-2))]),
    ('type: "Swish"', [0, 2], [0, 2 / (1 + np.exp(-2))]),
    ('type: "Swish" swish_param { beta: -0.5 }', [0, 2], [0, 2 / (1 + np.exp(1))]),
    ('type: "TanH"', [0, 1], [0, np.tanh(1)]),
    ('type: "Threshold" threshold_param { threshold: 0.25 }', [-2, 0.25, 3], [0, 0, 1]),
]
LAYERS = [body for body, _, _ in BY_HAND]


@pytest.mark.parametrize(("body", "x", "y"), BY_HAND)
def test_by_hand(body, x, y):
    made = make(one_layer(body, (len(x),))).forward({"a": np.float32(x)})["y"]
    np.testing.assert_allclose(made, y, rtol=2e-6)


@pytest.mark.parametrize("body", LAYERS)
@pytest.mark.parametrize("shape", [(7,), (3, 5), (4, 2, 3), (2, 3, 5, 4)])
def test_numpy_and_onnxruntime_agree(body, shape):
    check_both(one_layer(body, shape))


@pytest.mark.parametrize("body", [body for body in LAYERS if "Threshold" not in body])
def test_gradients(body):
    check_gradients(one_layer(body, (2, 3, 5, 4)), feeds={"a": off_kinks((2, 3, 5, 4))})


@pytest.mark.parametrize("body", [body for body in LAYERS if "AbsVal" not in body])
def test_in_place_is_the_same(body):
    feeds = {"a": off_kinks((2, 3, 5, 4))}
    apart = make(one_layer(body, (2, 3, 5, 4))).forward(feeds)["y"]
    net = make(one_layer(body, (2, 3, 5, 4), top="a"))
    np.testing.assert_array_equal(net.forward(feeds)["a"], apart)
    assert_close(run_onnx(net, feeds)["a"], apart)


@pytest.mark.parametrize("body", LAYERS)
def test_all_axes_may_vary(body):
    others = [{"a": (2, 3, 5, 4)}, {"a": (4, 1, 7, 2)}]
    check_varying(one_layer(body, (2, 3, 5, 4)), {"a": (None, None, None, None)}, others)


NATIVE = {
    "AbsVal": "Abs",
    "BNLL": "Softplus",
    "ELU": "Elu",
    "HardSwish": "HardSwish",
    "Mish": "Mish",
    "Sigmoid": "Sigmoid",
    "TanH": "Tanh",
    "Clip": "Clip",
}


@pytest.mark.parametrize("kind", NATIVE)
def test_is_onnxs_own_operator(kind):
    """Every runtime has a fast form of it, where a formula of several operators would be slow."""
    assert operators(one_layer(f'type: "{kind}"', (2, 5))) == [NATIVE[kind]]


@pytest.mark.parametrize("kind", ["BNLL", "ELU", "Mish", "Sigmoid", "Swish", "TanH", "AbsVal"])
def test_large_numbers_stay_finite(kind):
    feeds = {"a": np.array([-3e3, -500, -90, -20, 0, 20, 90, 500, 3e3], np.float32)}
    made = check_both(one_layer(f'type: "{kind}"', (9,)), feeds=feeds)["y"]
    assert np.isfinite(made).all()


@pytest.mark.parametrize(
    ("body", "x", "dx"),
    [
        ('type: "AbsVal"', [-3, 0, 2], [-1, 0, 1]),
        ('type: "Clip" clip_param { min: -1 max: 1 }', [-1, 1, 1.5], [1, 1, 0]),
        ('type: "ELU" elu_param { alpha: 0.25 }', [0], [0.25]),
        ('type: "HardSwish"', [-4, 4, 0], [0, 1, 0.5]),
    ],
)
def test_gradients_at_the_kinks_are_caffes(body, x, dx):
    net = make(one_layer(body, (len(x),)))
    grads, _ = net.backward(net.run({"a": np.float32(x)}), {"y": np.ones(len(x), np.float32)})
    assert grads["a"].tolist() == dx


def test_absval_refuses_to_run_in_place():
    with pytest.raises(ShapeError, match="in place"):
        make(one_layer('type: "AbsVal"', (2, 3), top="a"))


def number(low, high):
    return st.floats(low, high, width=32).map(lambda x: float(np.float32(round(x, 3))))


@settings(max_examples=15)
@given(a=number(-2, 2), b=number(-2, 2), shape=st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_any_shape_and_parameters(a, b, shape):
    for body in (
        *(f'type: "{kind}"' for kind in ("AbsVal", "BNLL", "HardSwish", "Mish", "Sigmoid", "TanH")),
        f'type: "Clip" clip_param {{ min: {a} max: {b} }}',
        f'type: "ELU" elu_param {{ alpha: {a} }}',
        f'type: "Swish" swish_param {{ beta: {a} }}',
        f'type: "Threshold" threshold_param {{ threshold: {a} }}',
    ):
        check_both(one_layer(body, shape))
