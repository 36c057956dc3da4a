"""Caffe's shuffle, by the words of the stream one at a time."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.fillers.rng import BoostRng
from caffe_compat.fillers.rng.shuffling import shuffle, swap


@pytest.mark.parametrize("count", [0, 1, 2, 7, 300])
def test_shuffle(count):
    """Each place from the last exchanges its item with one before it, or its own."""
    rng, items = BoostRng(11), list(range(count))
    for place in range(count - 1, 0, -1):
        width = (2**32 - 1) // (place + 1) + ((2**32 - 1) % (place + 1) == place)
        while (other := rng.next_u32() // width) > place:
            pass
        items[place], items[other] = items[other], items[place]
    stream = BoostRng(11)
    assert shuffle(stream, np.arange(count)).tolist() == items
    assert stream.next_u32() == rng.next_u32()


def test_swap():
    assert swap(np.arange(3), [0, 1], [1, 2]).tolist() == [1, 2, 0]
