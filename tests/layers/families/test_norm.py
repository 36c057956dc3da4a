"""LRN and MVN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError

from ...cases import assert_close, check_both, check_gradients, feed, make, operators

SHAPE = (2, 7, 5, 4)


def text(body, shape=SHAPE, top="y"):
    dims = " ".join(f"dim: {n}" for n in shape)
    return f"""
        layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ {dims} }} }} }}
        layer {{ name: "norm" bottom: "x" top: "{top}" {body} }}"""


NATIVE = [
    'type: "LRN" lrn_param { alpha: 0.5 }',
    'type: "LRN" lrn_param { local_size: 3 alpha: 2 beta: 0.25 k: 2 }',
    'type: "LRN" lrn_param { local_size: 15 alpha: 2 beta: 2 k: 0.5 }',
]
OTHERS = [
    # What onnxruntime or cuDNN has no LRN for.
    'type: "LRN" lrn_param { local_size: 17 alpha: 0.5 }',
    'type: "LRN" lrn_param { alpha: -0.01 k: 3 }',
    'type: "LRN" lrn_param { alpha: 0.25 beta: -1 }',
    'type: "LRN" lrn_param { local_size: 3 alpha: 2 norm_region: WITHIN_CHANNEL }',
    'type: "LRN" lrn_param { local_size: 11 alpha: 2 beta: 1.5 norm_region: WITHIN_CHANNEL }',
    'type: "MVN"',
    'type: "MVN" mvn_param { across_channels: true eps: 0.001 }',
    'type: "MVN" mvn_param { normalize_variance: false }',
]
LAYERS = [*NATIVE, *OTHERS]


@pytest.mark.parametrize("body", LAYERS)
def test_numpy_and_onnxruntime_agree(body):
    check_both(text(body))
    check_both(text(body), inputs={"x": [None, 7, None, None]})


@pytest.mark.parametrize("body", LAYERS)
def test_gradients(body):
    check_gradients(text(body))


def test_lrn_is_onnxs_own_operator_where_runtimes_have_it():
    """GPUs have it in cuDNN; on the CPU `passes.cpu` puts a faster form in its place."""
    assert all(operators(text(body)) == ["LRN"] for body in NATIVE)
    assert not any("LRN" in operators(text(body)) for body in OTHERS)


def lrn(x, size, alpha, beta, k):
    """Caffe's across-channel LRN, an element at a time."""
    y = np.empty_like(x)
    for n, c, h, w in np.ndindex(*x.shape):
        near = x[n, max(0, c - size // 2) : c + size // 2 + 1, h, w]
        y[n, c, h, w] = x[n, c, h, w] / (k + alpha / size * np.sum(near**2)) ** beta
    return y


def lrn_within(x, size, alpha, beta):
    y = np.empty_like(x)
    half = size // 2
    for n, c, h, w in np.ndindex(*x.shape):
        rows, columns = (slice(max(0, i - half), i + half + 1) for i in (h, w))
        total = np.sum(x[n, c, rows, columns] ** 2)
        y[n, c, h, w] = x[n, c, h, w] / (1 + alpha / size**2 * total) ** beta
    return y


@pytest.mark.parametrize("size", [1, 3, 5, 7, 13])
def test_lrn_against_its_definition(size):
    param = f"local_size: {size} alpha: 0.75 beta: 0.5 k: 2"
    net = make(text(f'type: "LRN" lrn_param {{ {param} }}'))
    feeds = feed(net)
    x = feeds["x"].astype(np.float64)
    assert_close(net.forward(feeds)["y"], lrn(x, size, 0.75, 0.5, 2))
    # Within a channel Caffe reads no k.
    net = make(text(f'type: "LRN" lrn_param {{ {param} norm_region: WITHIN_CHANNEL }}'))
    assert_close(net.forward(feeds)["y"], lrn_within(x, size, 0.75, 0.5))


def test_mvn_adds_eps_to_the_deviation():
    feeds = {"x": np.array([1, 3], np.float32).reshape(1, 1, 2, 1)}
    made = check_both(text('type: "MVN" mvn_param { eps: 1 }', (1, 1, 2, 1)), feeds=feeds)
    np.testing.assert_array_equal(made["y"].ravel(), [-0.5, 0.5])


@pytest.mark.parametrize("shape", [(7,), (3, 5), (4, 3, 5)])
def test_mvn_makes_four_axes(shape):
    made = check_both(text('type: "MVN" mvn_param { across_channels: true eps: 0.1 }', shape))
    assert made["y"].shape == shape + (1,) * (4 - len(shape))
    check_gradients(text('type: "MVN" mvn_param { normalize_variance: false }', shape))


@pytest.mark.parametrize(
    ("body", "shape", "message"),
    [
        ('type: "LRN" lrn_param { local_size: 4 }', SHAPE, "local_size must be odd, and is 4"),
        ('type: "LRN"', (7, 5, 4), r"needs a bottom of 4 axes, and has \(7, 5, 4\)"),
        ('type: "MVN"', (2, 3, 1, 4, 6), "at most 4 axes"),
        ('type: "MVN" mvn_param { eps: nan }', SHAPE, r"'norm' \(MVN\): mvn_param.eps is nan"),
    ],
)
def test_refused(body, shape, message):
    with pytest.raises(ShapeError, match=message):
        make(text(body, shape))


def test_lrn_refuses_to_run_in_place():
    with pytest.raises(ShapeError, match="in place"):
        make(text('type: "LRN"', top="x"))


@settings(max_examples=15)
@given(
    size=st.sampled_from([1, 3, 5, 9]),
    alpha=st.sampled_from([0.001, 0.5, 2]),
    beta=st.sampled_from([-0.5, 0.75, 1]),
    region=st.sampled_from(["ACROSS_CHANNELS", "WITHIN_CHANNEL"]),
    across=st.sampled_from(["true", "false"]),
    shape=st.tuples(*[st.integers(2, 6)] * 4),
)
def test_any_shape_and_parameters(size, alpha, beta, region, across, shape):
    for body in (
        f'type: "LRN" lrn_param {{ local_size: {size} alpha: {alpha} beta: {beta} k: 1.5 '
        f"norm_region: {region} }}",
        f'type: "MVN" mvn_param {{ across_channels: {across} eps: {alpha} }}',
        f'type: "MVN" mvn_param {{ across_channels: {across} normalize_variance: false }}',
    ):
        check_both(text(body, shape))
