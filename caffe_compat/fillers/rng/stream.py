"""The interface of the random streams that fillers draw from, and the work on all cores."""

from __future__ import annotations

import abc
import operator
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from ...errors import ShapeError

Words = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

BLOCK = 1 << 20  # values drawn and transformed at once; even, since some are drawn in pairs
PIECE = 1 << 16  # the number of these at a time, so that their arrays stay in the L2 cache
TO_UNIT = np.float32(2.0**-32)


def cores() -> int:
    """Return the number of cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share(work: Callable[[], None], times: int) -> None:
    """Call `work` that many times, on all cores."""
    if times <= 1 or cores() == 1:
        for _ in range(times):
            work()
        return
    with ThreadPoolExecutor(min(times, cores())) as pool:
        for task in [pool.submit(work) for _ in range(times)]:
            task.result()


class Rng(abc.ABC):
    """A stream of random numbers. Every draw is float32, into `out` or a new array.

    Args:
        seed: 0 to 4294967295, like that of Caffe's `set_random_seed`.

    Raises:
        ShapeError: the seed is outside these 32 bits; or in a draw, where Caffe's CHECK would
            abort: a > b, std not above 0, p outside [0, 1].
    """

    def __init__(self, seed: int):
        self.seed = operator.index(seed)
        if not 0 <= self.seed < 2**32:
            raise ShapeError(f"seed {seed} is outside 0 to 4294967295")

    def uniform(self, a: float, b: float, n: int, out: Floats | None = None) -> Floats:
        """Draw `n` values from [a, b]."""
        low, high = np.float32(a), np.float32(b)
        if not low <= high:
            raise ShapeError(f"a <= b ({low:g} vs. {high:g}): a uniform's min is above its max")
        if not np.isfinite([low, high]).all():
            raise ShapeError(f"uniform from {low:g} to {high:g} is not finite")
        out = _room(n, out)
        if n:
            self._uniform(low, high, out)
        return out

    def normal(self, mean: float, std: float, n: int, out: Floats | None = None) -> Floats:
        """Draw `n` values from the normal distribution."""
        mu, sigma = np.float32(mean), np.float32(std)
        if not sigma > 0:
            raise ShapeError(f"sigma > 0 ({sigma:g} vs. 0): a gaussian's std must be above 0")
        if not np.isfinite([mu, sigma]).all():
            raise ShapeError(f"gaussian of mean {mu:g} and std {sigma:g} is not finite")
        out = _room(n, out)
        if n:
            self._normal(mu, sigma, out)
        return out

    def bernoulli(self, p: float, n: int) -> Flags:
        """Draw `n` flags, each true with probability `p`."""
        probability = np.float32(p)
        if not 0 <= probability <= 1:
            raise ShapeError(f"0 <= p <= 1: a bernoulli's p is {probability:g}")
        # Like Boost, compare with <=, and take nothing from the stream if p is 0.
        if probability == 0:
            return np.zeros(n, bool)
        return self.u32(n).astype(np.float32) <= probability * np.float32(2**32 - 1)

    @abc.abstractmethod
    def u32(self, n: int) -> Words:
        """Return the next `n` words of the stream."""

    def next_u32(self) -> int:
        """Return the next word of the stream."""
        return int(self.u32(1)[0])

    @abc.abstractmethod
    def state(self) -> bytes:
        """Return the place in the stream, for `restore`."""

    @abc.abstractmethod
    def restore(self, state: bytes) -> None:
        """Go to a place in the stream.

        Args:
            state: from `state` of a stream of the same kind; the seed may be another.

        Raises:
            WeightsError: the state is damaged or of another kind.
        """

    @abc.abstractmethod
    def _uniform(self, a: np.float32, b: np.float32, out: Floats) -> None: ...

    @abc.abstractmethod
    def _normal(self, mean: np.float32, std: np.float32, out: Floats) -> None: ...


def _room(n: int, out: Floats | None) -> Floats:
    if out is None:
        return np.empty(n, np.float32)
    if out.shape != (n,) or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise ShapeError(f"out must be {n} contiguous float32 values, is {out.shape} {out.dtype}")
    return out
