"""A faster stream with the distributions of Caffe's, and other bits."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ...errors import WeightsError
from .stream import BLOCK, PIECE, TO_UNIT, Floats, Rng, Words, share

_T = TypeVar("_T", np.uint32, np.float32)


class FastRng(Rng):
    """The same distributions from numpy's SFC64, every core with its own streams.

    A call's values depend on the seed, on the calls before, and on nothing else, the number of
    cores included: each block of a call has a stream of its own. Normals are by Box and Muller in
    float32, so their last bits also depend on numpy's vector instructions.

    Args:
        seed: 0 to 4294967295.
    """

    def __init__(self, seed: int):
        super().__init__(seed)
        self._calls = 0

    def _map(
        self, transform: Callable[[Words, npt.NDArray[_T]], None], out: npt.NDArray[_T]
    ) -> None:
        call, self._calls = self._calls, self._calls + 1
        blocks = itertools.count()

        def work() -> None:
            block = next(blocks)
            key = np.random.SeedSequence(self.seed, spawn_key=(call, block))
            generator = np.random.Generator(np.random.SFC64(key))
            part = out[block * BLOCK : (block + 1) * BLOCK]
            for start in range(0, part.size, PIECE):
                piece = part[start : start + PIECE]
                pairs = generator.integers(0, 2**64, size=-(-piece.size // 2), dtype=np.uint64)
                transform(pairs.view(np.uint32), piece)

        share(work, -(-out.size // BLOCK))

    def state(self) -> bytes:
        """Return the place in the stream: the seed and the number of calls."""
        return f"fast {self.seed} {self._calls}".encode()

    def restore(self, state: bytes) -> None:
        """Go to a place in the stream."""
        kind, *numbers = state.split(b" ")
        if kind != b"fast" or len(numbers) != 2 or not all(map(bytes.isdigit, numbers)):
            raise WeightsError("not the state of a fast stream, or damaged")
        self.seed, self._calls = map(int, numbers)

    def u32(self, n: int) -> Words:
        """Return the next `n` words of the stream."""
        out = np.empty(n, np.uint32)

        def copy(words: Words, piece: Words) -> None:
            piece[:] = words[: piece.size]

        self._map(copy, out)
        return out

    def _uniform(self, a: np.float32, b: np.float32, out: Floats) -> None:
        def transform(words: Words, x: Floats) -> None:
            np.copyto(x, words[: x.size], casting="unsafe")
            np.multiply(x, (b - a) * TO_UNIT, out=x)
            np.add(x, a, out=x)

        self._map(transform, out)

    def _normal(self, mean: np.float32, std: np.float32, out: Floats) -> None:
        self._map(functools.partial(_fast_box_muller, mean, std), out)


def _fast_box_muller(mean: np.float32, std: np.float32, words: Words, x: Floats) -> None:
    half = words.size // 2
    radius, angle = words[:half].astype(np.float32), words[half:].astype(np.float32)
    np.add(radius, np.float32(0.5), out=radius)  # no logarithm of 0
    np.multiply(radius, TO_UNIT, out=radius)
    np.log(radius, out=radius)
    np.multiply(radius, np.float32(-2), out=radius)
    np.sqrt(radius, out=radius)
    np.multiply(radius, std, out=radius)
    np.multiply(angle, np.float32(2 * np.pi) * TO_UNIT, out=angle)
    sine = np.sin(angle)
    np.cos(angle, out=angle)
    np.multiply(radius, angle, out=x[:half])
    np.multiply(radius[: x.size - half], sine[: x.size - half], out=x[half:])
    np.add(x, mean, out=x)
