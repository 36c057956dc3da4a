"""The fast stream: its distributions, whatever the number of cores."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.fillers.rng import FastRng, fast, stream


@pytest.mark.parametrize("draw", ["normal", "uniform"])
def test_fast_does_not_depend_on_the_cores(draw, monkeypatch):
    monkeypatch.setattr(fast, "BLOCK", 10_000)
    draws = []
    for cores in (1, 2, 7):
        monkeypatch.setattr(stream, "cores", lambda cores=cores: cores)
        r = FastRng(11)
        draws.append([getattr(r, draw)(0, 2, n) for n in (12_345, 3, 30_001)])
    for other in draws[1:]:
        assert all(map(np.array_equal, draws[0], other))
    first, *rest = draws[0]
    assert not np.array_equal(first[:3], rest[0])
    assert not np.array_equal(first[:10_000], rest[1][:10_000])
    assert not np.array_equal(first, getattr(FastRng(12), draw)(0, 2, 12_345))


def test_fast_has_the_distributions():
    r, n = FastRng(1), 1_000_000
    x = r.normal(3, 2, n).astype(np.float64)
    z = (x - 3) / 2
    assert abs(z.mean()) < 5 / n**0.5
    for power, moment in ((2, 1), (3, 0), (4, 3), (6, 15)):
        assert abs((z**power).mean() - moment) < 30 * power / n**0.5
    for edge, below in ((-2, 0.0227501), (-0.5, 0.3085375), (0, 0.5), (1, 0.8413447)):
        assert abs((z < edge).mean() - below) < 3e-3
    assert abs((z[:-1] * z[1:]).mean()) < 5e-3
    assert abs((z[: n // 2] * z[n // 2 :]).mean()) < 1e-2
    u = r.uniform(-1, 3, n)
    assert -1 <= u.min() < -0.999 < 2.999 < u.max() <= 3
    assert abs(np.histogram(u, 16, (-1, 3))[0] - n / 16).max() < 5 * (n / 16) ** 0.5
    assert abs(r.bernoulli(0.3, n).mean() - 0.3) < 3e-3
    assert r.u32(3).dtype == np.uint32
    assert 0 <= r.next_u32() < 2**32


def test_nothing_is_drawn_from_many_cores(monkeypatch):
    """As for MemoryData, whose blobs have no values."""
    monkeypatch.setattr(stream, "cores", lambda: 4)
    assert FastRng(1).u32(0).size == 0
