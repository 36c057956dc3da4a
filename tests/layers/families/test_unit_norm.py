"""Vectors scaled to unit length, under the names that forks have for it."""

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
    feed,
    make,
    one_layer,
    run_onnx,
)

SHAPE = (2, 3, 5, 4)
NAMES = ["L2Norm", "L2Normalize", "L2Normalization", "Normalization"]


def outcome(body, x, fork=None):
    """What a layer makes of an array; onnxruntime agrees."""
    return check_both(one_layer(body, np.shape(x)), feeds={"a": np.float32(x)}, fork=fork)["y"]


@pytest.mark.parametrize("name", NAMES)
def test_unit_length_by_hand(name):
    assert_close(outcome(f'type: "{name}"', [[3, 4], [0, -2]]), [[0.6, 0.8], [0, -1]], 1e-6)
    check_both(one_layer(f'type: "{name}"', (2, 7, 1, 1)))
    check_gradients(one_layer(f'type: "{name}"', (2, 7)))


def test_unit_length_of_several_positions():
    x = [[[[3, 0]], [[0, 4]]]]
    body = 'type: "Normalization"'
    with pytest.raises(UnsupportedError, match=r"bottom of 2 positions .*fork=.caffe-sl"):
        outcome(body, x)
    assert_close(outcome(body, x, fork="caffe-sl"), [[[[0.6, 0]], [[0, 0.8]]]], 1e-6)
    assert_close(outcome(body, x, fork="caffe-dev"), [[[[1, 0]], [[0, 1]]]], 1e-6)


def test_unit_length_with_eps_and_with_a_length():
    eps = 'type: "L2Norm" l2norm_param { eps: 3 }'
    assert_close(outcome(eps, [[3, 4]]), [[3 / 8, 0.5]], 1e-6)
    check_gradients(one_layer(eps, (2, 5)))
    long = 'type: "L2Norm" l2norm_param { l2_length: 4 }'
    assert_close(outcome(long, [[3, 4], [0, 0]], fork="caffe-dev"), [[1.2, 1.6], [0, 0]], 1e-6)
    with pytest.raises(UnsupportedError, match='fork="caffe-dev"'):
        outcome(long, [[3, 4]])
    with pytest.raises(UnsupportedError, match="eps, which caffe-dev"):
        outcome(eps, [[3, 4]], fork="caffe-dev")


@pytest.mark.parametrize("shape", [(2, 7), (2, 3, 4), (2, 3, 5, 4)])
def test_simple_normalize(shape):
    """An image is one vector whatever its positions are, and the top has 4 axes."""
    body = 'type: "SimpleNormalize"'
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    want = np.stack([image / np.sqrt(np.sum(np.square(image))) for image in x])
    assert_close(outcome(body, x), want.reshape((*shape, 1, 1)[:4]), axis=0)
    check_gradients(one_layer(body, shape))


def test_grn_by_hand():
    """At each position |x|^2 + bias is 25."""
    body = 'type: "GRN" grn_param { bias: 9 }'
    made = outcome(body, [[[[4, 0]], [[0, -4]]]])
    assert_close(made, [[[[0.8, 0]], [[0, -0.8]]]], 1e-6)
    check_both(one_layer(body, SHAPE))
    check_both(one_layer('type: "GRN"', SHAPE))
    check_gradients(one_layer(body, SHAPE))
    assert outcome('type: "GRN"', [[0, 0]]).tolist() == [[0, 0]]


def test_grns_dummy_gradient():
    net = make(one_layer('type: "GRN" grn_param { dummy_backward: true }', (1, 3)))
    values = net.run({"a": np.array([[1, 2, 3]], np.float32)})
    grads, _ = net.backward(values, {"y": np.array([[5, 6, 7]], np.float32)})
    assert grads["a"].tolist() == [[5, 6, 7]]


@pytest.mark.parametrize("fork", ["caffe-sl", "caffe-dev"])
def test_unit_length_of_varying_sizes(fork):
    body = one_layer('type: "L2Norm"', SHAPE)
    check_both(body, inputs={"a": [None, 3, None, None]}, fork=fork)


@pytest.mark.parametrize(
    "param",
    ["", "across_spatial: false", "across_spatial: false eps: 0.5", "channel_shared: false"],
)
def test_normalize(param):
    drawn = 'scale_filler { type: "uniform" min: 1 max: 3 }'
    body = one_layer(f'type: "Normalize" norm_param {{ {param} {drawn} }}', SHAPE)
    check_both(body)
    check_both(body, inputs={"a": [None, 3, None, None]})
    if "channel_shared" not in param:  # whose gradient in Caffe is not the true one
        check_gradients(body)


@pytest.mark.parametrize(("param", "axes"), [("", (1, 2, 3)), ("across_spatial: false", (1,))])
def test_gradient_of_normalize_as_caffe_has_it(param, axes):
    """What comes down is scaled last, by which it is not the derivative where scales differ."""
    body = (
        f'type: "Normalize" norm_param {{ channel_shared: false {param} scale_filler {{ '
        'type: "uniform" min: 1 max: 3 } }'
    )
    net = make(one_layer(body, SHAPE))
    x, dy = feed(net)["a"], feed(net, seed=8)["a"]
    grads, params = net.backward(net.run({"a": x}), {"y": dy})
    norm = np.sqrt(np.sum(x * x, axis=axes, keepdims=True) + 1e-10)
    scale = net.arrays[1][0].reshape(3, 1, 1)
    want = scale * (dy - x * np.sum(x * dy, axis=axes, keepdims=True) / norm**2) / norm
    assert_close(grads["a"], want)
    assert_close(params[1][0], np.sum(dy * x / norm, axis=(0, 2, 3)))


def test_normalize_by_hand():
    feeds = {"a": np.float32([3, 0, 4, 5, 12, 0, 0, 0]).reshape(1, 2, 2, 2)}
    body = 'type: "Normalize" norm_param { across_spatial: %s scale_filler { value: 13 } %s }'
    made = check_both(one_layer(body % ("true", ""), (1, 2, 2, 2)), feeds=feeds)["y"]
    assert_close(made.ravel(), np.float32([3, 0, 4, 5, 12, 0, 0, 0]) * 13 / np.sqrt(194), 1e-6)
    made = check_both(one_layer(body % ("false", ""), (1, 2, 2, 2)), feeds=feeds)["y"]
    want = 13 * np.float32([3 / np.sqrt(153), 0, 1, 1, 12 / np.sqrt(153), 0, 0, 0])
    assert_close(made.ravel(), want, 1e-6)
    made = check_both(one_layer(body % ("false", "eps: 16"), (1, 2, 2, 2)), feeds=feeds)["y"]
    assert_close(made.ravel()[[0, 2, 3]], np.float32([3, 4 * 13 / 32**0.5, 5 * 13 / 41**0.5]))


@pytest.mark.parametrize(("param", "shape"), [("", ()), ("channel_shared: false", (3,))])
def test_normalize_has_a_scale(param, shape):
    net = make(one_layer(f'type: "Normalize" norm_param {{ {param} }}', SHAPE))
    assert net.arrays[1][0].shape == shape
    assert np.all(net.arrays[1][0] == 1)
    assert lower(net).changed == ()


def test_normalize_in_place():
    body = 'type: "Normalize" norm_param { across_spatial: false }'
    feeds = feed(make(one_layer(body, SHAPE)))
    want = make(one_layer(body, SHAPE)).forward(feeds)["y"]
    net = make(one_layer(body, SHAPE, top="a"))
    np.testing.assert_array_equal(net.forward(feeds)["a"], want)
    assert_close(run_onnx(net, feeds)["a"], want)


@pytest.mark.parametrize("shape", [(7,), (2, 3, 4, 5, 6)])
def test_normalize_refuses_other_ranks(shape):
    with pytest.raises(ShapeError, match="needs a bottom of 2 to 4 axes"):
        make(one_layer('type: "Normalize"', shape))


@pytest.mark.parametrize(
    ("body", "shape", "words"),
    [
        ('type: "L2Norm"', (3,), "2 axes or more"),
        ('type: "GRN" grn_param { bias: -1 }', (2, 3), "bias must be 0 or more"),
        ('type: "GRN"', (2, 3, 4, 5, 6), "2 to 4 axes"),
    ],
)
def test_refused(body, shape, words):
    with pytest.raises(ShapeError, match=words):
        make(one_layer(body, shape))


def test_l2_length_is_positive():
    with pytest.raises(ShapeError, match="l2_length must be positive, and is 0"):
        make(one_layer('type: "L2Norm" l2norm_param { l2_length: 0 }', (2, 3)), fork="caffe-dev")


@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    scale=st.sampled_from([0.01, 1, 30]),
    across=st.sampled_from(["true", "false"]),
    shared=st.sampled_from(["true", "false"]),
)
@settings(max_examples=15)
def test_any_shape(shape, scale, across, shared):
    param = f"across_spatial: {across} channel_shared: {shared} scale_filler {{ value: 3 }}"
    for body, fork in (
        ('type: "GRN"', None),
        (f'type: "Normalize" norm_param {{ {param} }}', None),
        *((f'type: "{name}"', "caffe-sl") for name in NAMES),
    ):
        x = feed(make(one_layer(body, shape), fork=fork))["a"] * np.float32(scale)
        outcome(body, x, fork)


@pytest.mark.parametrize("tail", [(), (1, 1, 1)])
def test_shares_of_a_batch(tail):
    """norm: L1 of Quality-Aware-Network's Caffe; its norm: L2 is everyone's."""
    text = one_layer('type: "Normalization" normalization_param { norm: L1 }', (5, *tail))
    x = np.float32([1, 3, 0.5, 2, 1.5]).reshape(5, *tail)
    assert_close(check_both(text, feeds={"a": x})["y"], x / 8)
    check_gradients(text, feeds={"a": x})
    assert_close(
        outcome('type: "Normalization" normalization_param { norm: L2 }', [[3, 4]]), [[0.6, 0.8]]
    )
    with pytest.raises(ShapeError, match="one number an image"):
        make(one_layer('type: "Normalization" normalization_param { norm: L1 }', (5, 2)))


def test_python_norms():
    """Two repositories' Python layers, which call scikit-learn: a row of 0 stays 0."""
    param = 'python_param { module: "l2norm_layer" layer: "L2NormLayer" }'
    rows = one_layer(f'type: "Python" {param}', (3, 5))
    check_both(rows)
    check_gradients(rows)
    x = np.array([[3, 4, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 2]], np.float32)
    y = check_both(rows, feeds={"a": x})["y"]
    np.testing.assert_allclose(y[:2], [[0.6, 0.8, 0, 0, 0], [0] * 5])
    param = 'python_param { module: "norm2layer" layer: "Norm2Layer" }'
    images = one_layer(f'type: "Python" {param}', (3, 5, 1, 1))
    wanted = check_both(images, feeds={"a": x[:, :, None, None]})["y"]
    np.testing.assert_array_equal(wanted, y)
