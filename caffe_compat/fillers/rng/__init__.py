"""The random streams behind the fillers: Caffe's own, bit for bit, and a faster one.

Caffe draws from boost::mt19937, whose words are those of numpy's `RandomState(seed)`, through
Boost's distributions in float32. These changed twice: a Caffe built against another generation of
Boost fills a gaussian with other numbers from the same seed. uniform and bernoulli never changed.
"""

from __future__ import annotations

from .boost import GENERATIONS, BoostRng
from .fast import FastRng
from .stream import Rng

__all__ = ["GENERATIONS", "BoostRng", "FastRng", "Rng", "make_rng"]


def make_rng(name: str, seed: int) -> Rng:
    """Return a stream by name.

    Args:
        name: one of `GENERATIONS`, or "fast".
        seed: 0 to 4294967295.

    Raises:
        ShapeError: the name is unknown, or the seed is outside 32 bits.
    """
    return FastRng(seed) if name == "fast" else BoostRng(seed, name)
