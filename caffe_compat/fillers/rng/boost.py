"""Caffe's own stream, bit for bit, in three generations of Boost.

Blocks of words are drawn in order and transformed on all cores; numpy releases the interpreter's
lock for both.

Source: Boost.Random 1.40 to 1.90; caffe/src/caffe/util/math_functions.cpp.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

import numpy as np

from ...errors import ShapeError, WeightsError
from . import libm
from .stream import BLOCK, PIECE, TO_UNIT, Floats, Rng, Words, share
from .ziggurat import LOOKAHEAD, Block, Ziggurat

GENERATIONS = ("boost-1.64", "boost-1.56", "boost-1.55")

_KEY = 624  # words of the Mersenne twister's state
_LAST_BELOW_1 = 2**32 - 129  # the last word that float32 does not round up to 2**32
_WORDS_PER_NORMAL = 1.04  # the ziggurat's average; it only sizes the draws


class BoostRng(Rng):
    """Caffe's stream: the same values and the same position as a Caffe built with Boost.

    Args:
        seed: 0 to 4294967295, like that of Caffe's `set_random_seed`.
        generation: "boost-1.64" (that and later), "boost-1.56" (to 1.63) or "boost-1.55" (and
            earlier).
    """

    def __init__(self, seed: int, generation: str = GENERATIONS[0]):
        super().__init__(seed)
        if generation not in GENERATIONS:
            known = ", ".join(GENERATIONS)
            raise ShapeError(f"unknown stream {generation!r} (known: {known}, fast)")
        self.generation = generation
        self._twister = np.random.RandomState(self.seed)
        self._spare = np.empty(0, np.uint32)  # drawn from the twister, and not yet from this stream

    def u32(self, n: int) -> Words:
        """Return the next `n` words of the stream."""
        words = np.empty(n, np.uint32)
        self._draw(words)
        return words

    def state(self) -> bytes:
        """Return the place in the stream: the twister's, and the words drawn ahead of it."""
        _, key, place, *_ = self._twister.get_state()
        head = f"{self.generation} {place} ".encode()
        return head + np.asarray(key, "<u4").tobytes() + self._spare.astype("<u4").tobytes()

    def restore(self, state: bytes) -> None:
        """Go to a place in the stream."""
        generation, _, rest = state.partition(b" ")
        place, _, words = rest.partition(b" ")
        if generation != self.generation.encode() or not place.isdigit() or len(words) % 4:
            raise WeightsError(f"not the state of a {self.generation} stream, or damaged")
        numbers = np.frombuffer(words, "<u4").astype(np.uint32)
        if len(numbers) < _KEY or int(place) > _KEY:
            raise WeightsError("the state of the random stream is damaged")
        self._twister.set_state(("MT19937", numbers[:_KEY], int(place), 0, 0.0))
        self._spare = numbers[_KEY:]

    def _draw(self, words: Words) -> None:
        spare = self._spare[: words.size]
        words[: spare.size] = spare
        self._spare = self._spare[spare.size :]
        for start in range(spare.size, words.size, PIECE):
            piece = words[start : start + PIECE]
            piece[:] = self._twister.randint(0, 2**32, size=piece.size, dtype=np.uint32)

    def _map(
        self, transform: Callable[[Words, Floats], None], last: int, out: Floats, group: int = 1
    ) -> None:
        """Fill `out`, a word per value, in whole groups, and skip words above `last`."""
        lock, done = threading.Lock(), 0

        def work() -> None:
            nonlocal done
            with lock:
                part = out[done : done + BLOCK]
                done += part.size
                words = self.u32(-(-part.size // group) * group)
                while words.max() > last:
                    low = words[words <= last]
                    words = np.concatenate([low, self.u32(words.size - low.size)])
            for start in range(0, part.size, PIECE):
                transform(words[start : start + PIECE], part[start : start + PIECE])

        share(work, -(-out.size // BLOCK))

    def _uniform(self, a: np.float32, b: np.float32, out: Floats) -> None:
        interval = _Interval(a, b)
        self._map(interval.transform, interval.last_word(), out)

    def _normal(self, mean: np.float32, std: np.float32, out: Floats) -> None:
        if self.generation == "boost-1.55":
            box_muller = functools.partial(_box_muller, mean, std)
            self._map(box_muller, _LAST_BELOW_1, out, group=2)
            return
        ziggurat = _ziggurat(self.generation)
        done = 0
        while done < out.size:
            run = _ZigguratRun(ziggurat, self._draw, mean, std, out[done:])
            share(run.work, run.blocks)
            done += run.done
            self._spare = np.concatenate([*run.unread, self._spare])


class _ZigguratRun:
    """One run over as many blocks of words as should fill `out`, which is not certain."""

    def __init__(
        self,
        ziggurat: Ziggurat,
        draw: Callable[[Words], None],
        mean: np.float32,
        std: np.float32,
        out: Floats,
    ):
        self._ziggurat, self._draw, self._mean, self._std = ziggurat, draw, mean, std
        self._out = out
        self._left = int(out.size * _WORDS_PER_NORMAL) + 64
        self.blocks = -(-self._left // BLOCK)
        self._ahead = np.empty(LOOKAHEAD, np.uint32)
        draw(self._ahead)
        self._drawing, self._turn = threading.Lock(), threading.Condition()
        self._drawn = self._finished = self._entry = 0
        self._failed = False  # whether a block failed, so that no other waits for its turn
        self.done = 0
        self.unread: list[Words] = []

    def work(self) -> None:
        """Turn the next block into values."""
        try:
            with self._drawing:
                number, words = self._drawn, self._next_words()
                self._drawn += 1
            block = self._ziggurat.decode(words)
            with self._turn:
                self._turn.wait_for(lambda: self._finished == number or self._failed)
                room = self._settle(block)
                self._finished += 1
                self._turn.notify_all()
            if room.size:
                block.write(self._mean, self._std, room)
        except BaseException:
            with self._turn:
                self._failed = True
                self._turn.notify_all()
            raise

    def _next_words(self) -> Words:
        own = min(self._left, BLOCK)
        self._left -= own
        words = np.empty(own + LOOKAHEAD, np.uint32)
        words[:LOOKAHEAD] = self._ahead
        self._draw(words[LOOKAHEAD:])
        self._ahead = words[own:]
        return words

    def _settle(self, block: Block) -> Floats:
        """Return the space for the block's values, and keep its unread words if it is the last."""
        if self.done == self._out.size:
            self.unread.append(block.words[LOOKAHEAD:])
            return self._out[:0]
        count, leave = block.settle(self._entry)
        room = self._out[self.done :][:count]
        self.done += room.size
        self._entry = leave
        if self.done == self._out.size:
            self.unread.append(block.words[block.end_of(room.size) :])
        elif self._finished == self.blocks - 1:
            self.unread.append(block.words[block.words.size - LOOKAHEAD + leave :])
        return room


@functools.cache
def _ziggurat(generation: str) -> Ziggurat:
    return Ziggurat(early=generation == "boost-1.56")


def _box_muller(mean: np.float32, std: np.float32, words: Words, x: Floats) -> None:
    """Compute two normals from two words (Box and Muller 1958): the cosine, then the sine."""
    unit = words.astype(np.float32) * TO_UNIT
    cos, sin = libm.cos_sin(np.float32(2) * np.float32(np.pi) * unit[0::2])
    radius = np.sqrt(np.float32(-2) * libm.log(1 - unit[1::2]))
    np.multiply(radius, cos, out=unit[0::2])
    np.multiply(radius, sin, out=unit[1::2])
    np.multiply(unit[: x.size], std, out=x)
    np.add(x, mean, out=x)


class _Interval:
    """Boost's uniform_real_distribution over [a, nextafter(b)), so that Caffe's includes b."""

    def __init__(self, a: np.float32, b: np.float32):
        top = np.nextafter(b, np.finfo(np.float32).max)
        # If the span would overflow, Boost draws from half the interval and doubles.
        self._twice = bool(float(top) - float(a) > float(np.finfo(np.float32).max))
        half = np.float32(0.5 if self._twice else 1)
        self._a, self._top = a * half, top * half
        self._span = self._top - self._a

    def _place(self, words: Words, x: Floats) -> None:
        np.copyto(x, words, casting="unsafe")
        np.multiply(x, TO_UNIT, out=x)
        np.multiply(x, self._span, out=x)
        np.add(x, self._a, out=x)

    def transform(self, words: Words, x: Floats) -> None:
        """Fill `x` from `words`, none of which is above `last_word`."""
        self._place(words, x)
        if self._twice:
            np.multiply(x, np.float32(2), out=x)

    def last_word(self) -> int:
        """Return the last word that does not round up to the top; above it Boost draws again."""
        word, x = np.empty(1, np.uint32), np.empty(1, np.float32)
        inside, outside = 0, 2**32
        word[0] = outside - 1
        self._place(word, x)
        if x[0] < self._top:
            return outside - 1
        while outside - inside > 1:
            word[0] = middle = (inside + outside) // 2
            self._place(word, x)
            inside, outside = (middle, outside) if x[0] < self._top else (inside, middle)
        return inside
