"""One number for each channel of a blob (N, C, ...), beside the blob."""

from __future__ import annotations

import numpy as np

from ..types import Array
from .builder import Builder, int64


def over(part: Array, rank: int) -> Array:
    """Return a number for each channel, or one for all, as it broadcasts against `rank` axes."""
    return part.reshape(-1, *(1,) * (rank - 2)) if part.ndim else part


def lower_over(g: Builder, x: str, part: str) -> str:
    """Return the name of a parameter with a number for each channel as it broadcasts against x."""
    return g.view(part, (g.fixed(x, 1), *(1,) * (len(g.dims(x)) - 2)))


def others(rank: int) -> tuple[int, ...]:
    """Return all axes but that of the channels."""
    return (0, *range(2, rank))


def moments(x: Array) -> tuple[Array, Array]:
    """Return the batch's own mean and variance of each channel, with x's rank."""
    axes = others(x.ndim)
    return np.mean(x, axis=axes, keepdims=True), np.var(x, axis=axes, keepdims=True)


def through_moments(dy: Array, y: Array, deviation: Array) -> Array:
    """Return the gradient of y = (x - mean(x)) / deviation(x) to x."""
    axes = others(dy.ndim)
    along: Array = y * np.mean(dy * y, axis=axes, keepdims=True)
    dx: Array = (dy - np.mean(dy, axis=axes, keepdims=True) - along) / deviation
    return dx


def lower_by_moments(g: Builder, x: str, eps: np.float32, rank: int = 0) -> str:
    """Write x normalised by the batch's own moments; `rank` where x is no bottom."""
    axes = int64(*others(rank or len(g.dims(x))))
    centred = g.Sub(x, g.ReduceMean(x, axes))
    variance = g.ReduceMean(g.Mul(centred, centred), axes)
    return g.Div(centred, g.Sqrt(g.Add(variance, eps)))
