"""Vectors scaled to unit length, under the names that forks have for it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import assert_close, check_both, check_gradients, feed, make, one_layer

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
)
@settings(max_examples=15)
def test_any_shape(shape, scale):
    forks = ((f'type: "{name}"', "caffe-sl") for name in NAMES)
    for body, fork in (('type: "GRN"', None), *forks):
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
