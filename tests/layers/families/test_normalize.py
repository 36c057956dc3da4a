"""Vectors scaled to a learned length, as SSD's conv4_3_norm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, check_both, check_gradients, feed, make, one_layer, run_onnx

SHAPE = (2, 3, 5, 4)


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


@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    scale=st.sampled_from([0.01, 1, 30]),
    across=st.sampled_from(["true", "false"]),
    shared=st.sampled_from(["true", "false"]),
)
@settings(max_examples=15)
def test_any_shape(shape, scale, across, shared):
    param = f"across_spatial: {across} channel_shared: {shared} scale_filler {{ value: 3 }}"
    text = one_layer(f'type: "Normalize" norm_param {{ {param} }}', shape)
    check_both(text, feeds={"a": feed(make(text))["a"] * np.float32(scale)})
