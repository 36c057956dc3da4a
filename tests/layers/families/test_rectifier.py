"""ReLU, PReLU and the rectifiers of forks."""

from __future__ import annotations

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
    check_varying,
    make,
    off_kinks,
    one_layer,
    operators,
    run_onnx,
)

# A layer, numbers in one row, what it makes of them. (10 - 5) / ln 2 is 7.2134752.
BY_HAND = [
    ('type: "ReLU"', [-2, 0, 3], [0, 0, 3]),
    ('type: "ReLU" relu_param { negative_slope: 0.5 }', [-2, 0, 3], [-1, 0, 3]),
    ('type: "PReLU"', [-2, 0, 3], [-0.5, 0, 3]),
    ('type: "PReLU" prelu_param { channel_shared: true }', [-2, 0, 3], [-0.5, 0, 3]),
    ('type: "ReLU6"', [-4, 1.5, 7], [0, 1.5, 6]),
    ('type: "ReLU6" relu6_param { negative_slope: 0.5 }', [-4, 1.5, 7], [-2, 1.5, 6]),
    ('type: "Insanity"', [-7.2134752, 3], [-1, 3]),
    ('type: "Insanity" insanity_param { lb: -1 ub: 4 }', [-5, 3], [-np.log(4), 3]),
    ('type: "RReLU" rrelu_param { lb: 1 ub: 2 }', [-1 / np.log(2), 3], [-1, 3]),
]
LAYERS = [
    *(body for body, _, _ in BY_HAND),
    'type: "PReLU" prelu_param { filler { type: "uniform" min: -2 max: 2 } }',
    'type: "ReLU" relu_param { negative_slope: 1.5 }',
]


@pytest.mark.parametrize(("body", "x", "y"), BY_HAND)
def test_by_hand(body, x, y):
    made = make(one_layer(body, (1, len(x)))).forward({"a": np.float32([x])})["y"]
    assert_close(made, [y], 1e-6)


@pytest.mark.parametrize("body", LAYERS)
@pytest.mark.parametrize("shape", [(3, 5), (4, 2, 3), (2, 3, 5, 4)])
def test_numpy_and_onnxruntime_agree(body, shape):
    check_both(one_layer(body, shape))


@pytest.mark.parametrize("body", LAYERS)
def test_gradients(body):
    check_gradients(one_layer(body, (2, 3, 5, 4)), feeds={"a": off_kinks((2, 3, 5, 4), 4)})


@pytest.mark.parametrize("body", LAYERS)
def test_in_place_is_the_same(body):
    feeds = {"a": off_kinks((2, 3, 5, 4))}
    apart = make(one_layer(body, (2, 3, 5, 4))).forward(feeds)["y"]
    net = make(one_layer(body, (2, 3, 5, 4), top="a"))
    np.testing.assert_array_equal(net.forward(feeds)["a"], apart)
    assert_close(run_onnx(net, feeds)["a"], apart)


@pytest.mark.parametrize("body", LAYERS)
def test_batch_and_size_may_vary(body):
    others = [{"a": (2, 3, 5, 4)}, {"a": (4, 3, 7, 2)}]
    check_varying(one_layer(body, (2, 3, 5, 4)), {"a": (None, 3, None, None)}, others)


@pytest.mark.parametrize(
    ("body", "operator"),
    [
        ('type: "ReLU"', "Relu"),
        ('type: "ReLU" relu_param { negative_slope: 0.5 }', "LeakyRelu"),
        ('type: "PReLU"', "PRelu"),
        ('type: "PReLU" prelu_param { channel_shared: true }', "PRelu"),
        ('type: "ReLU6"', "Clip"),
        ('type: "Insanity"', "LeakyRelu"),
    ],
)
def test_is_onnxs_own_operator(body, operator):
    """Every runtime fuses it with the convolution before it."""
    assert operators(one_layer(body, (2, 5))) == [operator]


def test_large_numbers_stay_finite():
    feeds = {"a": np.array([[-3e38, -3e3, 0, 3e3, 3e38]], np.float32)}
    for kind in ("ReLU", "PReLU", "ReLU6"):
        assert np.isfinite(check_both(one_layer(f'type: "{kind}"', (1, 5)), feeds=feeds)["y"]).all()


@pytest.mark.parametrize(
    ("body", "x", "dx"),
    [
        ('type: "ReLU" relu_param { negative_slope: 0.5 }', [0], [0.5]),
        ('type: "ReLU6"', [0, 6, 3], [0, 0, 1]),
    ],
)
def test_gradients_at_the_kinks_are_caffes(body, x, dx):
    net = make(one_layer(body, (1, len(x))))
    grads, _ = net.backward(net.run({"a": np.float32([x])}), {"y": np.ones((1, len(x)))})
    assert grads["a"].tolist() == [dx]


def test_prelus_slopes_stay_where_they_lie():
    net = make(one_layer('type: "PReLU"', (2, 3, 5, 4)))
    lowered = lower(net)
    assert lowered.changed == ()
    (name,) = lowered.arrays
    assert np.shares_memory(lowered.arrays[name], net.arrays[1][0])


def outcome(body, x):
    return check_both(one_layer(body, np.shape(x)), feeds={"a": np.float32(x)})["y"].tolist()


def test_crelu_by_hand():
    body = 'type: "CReLU" crelu_param { negative_slope: 0.5 }'
    assert outcome(body, [[1, -2]]) == [[1, -1, -0.5, 2]]
    assert outcome('type: "CReLU"', [[1, -2], [-3, 4]]) == [[1, 0, 0, 2], [0, 4, 3, 0]]
    last = 'type: "CReLU" crelu_param { concat_axis: -1 }'
    assert outcome(last, [[[1], [-2]]]) == [[[1, 0], [0, 2]]]


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_crelu(axis):
    body = f'type: "CReLU" crelu_param {{ negative_slope: 0.25 concat_axis: {axis} }}'
    check_both(one_layer(body, (2, 3, 5, 4)))
    check_gradients(one_layer(body, (2, 3, 4)), feeds={"a": off_kinks((2, 3, 4))})


@pytest.mark.parametrize(
    ("body", "shape", "error", "words"),
    [
        (
            'type: "PReLU"',
            (7,),
            ShapeError,
            r"'l' \(PReLU\): needs .* 2 axes or more, and has \(7,\)",
        ),
        ('type: "CReLU" crelu_param { concat_axis: 2 }', (2, 3), ShapeError, "axis 2"),
        ('type: "Insanity" insanity_param { lb: 3 ub: 2 }', (2, 3), ShapeError, "3 and 2"),
        ('type: "RReLU" rrelu_param { lb: 0 ub: 2 }', (2, 3), ShapeError, "0 and 2"),
        ('type: "RReLU" rrelu_param { lb: -inf ub: 2 }', (2, 3), ShapeError, "-inf and 2"),
        ('type: "RReLU" rrelu_param { ub: nan }', (2, 3), ShapeError, "rrelu_param.ub is nan"),
        ('type: "RReLU"', (3,), ShapeError, r"2 axes or more, and has \(3,\)"),
        ('type: "Insanity" insanity_param { lb: -2 ub: 2 }', (2, 3), UnsupportedError, "mean"),
    ],
)
def test_refused(body, shape, error, words):
    with pytest.raises(error, match=words):
        make(one_layer(body, shape))


@settings(max_examples=15)
@given(
    slope=st.sampled_from([-1.5, -0.25, 0.125, 2]),
    shared=st.sampled_from(["true", "false"]),
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4),
)
def test_any_shape_and_parameters(slope, shared, shape):
    for body in (
        f'type: "ReLU" relu_param {{ negative_slope: {slope} }}',
        f'type: "ReLU6" relu6_param {{ negative_slope: {slope} }}',
        f'type: "CReLU" crelu_param {{ negative_slope: {slope} }}',
        f'type: "PReLU" prelu_param {{ channel_shared: {shared} filler {{ value: {slope} }} }}',
        'type: "Insanity" insanity_param { lb: 2 ub: 3 }',
        'type: "RReLU" rrelu_param { lb: 2 ub: 3 }',
    ):
        check_both(one_layer(body, shape))
