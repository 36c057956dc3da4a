"""Pooling in numpy: sums, maxima and draws over the windows of images."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError
from ..types import Array, Shape
from . import padding
from .window import Window

Places: TypeAlias = NDArray[np.signedinteger[Any]]
"""For each window the index h * width + w of an element, -1 for none."""

# -FLT_MAX, the start of Caffe's max and so the value of a window off the image.
LOWEST = float(np.finfo(np.float32).min)


def pad(x: Array, window: Window, out: Shape, value: float) -> Array:
    """Return the image with the windows' elements beyond its edges."""
    ends = [max(0, n) for n in window.overhang(x.shape[2:], out)]
    return padding.pad(x, window.pad, ends, value)


def reduce(op: Callable[..., Array], x: Array, window: Window, out: Shape) -> Array:
    """Fold the elements of each window with `op`, first down and then across."""
    for axis, count in enumerate(out):
        before = (slice(None),) * (2 + axis)
        taps = [x[(*before, tap)] for tap in window.slices(axis, count)]
        total = taps[0].copy()
        for tap in taps[1:]:
            op(total, tap, out=total)
        x = total
    return x


def spread(dy: Array, window: Window, size: Shape) -> Array:
    """Apply the adjoint of the sum over each window: add each gradient to its window's elements."""
    for axis, (n, p) in enumerate(zip(size, window.pad, strict=True)):
        before = (slice(None),) * (2 + axis)
        taps = window.slices(axis, dy.shape[2 + axis])
        length = max(p + n, taps[-1].stop)
        x = np.zeros((*dy.shape[: 2 + axis], length, *dy.shape[3 + axis :]), dy.dtype)
        for tap in taps:
            x[(*before, tap)] += dy
        dy = x[(*before, slice(p, p + n))]
    return dy


def divisors(size: Shape, window: Window, out: Shape) -> Array:
    """Return the number of elements of the padded image in each window, (out height, out width)."""
    counts = []
    axes = zip(size, out, window.kernel, window.stride, window.pad, window.behind, strict=True)
    for n, o, k, s, p, q in axes:
        start = np.arange(o) * s - p
        counts.append(np.minimum(start + k, n + q) - start)
    elements: Array = np.outer(*counts).astype(np.float32)
    return elements


def inner_divisors(size: Shape, window: Window, out: Shape) -> Array:
    """Return the number of elements of the image itself in each window."""
    counts = []
    for n, o, k, s, p in zip(size, out, window.kernel, window.stride, window.pad, strict=True):
        start = np.arange(o) * s - p
        counts.append(np.minimum(start + k, n) - np.maximum(start, 0))
    elements: Array = np.outer(*counts).astype(np.float32)
    return elements


def first_maxima(x: Array, window: Window, out: Shape) -> tuple[Array, Places]:
    """Return each window's max, and the index of the first one."""
    y = np.full((*x.shape[:2], *out), LOWEST, np.float32)
    place: Places = np.empty(y.shape, np.int32 if prod(x.shape[2:]) < 1 << 31 else np.int64)
    down, across = (
        np.arange(o) * s - p for o, s, p in zip(out, window.stride, window.pad, strict=True)
    )
    corners = down[:, None] * x.shape[3] + across
    taps = product(*map(range, window.kernel))
    steps = np.array([0, *(i * x.shape[3] + j for i, j in taps)])
    for some in padding.runs(len(x), prod(x.shape[1:])):
        which = _raise(y[some], pad(x[some], window, out, LOWEST), window)
        place[some] = np.where(which == 0, -1, steps.take(which) + corners)
    return y, place


def _raise(y: Array, padded: Array, window: Window) -> NDArray[Any]:
    """Raise y to each window's max; return the number of the max's tap, from 1 on, 0 for none."""
    which = np.zeros(y.shape, np.min_scalar_type(prod(window.kernel)))
    for number, tap in enumerate(window.taps(y.shape[2:]), start=1):
        part = np.ascontiguousarray(padded[tap])
        larger = (part > y).view(np.uint8)
        np.maximum(which, np.multiply(larger, number, dtype=which.dtype), out=which)
        np.fmax(y, part, out=y)
    return which


def reached(x: Array, window: Window, out: Shape, fraction: Array) -> tuple[Array, Places]:
    """Return each window's first element at which its running sum reaches a fraction of its sum.

    Returns:
        The elements, and their places h * width + w.

    Raises:
        ShapeError: a window's sum is negative, or it lies off the image.
    """
    padded = pad(x, window, out, 0)
    sums = np.cumsum([padded[tap] for tap in window.taps(out)], axis=0, dtype=np.float32)
    limit = fraction * sums[-1]
    down, across = (np.arange(o) * s for o, s in zip(out, window.stride, strict=True))
    if (sums[-1] < limit).any() or down[-1] >= x.shape[2] or across[-1] >= x.shape[3]:
        raise ShapeError(
            "STOCHASTIC pooling draws an element by its share of the window's sum, which must not "
            "be negative, nor the window off the image"
        )
    row, column = np.divmod(np.argmax(sums >= limit, axis=0), window.kernel[1])
    place = (down[:, None] + row) * x.shape[3] + across + column
    planes = x.reshape(*x.shape[:2], -1)
    flat = place.reshape(*x.shape[:2], -1)
    return np.take_along_axis(planes, flat, axis=2).reshape(place.shape), place


def send_back(dy: Array, place: Places, shape: Shape) -> Array:
    """Add each gradient at the index of its window's max."""
    plane = shape[2] * shape[3]
    index = np.arange(prod(shape[:2])).reshape(*shape[:2], 1, 1) * plane + place
    found = place >= 0
    if not found.all():
        index, dy = index[found], dy[found]
    dx = np.zeros(prod(shape), np.float32)
    np.add.at(dx, index.reshape(-1), dy.reshape(-1))
    return dx.reshape(shape)
