"""Caffe's shuffle of a stream (util/rng.hpp), and swaps one after another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .stream import Rng

Order = NDArray[np.int64]
"""A permutation."""

_WORD = 2**32 - 1  # the largest of mt19937


def shuffle(rng: Rng, order: Order) -> Order:
    """Return the order after Caffe's shuffle (util/rng.hpp: Fisher and Yates, from the end)."""
    highest = np.arange(len(order) - 1, 0, -1, dtype=np.int64)
    return swap(order, highest, _uniform_ints(rng, highest))


def swap(order: Order, first: Sequence[int] | Order, second: Sequence[int] | Order) -> Order:
    """Return the order after swapping the pairs one after another."""
    items = order.tolist()
    for i, j in zip(np.asarray(first).tolist(), np.asarray(second).tolist(), strict=True):
        items[i], items[j] = items[j], items[i]
    return np.array(items, np.int64)


def _uniform_ints(rng: Rng, highest: Order) -> Order:
    """Draw from 0 to each of `highest`, as boost::uniform_int does (uniform_int_distribution).

    The words are divided by the width of a bucket; one behind the last bucket is drawn again.
    """
    count = highest + 1
    width = _WORD // count + (_WORD % count == highest)
    words: Order = np.empty(0, np.int64)
    done = 0
    results = np.empty_like(highest)
    while done < len(highest):
        words = np.append(words, rng.u32(len(highest) - done - len(words)).astype(np.int64))
        found = words // width[done:]
        wrong = np.flatnonzero(found > highest[done:])
        good = int(wrong[0]) if wrong.size else len(found)
        results[done : done + good] = found[:good]
        done, words = done + good, words[good + 1 :]
    return results
