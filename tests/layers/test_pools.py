"""Sums, maxima and draws over windows: window by window, by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from caffe_compat.errors import ShapeError
from caffe_compat.layers import pools
from caffe_compat.layers.window import Window

WINDOWS = [
    Window(kernel=(3, 2), stride=(2, 1), pad=(1, 0), dilation=(1, 1)),
    Window(kernel=(2, 3), stride=(3, 2), pad=(0, 1), dilation=(1, 1)),
]
OUT = {0: (4, 4), 1: (3, 3)}


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((2, 3, 7, 5)).astype(np.float32)


def cut(x, window, i, j):
    """The elements that a window sees, and where the cut begins."""
    low = [n * s - p for n, s, p in zip((i, j), window.stride, window.pad, strict=True)]
    high = [a + k for a, k in zip(low, window.kernel, strict=True)]
    low = [max(0, n) for n in low]
    return x[:, :, low[0] : high[0], low[1] : high[1]], low


@pytest.mark.parametrize("case", [0, 1])
def test_sums_and_their_adjoint(x, case):
    window, out = WINDOWS[case], OUT[case]
    total = pools.reduce(np.add, pools.pad(x, window, out, 0), window, out)
    for i, j in product(*map(range, out)):
        part, _ = cut(x, window, i, j)
        np.testing.assert_allclose(total[:, :, i, j], part.sum((2, 3)), atol=1e-5)
    dy = np.random.default_rng(1).standard_normal(total.shape).astype(np.float32)
    back = pools.spread(dy, window, x.shape[2:])
    assert np.isclose(np.sum(back * x), np.sum(dy * total), rtol=1e-4)


@pytest.mark.parametrize("case", [0, 1])
def test_maxima_and_where_they_stand(x, case):
    window, out = WINDOWS[case], OUT[case]
    y, place = pools.first_maxima(x, window, out)
    for i, j in product(*map(range, out)):
        part, low = cut(x, window, i, j)
        flat = part.reshape(2, 3, -1)
        np.testing.assert_array_equal(y[:, :, i, j], flat.max(2))
        row, column = np.divmod(flat.argmax(2), part.shape[3])
        np.testing.assert_array_equal(place[:, :, i, j], (row + low[0]) * 5 + column + low[1])
    dy = np.ones_like(y)
    assert pools.send_back(dy, place, x.shape).sum() == y.size


def test_divisors_count_the_pad_and_not_what_hangs_over():
    window = Window(kernel=(3, 3), stride=(2, 2), pad=(1, 1), dilation=(1, 1))
    np.testing.assert_array_equal(pools.divisors((4, 4), window, (3, 3))[0], [9, 9, 6])


def test_reached(x):
    window, out = Window((2, 2), (2, 1), (0, 0), (1, 1)), (3, 4)
    x = np.abs(x)
    for share, pick in ((0.0, 0), (1.0, 3)):
        y, _ = pools.reached(x, window, out, np.full((2, 3, *out), share, np.float32))
        np.testing.assert_array_equal(y[:, :, 1, 2], x[:, :, 2 + pick // 2, 2 + pick % 2])
    with pytest.raises(ShapeError, match="must not be negative"):
        pools.reached(-x, window, out, np.full((2, 3, *out), 0.5, np.float32))
    with pytest.raises(ShapeError, match="nor the window off the image"):
        pools.reached(x, Window((1, 1), (6, 6), (0, 0), (1, 1)), (3, 1), np.ones((2, 3, 3, 1)))
