"""The random numbers of one image, and the places that follow from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...errors import ShapeError
from ...types import AnyArray, Array, Shape, Size
from . import distortion
from .boxes import Boxes


class Expansion(NamedTuple):
    """The place of an image in a larger one."""

    size: Size
    top: int
    left: int


class Cut(NamedTuple):
    """A part of an image."""

    rows: slice
    columns: slice


class Recipe(NamedTuple):
    """All that is drawn for one image, and what follows from it for its boxes."""

    distortion: distortion.Distortion | None
    expansion: Expansion | None
    cut: Cut | None
    interpolation: int
    salt: AnyArray
    mirror: bool
    corner: tuple[int, int]  # of the crop: top, left
    shape: Shape  # of the result
    boxes: Boxes


class Picture(NamedTuple):
    """An image with its boxes, as the database has it.

    Attributes:
        name: what to call it in errors.
        pixels: (channels, height, width) of what is not encoded, or decoded pixels, transposed.
        encoded: whether they were encoded.
        stated: (height, width) as the Datum states them.
        boxes: its boxes.
    """

    name: str
    pixels: AnyArray
    encoded: bool
    stated: Size
    boxes: Boxes


def inside(expansion: Expansion, size: Shape) -> tuple[slice, slice]:
    """Return the rows and columns of the larger image that the smaller takes."""
    top, left = expansion.top, expansion.left
    return slice(top, top + size[0]), slice(left, left + size[1])


def expanded_box(expansion: Expansion, size: Size) -> Array:
    """Return the larger image as a box of the smaller."""
    height, width = np.float32(size[0]), np.float32(size[1])
    top, left = np.float32(expansion.top), np.float32(expansion.left)
    return np.array(
        [
            -left / width,
            -top / height,
            (np.float32(expansion.size[1]) - left) / width,
            (np.float32(expansion.size[0]) - top) / height,
        ],
        np.float32,
    )


def cut_of(window: Array, size: Size) -> Cut:
    """Return a window in whole pixels.

    Raises:
        ShapeError: there is none in it.
    """
    height, width = np.float32(size[0]), np.float32(size[1])
    left, right = window[0] * width, window[2] * width
    top, bottom = window[1] * height, window[3] * height
    rows = slice(int(top), int(top) + int(bottom - top))
    columns = slice(int(left), int(left) + int(right - left))
    if rows.stop <= rows.start or columns.stop <= columns.start:
        raise ShapeError(f"a sampled cut of an image of {size[0]}x{size[1]} has no pixels")
    return Cut(rows, columns)


def size_of(cut: Cut) -> Size:
    """Return a cut's (height, width)."""
    return cut.rows.stop - cut.rows.start, cut.columns.stop - cut.columns.start


def crop_box(corner: tuple[int, int], shape: Shape, size: Size) -> Array:
    """Return the crop of an image of this size as a box of it."""
    top, left = corner
    ends: Array = np.array((left, top, left + shape[2], top + shape[1]), np.float32)
    whole: Array = np.array((size[1], size[0], size[1], size[0]), np.float32)
    return ends / whole
