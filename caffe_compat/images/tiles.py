"""Weights and feature maps as pictures: tiles in a grid, as pycaffe's examples show them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import ShapeError
from ..files import atomic
from ..types import Array, Picture

_SIDE = 1024  # pixels that a picture is enlarged to, at most
_MOST = 4096  # tiles in one picture


def show_filters(weight: Array, order: str = "bgr") -> Picture:
    """Return the filters of a convolution as a grid.

    Filters on 3 channels are in colour, one tile each, by rows; others in grey, a row of tiles for
    each output and a tile for each input. The brightest value of all is white, the least black.

    Args:
        weight: (outputs, inputs, height, width).
        order: the order of the 3 channels, `bgr` or `rgb`.

    Raises:
        ShapeError: the weights are no filters, or more tiles than a picture can show.
    """
    if weight.ndim != 4:
        raise ShapeError(f"filters have 4 axes, and these weights {weight.shape}")
    outputs, inputs = weight.shape[:2]
    if inputs == 3:
        tiles = weight.transpose(0, 2, 3, 1)
        return _grid(tiles[..., ::-1] if order == "bgr" else tiles, math.ceil(math.sqrt(outputs)))
    return _grid(weight.reshape(-1, *weight.shape[2:], 1), inputs)


def show_maps(blob: Array) -> Picture:
    """Return the feature maps of one image as a grid of grey tiles.

    Args:
        blob: (channels, height, width).

    Raises:
        ShapeError: the blob has other axes, or more channels than a picture can show.
    """
    if blob.ndim != 3:
        raise ShapeError(f"feature maps have 3 axes, and this blob {blob.shape}")
    return _grid(blob[..., np.newaxis], math.ceil(math.sqrt(len(blob))))


def _grid(tiles: Array, columns: int) -> Picture:
    """Return tiles (count, height, width, 1 or 3) in rows, a line between them, enlarged."""
    count, height, width, channels = tiles.shape
    if count > _MOST:
        raise ShapeError(f"{count} tiles are more than the {_MOST} that one picture shows")
    rows = -(-count // columns)
    picture = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, channels), 255, np.uint8)
    for i, tile in enumerate(_bytes(tiles)):
        top, left = (i // columns) * (height + 1) + 1, (i % columns) * (width + 1) + 1
        picture[top : top + height, left : left + width] = tile
    factor = max(1, min(_SIDE // max(picture.shape[:2]), 16))
    large = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    return np.ascontiguousarray(np.broadcast_to(large, (*large.shape[:2], 3)))


def _bytes(tiles: Array) -> Picture:
    """Return values as 0 to 255, the least to the largest; what is not finite is black."""
    finite = np.isfinite(tiles)
    low = tiles.min(where=finite, initial=np.inf)
    high = tiles.max(where=finite, initial=-np.inf)
    scale = 255 / (high - low) if high > low else 0
    return np.where(finite, (tiles - low) * scale + 0.5, 0).astype(np.uint8)


def show_slopes(layers: Sequence[tuple[str, Array]]) -> Picture:
    """Return the learnt slopes of PReLU layers by depth, a dot for each channel.

    The picture of He et al. 2015, table 1: large in the first layers, smaller with depth.

    Args:
        layers: the name and the slopes of each layer, the first layer first.

    Raises:
        ShapeError: there is no layer.
    """
    from PIL import Image, ImageDraw  # only here: it takes longer to import than most pictures

    if not layers:
        raise ShapeError("there is no PReLU, so no slope to draw")
    step, height, left, bottom = 72, 420, 56, 60
    values = np.concatenate([slopes.ravel() for _, slopes in layers])
    values = values[np.isfinite(values)]
    low = math.floor(min(0.0, float(values.min(initial=0))) * 4) / 4
    high = math.ceil(max(0.5, float(values.max(initial=0))) * 4) / 4
    image = Image.new("RGB", (left + step * len(layers) + 20, height + bottom), "white")
    pen = ImageDraw.Draw(image)

    def y(value: float) -> float:
        return 16 + (height - 32) * (high - value) / (high - low)

    ticks = np.arange(low, high + 1e-6, (high - low) / 8 if high - low > 2 else 0.25)
    for tick in ticks:
        at = y(float(tick))
        pen.line(
            (left, at, image.width - 12, at), fill="#888888" if abs(tick) < 1e-9 else "#dddddd"
        )
        pen.text((left - 8, at), f"{tick:.2f}", fill="#444444", anchor="rm")
    for depth, (name, slopes) in enumerate(layers):
        middle = left + step * (depth + 0.5)
        dots = slopes.ravel()[np.isfinite(slopes.ravel())]
        across = np.linspace(-0.32, 0.32, len(dots)) * step if len(dots) > 1 else np.zeros(1)
        for dx, value in zip(across, dots, strict=False):
            x, at = middle + dx, y(float(value))
            pen.ellipse((x - 2, at - 2, x + 2, at + 2), fill="#0072b2")
        if len(dots):
            at = y(float(dots.mean()))
            pen.line((middle - 24, at, middle + 24, at), fill="#d55e00", width=2)
        shown = name if len(name) <= 10 else f"{name[:9]}…"
        pen.text((middle, height + 6), shown, fill="black", anchor="ma")
        pen.text((middle, height + 24), f"{len(dots)}", fill="#666666", anchor="ma")
    pen.text(
        (left, height + 42),
        "slopes by depth; a dot for each channel, a bar for the mean",
        fill="#666666",
    )
    return np.asarray(image)


def write_png(path: str | Path, picture: Picture) -> None:
    """Write a picture as a PNG file.

    Raises:
        CaffeCompatError: the file cannot be written; what stood there before is untouched.
    """
    from PIL import Image

    with atomic(path) as place:
        Image.fromarray(picture).save(place, "PNG")
