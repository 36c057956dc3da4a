"""Losses of numbers beside numbers, by hand; test_loss has them beside the others."""

from __future__ import annotations

import numpy as np
import pytest

from ...cases import assert_close, check_both, check_gradients, feed, make, one_layer


def test_smooth_l1_by_hand():
    feeds = {"a": np.float32([[0.5, -3], [1, 0]]), "b": np.float32([[0, 0], [0, 0.25]])}
    outputs = check_both(one_layer('type: "SmoothL1Loss"', (2, 2), (2, 2)), feeds=feeds)
    assert outputs["y"] == np.float32((0.125 + 2.5 + 0.5 + 0.03125) / 2)


@pytest.mark.parametrize("sigma", [1, 3, 0.5])
@pytest.mark.parametrize("bottoms", [2, 3, 4])
def test_smooth_l1_with_weights(sigma, bottoms):
    """Fast R-CNN's weights inside and outside, place by place."""
    body = f'type: "SmoothL1Loss" smooth_l1_loss_param {{ sigma: {sigma} }}'
    text = one_layer(body, *[(4, 3, 2, 5)] * bottoms)
    feeds = feed(make(text))
    if bottoms == 3:  # without an outer weight the gradient has the inner one but once
        feeds["c"] = (feeds["c"] > 0).astype(np.float32)
    want = 0.0
    for place in np.ndindex(4, 3, 2, 5):
        a, b, inner, outer = [*(float(x[place]) for x in feeds.values()), 1, 1][:4]
        d = abs((a - b) * inner)
        f = (sigma * d) ** 2 / 2 if d < 1 / sigma**2 else d - 0.5 / sigma**2
        want += outer * f
    assert_close(check_both(text, feeds=feeds)["y"], want / 4, 1e-5, axis=None)
    check_gradients(text, feeds=feeds, blobs=["a", "b"])


def test_l1():
    text = one_layer('type: "L1Loss"', (4, 3, 5), (4, 15))
    feeds = feed(make(text))
    want = np.abs(feeds["a"].reshape(4, 15) - feeds["b"]).sum() / 4
    assert_close(check_both(text)["y"], want, axis=None)
    check_gradients(text)
