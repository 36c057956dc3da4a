"""The random streams behind the data layers: Caffe's own engines and the C library's `rand()`.

Every stream gives its state as an array of words, so that a resumed training goes on in it.
"""

from __future__ import annotations

import numpy as np

from ..fillers.rng import BoostRng
from ..fillers.rng.shuffling import Order, shuffle, swap
from ..fillers.rng.stream import Words

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
        """Return the order after Caffe's shuffle."""
        return shuffle(self, order)


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
        return swap(order, second, [self.next() % (i + 1) for i in second.tolist()])

    def position(self) -> Words:
        """Return the position in the stream: its last 31 words."""
        return np.array(self._words[-31:], np.uint32)

    def seek(self, state: Words) -> None:
        """Go to a position that `position` returned."""
        self._words = state.tolist()
