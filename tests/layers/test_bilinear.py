"""Bilinear samples at places of their own, by hand, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.layers.bilinear import corners, sample, sample_gradients

IMAGE = np.array([[[[0, 1, 2], [10, 11, 12]]]], np.float32)  # 2 rows of 3


def at(*places, zeros):
    rows, columns = np.array(places, np.float32).T[:, None]
    return corners((2, 3), rows, columns, zeros=zeros)


@pytest.mark.parametrize(("zeros", "edge"), [(True, 0.5), (False, 2)])
def test_by_hand(zeros, edge):
    """Inside, between four pixels; half a pixel beyond an edge; far away; NaN."""
    places = at((0.5, 1.25), (0, 2.75), (0, -9), (np.nan, 1), zeros=zeros)
    inside, beyond, far, _ = sample(IMAGE, places)[0, 0]
    assert inside == 6.25
    assert beyond == edge
    assert far == 0


@pytest.mark.parametrize("zeros", [True, False])
def test_gradients_are_differences(zeros):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    rows, columns = rng.integers(-1, 4, (2, 2, 6)) + rng.uniform(0.2, 0.8, (2, 2, 6))
    rows, columns = rows.astype(np.float32), columns.astype(np.float32)
    dy = rng.standard_normal((2, 3, 6)).astype(np.float32)

    def total(x, rows, columns):
        return np.sum(sample(x, corners((4, 5), rows, columns, zeros=zeros)) * dy)

    places = corners((4, 5), rows, columns, zeros=zeros)
    dx, drows, dcolumns = sample_gradients(dy, x, places)
    step = np.float32(0.05)
    for gradient, moved in (
        (drows, (x, rows + step, columns)),
        (dcolumns, (x, rows, columns + step)),
    ):
        difference = (total(*moved) - total(x, rows, columns)) / step
        assert gradient.sum() == pytest.approx(difference, rel=1e-3, abs=1e-3)
    assert np.sum(dx * x) == pytest.approx(total(x, rows, columns), rel=1e-4, abs=1e-4)
