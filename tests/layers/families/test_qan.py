"""Sets of images: BatchPool and Normalization of CaffeMex_v2."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import assert_close, check_both, check_gradients, feed, make, one_layer

SHAPE = (4, 3, 2, 5)


@pytest.mark.parametrize("pool", ["", "pool: AVE", "pool: MAX"])
def test_batch_pool(pool):
    text = one_layer(f'type: "BatchPool" batch_pool_param {{ {pool} }}', SHAPE)
    x, y = feed(make(text))["a"], check_both(text)["y"]
    assert y.shape == (1, *SHAPE[1:])
    for place in np.ndindex(*SHAPE[1:]):
        own = [float(x[n][place]) for n in range(4)]
        want = max(own) if "MAX" in pool else sum(own) / 4
        assert y[0][place] == pytest.approx(want, abs=1e-6)
    if "MAX" in pool:
        check_gradients(text)


def test_the_forks_gradient_of_a_mean_is_multiplied_by_the_batch():
    net = make(one_layer('type: "BatchPool"', SHAPE))
    dy = np.random.default_rng(2).standard_normal((1, *SHAPE[1:])).astype(np.float32)
    grads, _ = net.backward(net.run(feed(net)), {"y": dy})
    assert_close(grads["a"], np.repeat(4 * dy, 4, axis=0))


@pytest.mark.parametrize("weights", [(4,), (4, 1), (4, 1, 1, 1)])
def test_weights(weights):
    text = one_layer('type: "BatchPool" batch_pool_param { pool: AVE }', SHAPE, weights)
    feeds = feed(make(text))
    y = check_both(text)["y"]
    want = sum(feeds["a"][n] * feeds["b"].ravel()[n] for n in range(4))
    assert_close(y[0], want)
    check_gradients(text)


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 1, 1, 1)])
def test_shares_of_a_batch(shape):
    text = one_layer('type: "Normalization" normalization_param { norm: L1 }', shape)
    net = make(text)
    x, y = feed(net)["a"], check_both(text)["y"]
    assert_close(y, x / sum(abs(float(v)) for v in x.ravel()), axis=None)
    positive = {"a": np.abs(x) + 0.5}
    dy = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    grads, _ = net.backward(net.run(positive), {"y": dy})
    total = positive["a"].sum()
    want = dy / total - (dy * positive["a"]).sum() / total**2
    assert_close(grads["a"], want, axis=None)


def test_l2_is_the_other_forks():
    text = one_layer('type: "Normalization" normalization_param { norm: L2 }', (5, 4))
    x = feed(make(text))["a"]
    assert_close(check_both(text)["y"], x / np.sqrt((x * x).sum(1, keepdims=True)))


@pytest.mark.parametrize(
    ("body", "shapes", "error", "words"),
    [
        ('"BatchPool" batch_pool_param { pool: STOCHASTIC }', [SHAPE], UnsupportedError, "STOCH"),
        ('"BatchPool"', [SHAPE, (3,)], ShapeError, "a weight for each of 4 images"),
        (
            '"Normalization" normalization_param { norm: L1 }',
            [(5, 4)],
            UnsupportedError,
            "one number an image",
        ),
    ],
)
def test_refused(body, shapes, error, words):
    with pytest.raises(error, match=words):
        make(one_layer(f"type: {body}", *shapes))
