"""Values around images, and images a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..types import Array

# Elements in memory at once: 1 MB, so that they stay in the cache.
_ELEMENTS = 1 << 18


def pad(x: Array, before: Sequence[int], behind: Sequence[int], value: float = 0) -> Array:
    """Return (N, C, size...) with a value around each image; np.pad takes longer."""
    if not any((*before, *behind)):
        return x
    spans = map(sum, zip(before, x.shape[2:], behind, strict=True))
    padded = np.full((*x.shape[:2], *spans), value, np.float32)
    inside(padded, before, x.shape[2:])[...] = x
    return padded


def inside(padded: Array, before: Sequence[int], size: Sequence[int]) -> Array:
    """Return the images of this size within their padding, a view."""
    index: tuple[Any, ...] = tuple(slice(p, p + n) for p, n in zip(before, size, strict=True))
    return padded[(..., *index)]


def runs(count: int, elements: int) -> Iterator[slice]:
    """Yield runs of images that stay in the cache together.

    Args:
        count: the number of images.
        elements: what each has in memory.
    """
    step = max(1, _ELEMENTS // max(1, elements))
    for start in range(0, count, step):
        yield slice(start, start + step)
