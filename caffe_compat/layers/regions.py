"""The base of layers that pool regions of interest: rows of (image, x0, y0, x1, y1)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..errors import ShapeError, UnsupportedError
from ..types import Array, Shape
from .builder import FLOAT, INT64, Builder, Operand, int64
from .layer import Layer

# The last opset whose MaxRoiPool and RoiAlign onnxruntime runs.
_LAST_OPSET = 21


class Regions(Layer):
    """A layer whose top has one small image for each region."""

    def _sizes(self, x: Shape) -> Shape:
        """Return the channels, height and width of a region's image."""
        raise NotImplementedError

    def shapes(self, x: Shape, rois: Shape) -> list[Shape | None]:
        if len(x) != 4:
            raise ShapeError(f"needs a bottom of 4 axes (num, channels, height, width), has {x}")
        if not rois or int(np.prod(rois[1:])) != 5:
            raise ShapeError(f"the regions must have 5 numbers each, and are {rois}")
        sizes = self._sizes(x)
        if min(sizes) < 1:
            raise ShapeError(f"the size of a region's image must be positive, and is {sizes}")
        return [(rois[0], *sizes)]

    def classes(self, x: Shape, rois: Shape) -> dict[int, int]:
        return {1: x[0]}  # so that a random region is of an image that exists

    def forward(self, x: Array, rois: Array) -> Array:
        (shape,) = self.shapes(x.shape, rois.shape)
        y = np.zeros(shape or (), np.float32)
        for i, (image, box) in enumerate(boxes(rois, len(x))):
            y[i] = self._pool(x[image], box)
        return y

    def backward(self, dy: Array, x: Array, rois: Array) -> tuple[Array, None]:
        dx = np.zeros_like(x)
        for flow, (image, box) in zip(dy, boxes(rois, len(x)), strict=True):
            self._unpool(flow, x[image], box, dx[image])
        return dx, None

    def _pool(self, x: Array, box: Array) -> Array:
        """Return one region of one image (channels, height, width)."""
        raise NotImplementedError

    def _unpool(self, dy: Array, x: Array, box: Array, dx: Array) -> None:
        """Add to the gradient at one image that of one region of it."""
        raise UnsupportedError("has no backward pass")


def boxes(rois: Array, images: int) -> Iterator[tuple[int, Array]]:
    """Yield the image's index and the box of each region.

    Raises:
        ShapeError: an image is not there; a number is not finite, which C++ casts to any pixel.
    """
    for i, region in enumerate(rois.reshape(-1, 5)):
        if not np.isfinite(region).all():
            raise ShapeError(f"region {i} is not finite: {', '.join(map(str, region))}")
        image = int(region[0])
        if not 0 <= image < images:
            raise ShapeError(f"region {i} is of image {image}, and there are {images}")
        yield image, region[1:]


def round_half_away(x: Array) -> Array:
    """Return whole numbers, halves away from zero, as C's round."""
    whole = np.trunc(x)
    return whole + np.where(np.abs(x - whole) >= 0.5, np.sign(x), np.float32(0))


def lower_round(g: Builder, x: str) -> str:
    """Write C's round; ONNX's own rounds halves to even."""
    size = g.Abs(x)
    whole = g.Floor(size)
    half = g.GreaterOrEqual(g.Sub(size, whole), np.float32(0.5))
    return g.Mul(g.Sign(x), g.Add(whole, g.Cast(half, to=FLOAT)))


def sample(x: Array, rows: Array, columns: Array) -> Array:
    """Return bilinear samples of (channels, height, width) on a grid; edges extend outwards."""
    for axis, places in enumerate((rows, columns), start=1):
        n = x.shape[axis]
        places = np.clip(np.nan_to_num(places), 0, n - 1)  # NaN is no index
        first = np.floor(places).astype(np.int64)
        after: NDArray[np.int64] = np.minimum(first + 1, n - 1)
        share = (places - first.astype(np.float32)).reshape(-1, *(1,) * (2 - axis))
        x = (1 - share) * x.take(first, axis) + share * x.take(after, axis)
    return x


def is_inside(places: Array, size: int) -> NDArray[np.bool_]:
    """Return which places along an axis are at most half a pixel beyond its first and last."""
    half = np.float32(0.5)
    return (places >= -half) & (places <= size - half)


def lower_inside(g: Builder, x: str, axis: int, places: str) -> str:
    """Write `is_inside` for an axis of an image."""
    half, size = np.float32(0.5), g.dims(x)[axis]
    if size is None:
        end: Operand = g.Sub(g.Cast(g.Shape(x, start=axis, end=axis + 1), to=FLOAT), half)
    else:
        end = np.float32(size) - half
    return g.And(g.GreaterOrEqual(places, -half), g.LessOrEqual(places, end))


def flat(g: Builder, rois: str) -> str:
    """Write the regions as (regions, 5)."""
    return rois if len(g.dims(rois)) == 2 else g.Reshape(rois, int64(-1, 5))


def images(g: Builder, image: str) -> str:
    """Write the image of each region as an index."""
    return g.Cast(g.Squeeze(image, int64(1)), to=INT64)


def column(g: Builder, x: str, axis: int) -> str:
    """Write one column of a matrix as a matrix."""
    return g.Slice(x, int64(axis), int64(axis + 1), int64(1))


def check_opset(g: Builder, operator: str) -> None:
    """Raise UnsupportedError for opsets whose form of the operator onnxruntime lacks."""
    if g.opset > _LAST_OPSET:
        raise UnsupportedError(
            f"onnxruntime has {operator} up to opset {_LAST_OPSET}, and opset "
            f"{g.opset} is asked for"
        )
