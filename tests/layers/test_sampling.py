"""The seeds of layers that sample."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import UnsupportedError
from caffe_compat.fillers.rng import BoostRng
from caffe_compat.layers.sampling import draw_seed, generator, sample


def test_a_seed_is_two_halves():
    (seed,) = draw_seed(BoostRng(7)).values()
    assert generator(seed).seed == BoostRng(7).next_u32()


def test_a_sample_is_the_front_of_a_shuffle():
    items = np.arange(20)
    picked = sample(items, 5, BoostRng(7))
    assert len(set(picked.tolist())) == 5 and set(picked.tolist()) <= set(items.tolist())
    assert picked.tolist() != [0, 1, 2, 3, 4]
    assert sample(items, 5, BoostRng(7)).tolist() == picked.tolist()
    assert sample(items, 20, BoostRng(7)) is items


def test_no_seed():
    with pytest.raises(UnsupportedError, match="samples at random"):
        generator(None)
