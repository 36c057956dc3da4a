"""The permutohedral lattice beside a plain sum over all pairs of points."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.layers import lattice


def test_is_near_a_gaussian_filter():
    """On dense points it is the sum of exp(-|a - b|^2 / 2) of their values, up to a factor."""
    rows, columns = np.indices((24, 24)).reshape(2, -1).astype(np.float32) / 4
    points = np.stack([columns, rows])
    values = np.random.default_rng(0).standard_normal((1, points.shape[1])).astype(np.float32)
    away = points[:, :, None] - points[:, None]
    weight = np.exp(-np.square(away).sum(0) / 2)
    exact = (values @ weight / weight.sum(0))[0]
    grid = lattice.build(points)
    total = lattice.smooth(grid, np.ones_like(values))
    near = (lattice.smooth(grid, values) / total)[0]
    assert np.corrcoef(exact, near)[0, 1] > 0.95


@pytest.mark.parametrize("d", [2, 3, 5])
def test_reverse_is_the_adjoint(d):
    rng = np.random.default_rng(d)
    grid = lattice.build((2 * rng.standard_normal((d, 301))).astype(np.float32))
    x, y = rng.standard_normal((2, 1, 301)).astype(np.float32)
    there = np.sum(lattice.smooth(grid, x) * y)
    back = np.sum(x * lattice.smooth(grid, y, reverse=True))
    assert there == pytest.approx(back, rel=1e-4)


def test_shares_sum_to_1():
    grid = lattice.build(np.random.default_rng(1).standard_normal((5, 50)).astype(np.float32))
    np.testing.assert_allclose(grid.share.sum(1), 1, atol=1e-5)
    assert grid.share.min() > -1e-5
    assert grid.corner.max() < grid.before.shape[1] - 1
