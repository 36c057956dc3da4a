"""Images at another size as TensorFlow resizes them, from synopsys-caffe."""

from __future__ import annotations

from math import floor
from typing import Any

import numpy as np

from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Layer
from ..registry import layer


class _Resizing(Layer):
    """Images whose rows and columns are products with one matrix each."""

    def _matrix(self, n: int, size: int) -> Array:
        """Return the shares of `n` pixels in each of `size`, (size, n)."""
        raise NotImplementedError

    def _lower_resize(self, g: Builder, x: str, old: Shape, size: Shape) -> str:
        raise NotImplementedError

    @property
    def _first(self) -> int:
        """The axis of the height, before that of the width."""
        if self.p.data_format not in ("NHWC", "NCHW"):
            raise UnsupportedError(f"data_format {self.p.data_format!r} is not supported")
        return 1 if self.p.data_format == "NHWC" else 2

    def _size(self, x: Shape) -> Shape:
        names = ("height", "width")
        size = []
        for name, n in zip(names, x[self._first :], strict=False):
            if self.p.HasField(f"output_{name}"):
                size.append(int(getattr(self.p, f"output_{name}")))
            else:
                size.append(floor(np.float32(n) * np.float32(getattr(self.p, f"scale_{name}"))))
        if min(size) < 1:
            raise ShapeError(f"the height and width must be positive, and are {tuple(size)}")
        return tuple(size)

    def shapes(self, x: Shape) -> list[Shape | None]:
        if len(x) != 4:
            raise ShapeError(f"needs a bottom of 4 axes, and has {x}")
        first = self._first
        return [(*x[:first], *self._size(x), *x[first + 2 :])]

    def _matrices(self, x: Shape) -> tuple[Array, Array]:
        rows, columns = map(self._matrix, x[self._first :], self._size(x))
        return rows, columns

    def _images(self, x: Array) -> Array:
        """Return the images with height and width last."""
        return np.moveaxis(x, 3, 1) if self._first == 1 else x

    def forward(self, x: Array) -> Array:
        rows, columns = self._matrices(x.shape)
        y = rows @ (self._images(x) @ columns.T)
        return np.moveaxis(y, 1, 3) if self._first == 1 else y

    def backward(self, dy: Array, x: Array) -> Array:
        rows, columns = self._matrices(x.shape)
        dx = rows.T @ (self._images(dy) @ columns)
        return np.moveaxis(dx, 1, 3) if self._first == 1 else dx

    def lower(self, g: Builder, x: str) -> str:
        old = (g.fixed(x, self._first), g.fixed(x, self._first + 1))
        size = self._size((1,) * self._first + old)
        if self._first == 2:
            return self._lower_resize(g, x, old, size)
        # onnxruntime up to 1.24 fails to move a Transpose through a Resize of named axes.
        y = self._lower_product(g, g.Transpose(x, perm=[0, 3, 1, 2]), old, size)
        return g.Transpose(y, perm=[0, 2, 3, 1])

    def _lower_product(self, g: Builder, x: str, old: Shape, size: Shape) -> str:
        rows, columns = map(self._matrix, old, size)
        return g.MatMul(rows, g.MatMul(x, np.ascontiguousarray(columns.T)))

    def _ratio(self, n: int, size: int) -> np.float32:
        """Return the pixels of the bottom from one of the top's to the next."""
        if self.p.align_corners and size > 1:
            return np.float32((n - 1) / np.float32(size - 1))
        return np.float32(n / np.float32(size))


@layer(param="resize_bilinear_param")
class ResizeBilinear(_Resizing):
    """Bilinear interpolation to output_height by output_width, or by scale_height and scale_width.

    Pixel i of the top is at i in / out; with align_corners at i (in - 1) / (out - 1); with
    half_pixel_centers or pytorch_half_pixel at (i + 1/2) in / out - 1/2.

    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe,
        src/caffe/layers/resize_bilinear_layer.cpp
    Refused: several of these three; another data_format than NHWC and NCHW; a varying size.
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        if self.p.align_corners + self.p.half_pixel_centers + self.p.pytorch_half_pixel > 1:
            raise ShapeError("align_corners, half_pixel_centers, pytorch_half_pixel: one at most")
        if self.p.pytorch_half_pixel and 1 in self._size(x):
            raise UnsupportedError("pytorch_half_pixel to a single pixel reads before the image")
        return super().shapes(x)

    @property
    def _halves(self) -> bool:
        return bool(self.p.half_pixel_centers or self.p.pytorch_half_pixel)

    def _matrix(self, n: int, size: int) -> Array:
        place = np.arange(size, dtype=np.float32)
        if self._halves:
            place = (place + np.float32(0.5)) * self._ratio(n, size) - np.float32(0.5)
        else:
            place = place * self._ratio(n, size)
        below = np.floor(place)
        share = (place - below).astype(np.float32)
        matrix: Array = np.zeros((size, n), np.float32)
        index = np.arange(size)
        np.add.at(matrix, (index, np.clip(below, 0, n - 1).astype(int)), 1 - share)
        np.add.at(matrix, (index, np.minimum(np.ceil(place), n - 1).astype(int)), share)
        return matrix

    def _lower_resize(self, g: Builder, x: str, old: Shape, size: Shape) -> str:
        if not (self.p.align_corners or self._halves):
            return self._lower_product(g, x, old, size)
        return g.Resize(
            x,
            None,
            None,
            int64(*size),
            axes=[2, 3],
            mode="linear",
            coordinate_transformation_mode="half_pixel" if self._halves else "align_corners",
        )


@layer(param="resize_nearest_neighbor_param")
class ResizeNearestNeighbor(_Resizing):
    """The nearest pixel, at output_height by output_width or by scale_height and scale_width.

    Pixel i of the top is at i in / out, rounded down; with align_corners at i (in - 1) / (out - 1),
    rounded; with half_pixel_centers at (i + 1/2) in / out, and with half_pixel_onnx at half a pixel
    less, rounded down.

    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe,
        src/caffe/layers/resize_nearest_neighbor_layer.cpp
    Refused: several of these three; another data_format than NHWC and NCHW; a varying size.
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        if self.p.align_corners + self.p.half_pixel_centers + self.p.half_pixel_onnx > 1:
            raise ShapeError("align_corners, half_pixel_centers, half_pixel_onnx: one at most")
        return super().shapes(x)

    def _places(self, n: int, size: int) -> Any:
        """Return the index of each pixel's source."""
        index, ratio = np.arange(size, dtype=np.float32), self._ratio(n, size)
        if self.p.half_pixel_centers or self.p.half_pixel_onnx:
            place = (index + np.float32(0.5)) * ratio
            place = np.floor(place.astype(np.float64) - (0.5 if self.p.half_pixel_onnx else 0))
        elif self.p.align_corners:
            place = np.floor(index * ratio + np.float32(0.5))
        else:
            place = np.floor(index * ratio)
        return np.clip(place, 0, n - 1).astype(np.int64)

    def _matrix(self, n: int, size: int) -> Array:
        matrix: Array = np.eye(n, dtype=np.float32)[self._places(n, size)]
        return matrix

    def _lower_resize(self, g: Builder, x: str, old: Shape, size: Shape) -> str:
        rows, columns = map(self._places, old, size)
        factors = [s // n for s, n in zip(size, old, strict=True)]
        whole = [np.repeat(np.arange(n), f) for n, f in zip(old, factors, strict=True)]
        if np.array_equal(whole[0], rows) and np.array_equal(whole[1], columns):
            return lower_repeat(g, x, *factors)
        return g.Gather(g.Gather(x, rows, axis=2), columns, axis=3)


@layer(param="upsample_darknet_param")
class UpsampleDarknet(Layer):
    """Every pixel `stride` times along both axes.

    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe,
        src/caffe/layers/upsample_darknet_layer.cpp
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        if len(x) != 4 or self.p.stride < 1:
            raise ShapeError(f"needs 4 axes and a positive stride: {x}, {self.p.stride}")
        return [(*x[:2], *(n * self.p.stride for n in x[2:]))]

    def forward(self, x: Array) -> Array:
        return x.repeat(self.p.stride, axis=2).repeat(self.p.stride, axis=3)

    def backward(self, dy: Array, x: Array) -> Array:
        n, c, height, width = x.shape
        parts = dy.reshape(n, c, height, self.p.stride, width, self.p.stride)
        dx: Array = np.sum(parts, axis=(3, 5))
        return dx

    def lower(self, g: Builder, x: str) -> str:
        return lower_repeat(g, x, self.p.stride, self.p.stride)


def lower_repeat(g: Builder, x: str, down: int, across: int) -> str:
    """Write every pixel `down` times along the height and `across` times along the width."""
    return g.Resize(
        x,
        None,
        np.array([1, 1, down, across], np.float32),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
