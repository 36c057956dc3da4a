"""The random streams behind the data layers: Caffe's own engines and the C library's `rand()`.

Every stream gives its state as an array of words, so that a resumed training goes on in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..fillers.rng import BoostRng
from ..fillers.rng.stream import Words

Order = NDArray[np.int64]
"""A permutation of a source's records."""

_WORD = 2**32 - 1  # the largest of mt19937


class Engine(BoostRng):
    """A boost::mt19937 of its own, seeded with one word of the net's stream.

    Args:
        seed: the word.
    """

    def peek(self, n: int) -> Words:
        """Return the next `n` words, and leave them in the stream."""
        words = self.u32(n)
        self._spare = np.concatenate([words, self._spare])
        return words

    def position(self) -> Words:
        """Return the position: the generator's 624 words and place, and words seen ahead."""
        _, key, position, *_ = self._twister.get_state(legacy=True)
        return np.concatenate([key, [position], self._spare]).astype(np.uint32)

    def seek(self, state: Words) -> None:
        """Go to a position that `position` returned."""
        self._twister.set_state(("MT19937", state[:624], int(state[624]), 0, 0.0))
        self._spare = state[625:]

    def shuffle(self, order: Order) -> Order:
        """Return the order after Caffe's shuffle (util/rng.hpp: Fisher and Yates, from the end)."""
        highest = np.arange(len(order) - 1, 0, -1, dtype=np.int64)
        return _swap(order, highest, self._uniform_ints(highest))

    def _uniform_ints(self, highest: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw from 0 to each of `highest`, as boost::uniform_int does (uniform_int_distribution).

        The words are divided by the width of a bucket; one behind the last bucket is drawn again.
        """
        count = highest + 1
        width = _WORD // count + (_WORD % count == highest)
        words: NDArray[np.int64] = np.empty(0, np.int64)
        done = 0
        results = np.empty_like(highest)
        while done < len(highest):
            words = np.append(words, self.u32(len(highest) - done - len(words)).astype(np.int64))
            found = words // width[done:]
            wrong = np.flatnonzero(found > highest[done:])
            good = int(wrong[0]) if wrong.size else len(found)
            results[done : done + good] = found[:good]
            done, words = done + good, words[good + 1 :]
        return results


def _swap(order: Order, first: Sequence[int] | Order, second: Sequence[int] | Order) -> Order:
    """Return the order after swapping the pairs one after another."""
    items = order.tolist()
    for i, j in zip(np.asarray(first).tolist(), np.asarray(second).tolist(), strict=True):
        items[i], items[j] = items[j], items[i]
    return np.array(items, np.int64)


class CRand:
    """The GNU C library's `rand()` in a process that never called `srand` (random_r.c, TYPE_3).

    HDF5Data shuffles by it, and the SSD branch orders channels. `random_seed` does not reach it.
    """

    def __init__(self) -> None:
        words = [1]
        for _ in range(30):
            words.append(16807 * words[-1] % 2147483647)
        self._words = words + words[:3]
        for _ in range(310):
            self.next()

    def next(self) -> int:
        """Return the next number, 0 to 2147483647."""
        words = self._words
        word = (words[-31] + words[-3]) & _WORD
        words.append(word)
        if len(words) > 4096:
            del words[:-31]
        return word >> 1

    def shuffle(self, order: Order) -> Order:
        """Return the order after libstdc++'s std::random_shuffle."""
        second = np.arange(1, len(order), dtype=np.int64)
        return _swap(order, second, [self.next() % (i + 1) for i in second.tolist()])

    def position(self) -> Words:
        """Return the position in the stream: its last 31 words."""
        return np.array(self._words[-31:], np.uint32)

    def seek(self, state: Words) -> None:
        """Go to a position that `position` returned."""
        self._words = state.tolist()
