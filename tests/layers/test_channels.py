"""One number for each channel beside a blob."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.layers import channels
from caffe_compat.layers.builder import Builder

X = np.random.default_rng(1).standard_normal((2, 3, 5, 4)).astype(np.float32)


@pytest.mark.parametrize("shape", [(3,), (1, 3, 1, 1), ()])
def test_over(shape):
    part = np.full(shape, 2, np.float32)
    assert np.array_equal(channels.over(part, 4) * X, 2 * X)
    ramp = channels.over(np.arange(3, dtype=np.float32), 4) * np.ones_like(X)
    assert [np.unique(ramp[:, c]).tolist() for c in range(3)] == [[0], [1], [2]]


def test_others():
    assert [channels.others(rank) for rank in (2, 3, 5)] == [(0,), (0, 2), (0, 2, 3, 4)]


def test_moments_are_those_of_each_channel():
    mean, variance = channels.moments(X)
    assert mean.shape == variance.shape == (1, 3, 1, 1)
    assert mean[0, 1, 0, 0] == pytest.approx(X[:, 1].mean())
    assert variance[0, 1, 0, 0] == pytest.approx(X[:, 1].var())


def test_a_gradient_through_the_moments_leaves_them_alone():
    """No change of x along it changes a channel's mean or deviation."""
    mean, variance = channels.moments(X)
    deviation = np.sqrt(variance)
    y = (X - mean) / deviation
    dx = channels.through_moments(np.sin(X), y, deviation)
    assert np.abs(dx.sum((0, 2, 3))).max() < 1e-5
    assert np.abs((dx * y).sum((0, 2, 3))).max() < 1e-4


def test_lower_over_names_a_view():
    g = Builder(18)
    g.value("x", (None, 3, None, None))
    part = np.arange(3, dtype=np.float32)
    g.parameter("l/p", part)
    name = channels.lower_over(g, "x", "l/p")
    g.Mul("x", name)
    assert g.arrays[name].shape == (3, 1, 1)
    assert np.shares_memory(g.arrays[name], part)
