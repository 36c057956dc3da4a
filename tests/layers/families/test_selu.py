"""SeLu and SeLuDropout."""

from __future__ import annotations

import math

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import check_both, check_gradients, feed, make, one_layer

SHAPE = (4, 5, 6)


@pytest.mark.parametrize(
    ("body", "scale", "alpha"),
    [("", 1.050700987, 1.67326324), ("selu_param { lambda: 2 alpha: 0.5 }", 2, 0.5)],
)
def test_selu(body, scale, alpha):
    text = one_layer(f'type: "SeLu" {body}', SHAPE)
    x, y = feed(make(text))["a"], check_both(text)["y"]
    for place in np.ndindex(*SHAPE):
        value = float(x[place])
        want = scale * (value if value > 0 else alpha * (math.exp(value) - 1))
        assert y[place] == pytest.approx(want, rel=1e-5)
    check_gradients(text)


def test_dropout_does_nothing_in_test():
    text = one_layer('type: "SeLuDropout"', SHAPE)
    assert np.array_equal(check_both(text)["y"], feed(make(text))["a"])


def test_dropout_keeps_mean_and_variance():
    net = make(one_layer('type: "SeLuDropout"', (200, 500)), phase="TRAIN")
    layer = net.graph.nodes[-1].layer
    x = feed(net)["a"]
    mask = (np.random.default_rng(3).random(x.shape) < 0.9).astype(np.float32)
    y = layer.forward(x, mask)
    assert abs(y.mean()) < 0.01
    assert abs(y.std() - 1) < 0.01
    alpha, keep = -1.75809934, 0.9
    scale = (keep * (1 + alpha**2 * (1 - keep))) ** -0.5
    dropped = scale * alpha - scale * (1 - keep) * alpha
    np.testing.assert_allclose(y[mask == 0], dropped, 1e-5)
    shift = scale * (1 - keep) * alpha
    np.testing.assert_allclose(y[mask == 1], scale * x[mask == 1] - shift, 1e-5, 1e-6)
    dy = np.ones_like(x)
    np.testing.assert_allclose(layer.backward(dy, x, mask), scale * mask, 1e-6)
    with pytest.raises(UnsupportedError, match="at random in TRAIN"):
        lower(net)


def test_refused():
    with pytest.raises(ShapeError, match="between 0 and 1"):
        make(one_layer('type: "SeLuDropout" selu_dropout_param { dropout_ratio: 1 }', SHAPE))
