"""Convolutions in numpy: matrix products with the columns of their windows."""

from __future__ import annotations

from math import prod

import numpy as np

from ..types import Array, Shape
from .padding import inside, pad, runs
from .spatial import conv_size
from .window import Window


def convolve(x: Array, weight: Array, window: Window, group: int) -> Array:
    """Convolve (N, C, size...) by (O, C/g, kernel...) to (N, O, out...)."""
    out = conv_size(x.shape[2:], window)
    filters = weight.reshape(group, len(weight) // group, prod(weight.shape[1:]))
    y = np.empty((len(x), group, filters.shape[1], prod(out)), np.float32)
    for some in runs(len(x), group * filters.shape[2] * prod(out)):
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
    for some in runs(len(y), group * filters.shape[2] * prod(out)):
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
    for some in runs(len(x), group * taps * prod(out)):
        taken = columns(x[some], window, out).reshape(-1, group, taps, prod(out))
        total += (flat[some] @ taken.swapaxes(2, 3)).sum(axis=0)
    return total


def columns(x: Array, window: Window, out: Shape) -> Array:
    """Return the windows of (N, C, size...) as (N, C, taps, out...), zero beyond the edges.

    One axis follows the other, the last first, so that most copies are of whole rows and planes.
    """
    if window.plain:
        return x[:, :, None]
    x = pad(x, window.pad, window.ends(x.shape[2:]))[:, :, None]
    for axis in reversed(range(len(out))):
        before = (slice(None),) * (3 + axis)
        taps = [x[(*before, tap)] for tap in window.slices(axis, out[axis])]
        x = np.stack(taps, axis=2)
        x = x.reshape(*x.shape[:2], -1, *x.shape[4:])
    return x


def fold(columns: Array, window: Window, size: Shape) -> Array:
    """Apply the adjoint of `columns`: (N, C, taps, out...) to (N, C, size...)."""
    if window.plain:
        return columns[:, :, 0]
    spans = map(sum, zip(window.pad, size, window.ends(size), strict=True))
    for axis, span in enumerate(spans):
        lead, out = columns.shape[:2], columns.shape[3:]
        taps = columns.reshape(*lead, window.kernel[axis], -1, *out)
        sizes = (*out[:axis], span, *out[axis + 1 :])
        columns = np.zeros((*lead, taps.shape[3], *sizes), np.float32)
        before = (slice(None),) * (3 + axis)
        for i, tap in enumerate(window.slices(axis, out[axis])):
            columns[(*before, tap)] += taps[:, :, i]
    return inside(columns[:, :, 0], window.pad, size)
