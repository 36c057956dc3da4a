"""Streams in general: seeds, names, arguments."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError
from caffe_compat.fillers.rng import BoostRng, FastRng, make_rng


def test_out_is_filled_in_place():
    room = np.empty(1000, np.float32)
    for r in (BoostRng(3), FastRng(3)):
        assert r.normal(0, 1, 1000, out=room) is room
        assert r.uniform(0, 1, 1000, out=room) is room
    with pytest.raises(ShapeError, match="999 contiguous"):
        BoostRng(3).normal(0, 1, 999, out=room)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
@pytest.mark.parametrize("name", ["boost-1.64", "fast"])
def test_a_seed_has_32_bits(name, seed):
    with pytest.raises(ShapeError, match=str(seed)):
        make_rng(name, seed)


def test_streams_by_name():
    assert isinstance(make_rng("fast", 1), FastRng)
    assert make_rng("boost-1.56", np.uint32(1)).generation == "boost-1.56"
    with pytest.raises(ShapeError, match=r"'boost-1\.60'.*boost-1\.56"):
        make_rng("boost-1.60", 1)


@pytest.mark.parametrize("r", [BoostRng(1), FastRng(1)], ids=["boost", "fast"])
def test_what_caffe_checks(r):
    for std in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ShapeError, match=f"{std:g}"):
            r.normal(0, std, 3)
    for a, b in ((2, 1), (float("nan"), 1), (0, float("inf")), (float("-inf"), 0)):
        with pytest.raises(ShapeError, match=f"{a:g}"):
            r.uniform(a, b, 3)
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ShapeError, match=f"{p:g}"):
            r.bernoulli(p, 3)
