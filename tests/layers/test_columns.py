"""Convolutions by the columns of their windows."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.layers import columns, padding
from caffe_compat.layers.spatial import conv_size
from caffe_compat.layers.window import Window

from ..cases import assert_close

WINDOWS = [
    ((7, 9), Window((3, 3), (1, 1), (0, 0), (1, 1))),
    ((7, 9), Window((2, 3), (2, 3), (1, 0), (3, 2))),
    ((3, 6), Window((5, 5), (3, 3), (0, 0), (1, 1))),  # over the input
]


def arrays(size, window, outputs=4, channels=6, group=2):
    rng = np.random.default_rng(4)
    x = rng.standard_normal((5, channels, *size)).astype(np.float32)
    weight = rng.standard_normal((outputs, channels // group, *window.kernel)).astype(np.float32)
    y = rng.standard_normal((5, outputs, *conv_size(size, window))).astype(np.float32)
    return x, weight, y


@pytest.mark.parametrize(("size", "window"), WINDOWS)
def test_scatter_and_correlate_are_the_adjoints(size, window):
    x, weight, y = arrays(size, window)
    product = np.vdot(columns.convolve(x, weight, window, 2), y)
    back = columns.scatter(y, weight, size, window, 2)
    assert_close(np.vdot(back, x), product, 1e-4, axis=None)
    slope = columns.correlate(x, y, window, 2).reshape(weight.shape)
    assert_close(np.vdot(slope, weight), product, 1e-4, axis=None)


@pytest.mark.parametrize(("size", "window"), WINDOWS)
def test_large_columns_are_computed_in_parts(monkeypatch, size, window):
    x, weight, y = arrays(size, window)
    whole = columns.convolve(x, weight, window, 2)
    back, slope = columns.scatter(y, weight, size, window, 2), columns.correlate(x, y, window, 2)
    monkeypatch.setattr(padding, "_ELEMENTS", 2 * y[0].size * weight[0].size)  # two images
    np.testing.assert_array_equal(columns.convolve(x, weight, window, 2), whole)
    np.testing.assert_array_equal(columns.scatter(y, weight, size, window, 2), back)
    assert_close(columns.correlate(x, y, window, 2), slope, axis=None)
