"""High-dimensional Gaussian filters on a permutohedral lattice (Adams, Baek and Davis 2010).

Each point adds its value to the corners of the simplex that it is in; the corners are blurred
along every axis of the lattice, and each point reads them back. A corner without points beside it
has a neighbour of 0.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..types import Array
from .builder import FLOAT, INT64, Builder, Operand, int64

_AT_ONCE = 4  # the fork adds points of 0 until there is a multiple of so many
_BASE = 1 << 12  # keys are below half of it, in magnitude, in 5 dimensions and fewer


class Lattice(NamedTuple):
    """Where points are in their simplices.

    Attributes:
        corner: the corners of each point's simplex, (points, dimensions + 1).
        share: the point's share of each.
        before: the neighbours of every corner along each axis, (dimensions + 1, corners + 1); the
            last corner is 0 and stands for none.
        after: the others.
    """

    corner: NDArray[np.int64]
    share: Array
    before: NDArray[np.int64]
    after: NDArray[np.int64]


def build(features: Array) -> Lattice:
    """Return the lattice of points, (dimensions, points)."""
    d, count = features.shape
    padded = np.pad(features, ((0, 0), (0, -count % _AT_ONCE)))
    elevated, rate = _elevate(list(padded * _scales(d))), np.float32(1 / (d + 1))
    nearest = np.rint(rate * elevated)
    base = nearest * np.float32(d + 1)
    ahead = elevated - base
    less = ahead[:, None] < ahead[None]
    upper = np.triu(np.ones((d + 1, d + 1), bool), 1)[..., None]
    rank = (less & upper).sum(1) + (~less & upper).sum(0) + nearest.sum(0)
    back = (d + 1) * ((rank < 0).astype(np.float32) - (rank > d))
    rank, base = rank + back, base + back
    ordered = np.take_along_axis((elevated - base) * rate, np.argsort(rank, 0), 0)
    share = ordered[::-1] - ordered[[0, *range(d, 0, -1)]]
    share[0] += 1
    keys = base[:d, :, None].astype(np.int64) + _canonical(d)[rank[:d].astype(np.int64)]
    codes, corner = np.unique(np.tensordot(_digits(d), keys, 1), return_inverse=True)
    before, after = (_find(codes, sign * _steps(d)[:, None]) for sign in (1, -1))
    corner = corner.reshape(-1, d + 1)[:count]
    return Lattice(corner, np.asarray(share.T[:count], np.float32), before, after)


def _elevate(scaled: list[Array]) -> Array:
    """Return the coordinates in the plane of the lattice, (dimensions + 1, points)."""
    total, rows = np.zeros_like(scaled[0]), []
    for j in range(len(scaled), 0, -1):
        rows.append(total - np.float32(j) * scaled[j - 1])
        total = total + scaled[j - 1]
    return np.stack([total, *rows[::-1]])


def _scales(d: int) -> Array:
    """Return the factors of the coordinates for a filter of standard deviation 1."""
    deviation = float(np.float32(sqrt(2 / 3) * (d + 1)))
    return np.array([[1 / sqrt((i + 2) * (i + 1)) * deviation] for i in range(d)], np.float32)


def _canonical(d: int) -> NDArray[np.int64]:
    """Return what the corners of a simplex add to each coordinate, by its rank, (rank, corner)."""
    corner, rank = np.arange(d + 1), np.arange(d + 1)[:, None]
    return corner - (d + 1) * (rank > d - corner)


def _digits(d: int) -> NDArray[np.int64]:
    """Return the factors by which a key's coordinates are one number."""
    return np.int64(_BASE) ** np.arange(d)


def _steps(d: int) -> NDArray[np.int64]:
    """Return how a corner's number differs from its neighbour's along each axis."""
    steps = np.full((d + 1, d), -1) + (d + 1) * np.eye(d + 1, d, dtype=np.int64)
    return np.asarray(steps @ _digits(d), np.int64)


def _find(codes: NDArray[np.int64], step: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where the sorted codes have a neighbour, and their number where they have none."""
    wanted = codes + step
    place = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
    place = np.where(codes[place] == wanted, place, len(codes))
    return np.pad(place, ((0, 0), (0, 1)), constant_values=len(codes))


def smooth(lattice: Lattice, values: Array, *, reverse: bool = False) -> Array:
    """Return the filtered values, (channels, points); with `reverse` the axes from the last on."""
    corner, share, before, after = lattice
    d, corners = corner.shape[1] - 1, before.shape[1]
    at = np.zeros((corners, len(values)), np.float32)
    for channel, row in enumerate(values):
        weights = (row[:, None] * share).ravel()
        at[:, channel] = np.bincount(corner.ravel(), weights, corners)
    for axis in range(d, -1, -1) if reverse else range(d + 1):
        at = at + np.float32(0.5) * (at[before[axis]] + at[after[axis]])
    read = np.einsum("pc,pck->kp", share, at[corner])
    return np.asarray(read * np.float32(1 / (1 + 2.0**-d)), np.float32)


# -- ONNX --------------------------------------------------------------------------------------


class Lowered(NamedTuple):
    """A lattice's tensors, as those of `Lattice`, and the number of its corners."""

    corner: Operand
    share: Operand
    before: list[Operand]
    after: list[Operand]
    corners: Operand


def constant(g: Builder, lattice: Lattice) -> Lowered:
    """Write a lattice that is the same in every run."""
    corner, share, *sides = lattice
    before, after = ([g.constant(axis) for axis in side] for side in sides)
    count = g.constant(int64(lattice.before.shape[1]))
    return Lowered(g.constant(corner), g.constant(share), [*before], [*after], count)


def lower_build(g: Builder, features: str, d: int, count: int) -> Lowered:
    """Write `build` for `count` points of `d` dimensions."""
    padded = g.Pad(features, int64(0, 0, 0, -count % _AT_ONCE))
    scaled = g.Split(g.Mul(padded, _scales(d)), int64(*[1] * d), axis=0, outputs=d)
    total, rows = scaled[-1], [g.Mul(scaled[-1], np.float32(-d))]
    for j in range(d - 1, 0, -1):
        rows.append(g.Sub(total, g.Mul(scaled[j - 1], np.float32(j))))
        total = g.Add(total, scaled[j - 1])
    elevated = g.Concat(total, *rows[::-1], axis=0)
    whole, rate = np.float32(d + 1), np.float32(1 / (d + 1))
    nearest = g.Round(g.Mul(elevated, rate))
    base = g.Mul(nearest, whole)
    rank = g.Add(_lower_rank(g, g.Sub(elevated, base), d), g.ReduceSum(nearest, int64(0)))
    below = g.Where(g.Less(rank, np.float32(0)), whole, np.float32(0))
    back = g.Sub(below, g.Where(g.Greater(rank, np.float32(d)), whole, np.float32(0)))
    rank, base = g.Add(rank, back), g.Add(base, back)
    share = _lower_share(g, g.Mul(g.Sub(elevated, base), rate), rank, d)
    moves = g.Gather(_canonical(d), g.Cast(rank, to=INT64), axis=0)
    keys = g.Add(g.Unsqueeze(g.Cast(base, to=INT64), int64(2)), moves)
    # onnxruntime's ReduceSum of int64 rounds, so that the digits are added one by one.
    number, *digits = g.Split(keys, int64(*[1] * (d + 1)), axis=0, outputs=d + 1)[-2::-1]
    for digit in digits:
        number = g.Add(g.Mul(number, int64(_BASE)), digit)
    codes, _, corner = g.Unique(number, outputs=3)
    before, after, corners = _lower_neighbours(g, codes, d)
    ends = int64(count)
    corner = g.Slice(g.Reshape(corner, int64(-1, d + 1)), int64(0), ends, int64(0))
    share = g.Slice(g.Transpose(share, perm=[1, 0]), int64(0), ends, int64(0))
    return Lowered(corner, share, before, after, g.Add(corners, int64(1)))


def _lower_rank(g: Builder, ahead: str, d: int) -> str:
    """Write each coordinate's rank among all: 0 of the largest."""
    less = g.Less(g.Unsqueeze(ahead, int64(1)), g.Unsqueeze(ahead, int64(0)))
    upper = np.triu(np.ones((d + 1, d + 1), np.float32), 1)[..., None]
    over = g.Mul(g.Cast(less, to=FLOAT), upper)
    under = g.ReduceSum(g.Sub(upper, over), int64(0), keepdims=0)
    return g.Add(g.ReduceSum(over, int64(1), keepdims=0), under)


def _lower_share(g: Builder, ahead: str, rank: str, d: int) -> str:
    """Write the corners' shares, (corners, points)."""
    ranks = np.arange(d + 1, dtype=np.float32)[None, :, None]
    own = g.Equal(g.Unsqueeze(rank, int64(1)), ranks)
    placed = g.Where(own, g.Unsqueeze(ahead, int64(1)), np.float32(0))
    ordered = g.ReduceSum(placed, int64(0), keepdims=0)
    share = g.Sub(
        g.Gather(ordered, int64(*range(d, -1, -1)), axis=0),
        g.Gather(ordered, int64(0, *range(d, 0, -1)), axis=0),
    )
    first = np.zeros((d + 1, 1), np.float32)
    first[0] = 1
    return g.Add(share, first)


def _lower_neighbours(g: Builder, codes: str, d: int) -> tuple[list[Operand], list[Operand], str]:
    """Write the neighbours along each axis, and how many corners there are.

    A code that is among the corners' is first met there, since these are in front.
    """
    count = g.Shape(codes)
    moved = [g.Add(codes, sign * step) for sign in (1, -1) for step in _steps(d)]
    _, first, which = g.Unique(g.Concat(codes, *moved, axis=0), outputs=3)
    place = g.Gather(first, which)
    place = g.Where(g.Less(place, count), place, count)
    rows = g.Reshape(place, int64(2 * d + 3, -1))
    parts = g.Split(rows, int64(*[1] * (2 * d + 3)), axis=0, outputs=2 * d + 3)
    sides: list[Operand] = [
        g.Concat(g.Reshape(part, int64(-1)), count, axis=0) for part in parts[1:]
    ]
    return sides[: d + 1], sides[d + 1 :], count


def lower_smooth(g: Builder, lattice: Lowered, values: str) -> str:
    """Write `smooth`; values are (points, channels).

    onnxruntime's ScatterND adds on several threads at once, and loses some of what they add.
    """
    corner, share, before, after, corners = lattice
    d = len(before) - 1
    share = g.Unsqueeze(share, int64(2))
    added = g.Mul(g.Unsqueeze(values, int64(1)), share)
    channels = g.Shape(values, start=1, end=2)
    rows = g.Reshape(added, g.Concat(int64(-1), channels, axis=0))
    places = g.Expand(g.Reshape(corner, int64(-1, 1)), g.Shape(rows))
    size = g.Concat(corners, channels, axis=0)
    at = g.ConstantOfShape(size, value=np.zeros(1, np.float32))
    at = g.ScatterElements(at, places, rows, axis=0, reduction="add")
    for one, other in zip(before, after, strict=True):
        beside = g.Add(g.Gather(at, one), g.Gather(at, other))
        at = g.Add(at, g.Mul(beside, np.float32(0.5)))
    read = g.ReduceSum(g.Mul(g.Gather(at, corner), share), int64(1), keepdims=0)
    return g.Mul(read, np.float32(1 / (1 + 2.0**-d)))
