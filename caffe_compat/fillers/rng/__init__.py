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
    """The stream of that name: one of `GENERATIONS`, or "fast".

    Raises:
        ShapeError: For an unknown name, or a seed outside 32 bits.
    """
    return FastRng(seed) if name == "fast" else BoostRng(seed, name)
