"""Convolutions in numpy: matrix products with the columns of their windows."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from ..types import Array, Shape
from .spatial import Window, conv_size

# Elements of columns in memory at once: 2 MB, so that they stay in the cache.
_COLUMNS = 1 << 19


def convolve(x: Array, weight: Array, window: Window, group: int) -> Array:
    """Convolve (N, C, size...) by (O, C/g, kernel...) to (N, O, out...)."""
    out = conv_size(x.shape[2:], window)
    filters = weight.reshape(group, len(weight) // group, prod(weight.shape[1:]))
    y = np.empty((len(x), group, filters.shape[1], prod(out)), np.float32)
    for some in _batches(len(x), group * filters.shape[2] * prod(out)):
        taken = columns(x[some], window, out)
        np.matmul(filters, taken.reshape(-1, group, filters.shape[2], prod(out)), out=y[some])
    return y.reshape(len(x), len(weight), *out)


def scatter(y: Array, weight: Array, size: Shape, window: Window, group: int) -> Array:
    """Apply the adjoint of `convolve` in x: (N, O, out...) to (N, C, size...)."""
    out = y.shape[2:]
    filters = weight.reshape(group, len(weight) // group, prod(weight.shape[1:]))
    channels = weight.shape[1] * group
    x = np.empty((len(y), channels, *size), np.float32)
    flat = y.reshape(len(y), group, filters.shape[1], prod(out))
    for some in _batches(len(y), group * filters.shape[2] * prod(out)):
        taken = filters.swapaxes(1, 2) @ flat[some]
        taken = taken.reshape(len(taken), channels, prod(window.kernel), *out)
        x[some] = fold(taken, window, size)
    return x


def correlate(x: Array, y: Array, window: Window, group: int) -> Array:
    """Return the gradient of `convolve` by the weights: (group, O/g, C/g * taps)."""
    out = y.shape[2:]
    taps = x.shape[1] // group * prod(window.kernel)
    flat = y.reshape(len(y), group, y.shape[1] // group, prod(out))
    total = np.zeros((group, flat.shape[2], taps), np.float32)
    for some in _batches(len(x), group * taps * prod(out)):
        taken = columns(x[some], window, out).reshape(-1, group, taps, prod(out))
        total += (flat[some] @ taken.swapaxes(2, 3)).sum(axis=0)
    return total


def columns(x: Array, window: Window, out: Shape) -> Array:
    """Return the windows of (N, C, size...) as (N, C, taps, out...), zero beyond the edges."""
    if window.plain:
        return x[:, :, None]
    ends = window.ends(x.shape[2:])
    if any(window.pad + ends):
        pads = zip(window.pad, ends, strict=True)
        x = np.pad(x, ((0, 0), (0, 0), *pads))
    taps = np.empty((*x.shape[:2], prod(window.kernel), *out), np.float32)
    for i, tap in enumerate(window.taps(out)):
        taps[:, :, i] = x[tap]
    return taps


def fold(columns: Array, window: Window, size: Shape) -> Array:
    """Apply the adjoint of `columns`: (N, C, taps, out...) to (N, C, size...)."""
    if window.plain:
        return columns[:, :, 0]
    padded = [n + p + end for n, p, end in zip(size, window.pad, window.ends(size), strict=True)]
    x = np.zeros((*columns.shape[:2], *padded), np.float32)
    for i, tap in enumerate(window.taps(columns.shape[3:])):
        x[tap] += columns[:, :, i]
    inside: list[Any] = [slice(p, p + n) for n, p in zip(size, window.pad, strict=True)]
    return x[(..., *inside)]


def _batches(count: int, elements: int) -> Iterator[slice]:
    """Yield runs of images whose columns have no more than `_COLUMNS` elements together."""
    step = max(1, _COLUMNS // max(1, elements))
    for start in range(0, count, step):
        yield slice(start, start + step)
