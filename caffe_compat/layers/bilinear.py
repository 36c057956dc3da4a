"""Bilinear samples of images at places of their own, one for each pixel of the top."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..types import Array, Shape
from .builder import FLOAT, Builder, Operand, int64


class Corners(NamedTuple):
    """The four pixels around each place.

    Attributes:
        pixel: which one of the flat image, (4, N, places).
        weight: its share, (4, N, places).
        slope: the derivatives of the share by the row and by the column, (2, 4, N, places).
        shape: the places', (N, ...).
    """

    pixel: NDArray[np.int64]
    weight: Array
    slope: Array
    shape: Shape


def corners(size: tuple[int, int], rows: Array, columns: Array, *, zeros: bool) -> Corners:
    """Return the pixels around places in an image of `size`, height and width.

    Args:
        size: the image's height and width.
        rows: the places' rows, (N, ...).
        columns: likewise.
        zeros: whether the image is 0 beyond its edges; otherwise its edges extend outwards.
    """
    at, share, inside = [], [], []
    for n, place in zip(size, (rows, columns), strict=True):
        place = np.clip(np.nan_to_num(place.reshape(len(place), -1)), -2, n + 1)  # NaN: no index
        low = np.floor(place)
        pair = np.stack([low, low + 1]).astype(np.int64)
        at.append(np.clip(pair, 0, n - 1))
        part = (place - low).astype(np.float32)
        share.append(np.stack([1 - part, part]))
        inside.append((pair >= 0) & (pair < n) if zeros else np.ones(pair.shape, bool))
    sign = np.array([-1, 1], np.float32)[:, None, None]
    (row, column), (down, across) = at, share
    keep = inside[0][:, None] & inside[1][None]
    flat = (4, *row.shape[1:])
    index = row[:, None] * size[1] + column[None]
    weight = down[:, None] * across[None] * keep
    slope = [sign[:, None] * across[None] * keep, down[:, None] * sign[None] * keep]
    return Corners(
        index.reshape(flat), weight.reshape(flat), np.stack(slope).reshape(2, *flat), rows.shape
    )


def sample(x: Array, places: Corners) -> Array:
    """Return the samples of (N, channels, height, width) at `places`, (N, channels, ...)."""
    parts = [pixels * share[:, None] for pixels, share in _terms(x, places, places.weight)]
    y: Array = np.add.reduce(parts)
    return y.reshape(*x.shape[:2], *places.shape[1:])


def _terms(x: Array, places: Corners, weight: Array) -> list[tuple[Array, Array]]:
    """Return each corner's pixels, (N, channels, places), and its weights, (N, places)."""
    flat = x.reshape(*x.shape[:2], -1)
    return [
        (np.take_along_axis(flat, index[:, None], axis=2), share)
        for index, share in zip(places.pixel, weight, strict=True)
    ]


def sample_gradients(dy: Array, x: Array, places: Corners) -> tuple[Array, Array, Array]:
    """Return the gradients of the images, and of the rows and columns of their places."""
    flat = dy.reshape(*dy.shape[:2], -1)
    pixels = x.shape[2] * x.shape[3]
    dx = np.zeros((*x.shape[:2], pixels), np.float32)
    for index, share in zip(places.pixel, places.weight, strict=True):
        for n, c in np.ndindex(*x.shape[:2]):
            dx[n, c] += np.bincount(index[n], flat[n, c] * share[n], pixels).astype(np.float32)
    moved = (
        [(flat * pixels).sum(1) * share for pixels, share in _terms(x, places, slope)]
        for slope in places.slope
    )
    drows, dcolumns = (np.add.reduce(parts).reshape(places.shape) for parts in moved)
    return dx.reshape(x.shape), drows, dcolumns


def lower_sample(
    g: Builder,
    x: str,
    rows: str,
    columns: str,
    *,
    zeros: bool,
    size: tuple[int, int] | None = None,
) -> str:
    """Write `sample`.

    Args:
        g: the builder.
        x: the images, a bottom; any tensor if its `size` is given.
        rows: the places' rows in pixels, (N, height, width).
        columns: likewise.
        zeros: whether the image is 0 beyond its edges; otherwise its edges extend outwards.
        size: the images' height and width.
    """
    height, width = size or g.dims(x)[2:]
    place = [
        g.Unsqueeze(_lower_scale(g, x, axis, n, at), int64(3))
        for axis, n, at in ((3, width, columns), (2, height, rows))
    ]
    # Bilinear is the operator's default, under whatever name its opset has for it.
    return g.GridSample(
        x,
        g.Concat(*place, axis=3),
        padding_mode="zeros" if zeros else "border",
        align_corners=0,
    )


def _lower_scale(g: Builder, x: str, axis: int, size: int | None, at: str) -> str:
    """Write places in pixels as GridSample counts them: -1 and 1 are the image's outer edges."""
    if size is None:
        n: Operand = g.Cast(g.Shape(x, start=axis, end=axis + 1), to=FLOAT)
    else:
        n = np.float32(size)
    return g.Sub(g.Div(g.Add(g.Mul(at, np.float32(2)), np.float32(1)), n), np.float32(1))
