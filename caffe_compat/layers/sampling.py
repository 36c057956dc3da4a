"""Samples that a layer draws at random in each pass, by a generator of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedError
from ..fillers.rng import BoostRng, Rng
from ..fillers.rng.shuffling import shuffle
from ..types import Array

Index = NDArray[np.int64]


def draw_seed(rng: Rng) -> dict[str, Array]:
    """Return the seed of a pass, to be passed on as `seed`: float32 has room for half a word."""
    word = rng.next_u32()
    return {"seed": np.array([word >> 16, word & 0xFFFF], np.float32)}


def generator(seed: Array | None) -> BoostRng:
    """Return the generator of a pass.

    Raises:
        UnsupportedError: no seed was drawn.
    """
    if seed is None:
        raise UnsupportedError("samples at random, which a solver's passes alone do")
    high, low = (int(half) for half in seed)
    return BoostRng(high << 16 | low)


def sample(items: Index, count: int, rng: BoostRng) -> Index:
    """Return the first `count` items after Caffe's shuffle; all as they are if there are fewer."""
    return items if len(items) <= count else shuffle(rng, items)[:count]
