"""Bilinear interpolation of an image to another size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Dims, Shape
from ..builder import Builder, Operand, int64
from ..layer import Layer
from ..registry import layer

Index = NDArray[np.int64]


@layer(param="interp_param", bottoms=(1, 2))
class Interp(Layer):
    """Bilinear interpolation, corner pixels on corner pixels.

    Negative pad_beg and pad_end cut the bottom first. The size is `height` and `width`;
    (n - 1) / shrink_factor + 1, rounded down; (n - 1) * zoom_factor + 1; or the second bottom's.

    From: DeepLab v2 and hszhao/PSPNet, src/caffe/layers/interp_layer.cpp and util/interp.cpp.
    From: wywu/LAB and yangguorun/SegStereo, the same file: the second bottom.
    Refused: align_corners false.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if self.p.pad_beg > 0 or self.p.pad_end > 0:
            raise ShapeError(
                f"pad_beg {self.p.pad_beg} and pad_end {self.p.pad_end} only cut: "
                "neither may be positive"
            )
        if not self.p.align_corners:
            raise UnsupportedError("align_corners false is not defined alike by any two forks")
        for field in ("zoom_factor", "shrink_factor"):
            if getattr(self.p, field) < 1:
                raise ShapeError(f"{field} must be positive, and is {getattr(self.p, field)}")
        self._zooms = self.p.HasField("zoom_factor")
        self._shrinks = self.p.HasField("shrink_factor")
        self._sized = self.p.HasField("height") and self.p.HasField("width")
        # With one factor Caffe does not read height and width; with both it reads them first.
        self._sized = self._sized and self._zooms == self._shrinks
        if len(proto.bottom) == 2 and (self._zooms or self._shrinks or self._sized):
            raise ShapeError("the size is given twice, by the second bottom and by interp_param")
        if len(proto.bottom) == 1 and not (self._zooms or self._shrinks or self._sized):
            raise ShapeError("needs height and width, zoom_factor, shrink_factor or a 2nd bottom")

    def size(self, x: Shape, *like: Shape) -> Shape:
        """Return the top's height and width."""
        inside = tuple(n + self.p.pad_beg + self.p.pad_end for n in x[2:])
        if min(inside) < 1:
            raise ShapeError(
                f"pad_beg {self.p.pad_beg} and pad_end {self.p.pad_end} leave nothing of {x[2:]}"
            )
        if like:
            return like[0][2:]
        if self._sized:
            return (self.p.height, self.p.width)
        return tuple(self._scaled(n) for n in inside)

    def _scaled(self, n: int) -> int:
        """Return the size of one axis by the factors."""
        if self._shrinks:
            n = (n - 1) // self.p.shrink_factor + 1
        return self._zoomed(n) if self._zooms else n

    def _zoomed(self, n: int) -> int:
        return int((n - 1) * self.p.zoom_factor + 1)

    def shapes(self, *x: Shape) -> list[Shape | None]:
        for shape in x:
            if len(shape) != 4:
                raise ShapeError(f"needs 4 axes (num, channels, height, width), and has {shape}")
        size = self.size(*x)
        if min(size) < 1:
            raise ShapeError(f"the height and width must be positive, and are {size}")
        return [(*x[0][:2], *size)]

    def forward(self, x: Array, *like: Array) -> Array:
        height, width = self.size(x.shape, *(a.shape for a in like))
        rows, columns = (slice(-self.p.pad_beg, n + self.p.pad_end) for n in x.shape[2:])
        x = x[:, :, rows, columns]
        return _interpolate(_interpolate(x, 2, height), 3, width)

    def backward(self, dy: Array, x: Array, *like: Array) -> Array | tuple[Array | None, ...]:
        rows, columns = (slice(-self.p.pad_beg, n + self.p.pad_end) for n in x.shape[2:])
        dx = np.zeros_like(x)
        inside = dx[:, :, rows, columns]
        height, width = inside.shape[2:]
        inside[...] = _gather(_gather(dy, 3, width), 2, height)
        return (dx, *[None] * len(like)) if like else dx

    def lower(self, g: Builder, x: str, *like: str) -> str:
        dims, y = g.dims(x), x
        if self.p.pad_beg or self.p.pad_end:
            begin = int64(*[-self.p.pad_beg] * 2)
            end = int64(*[self.p.pad_end or np.iinfo(np.int64).max] * 2)
            y = g.Slice(x, begin, end, int64(2, 3))
        return g.Resize(
            y,
            None,
            None,
            self._sizes(g, y, dims, like),
            axes=[2, 3],
            mode="linear",
            coordinate_transformation_mode="align_corners",
        )

    def _sizes(self, g: Builder, y: str, dims: Dims, like: Sequence[str]) -> Operand:
        """Write the height and width as a constant or, where they vary, as a tensor."""
        if like and None in g.dims(like[0])[2:]:
            return g.Shape(like[0], start=2, end=4)
        shapes = [tuple(n or 0 for n in g.dims(name)) for name in like]
        if like or self._sized or None not in dims[2:]:
            return int64(*self.size(tuple(n or self._least for n in dims), *shapes))
        last = g.Sub(g.Shape(y, start=2, end=4), int64(1))
        if self._shrinks:
            last = g.Div(last, int64(self.p.shrink_factor))
        return self._lower_zoom(g, last)

    @property
    def _least(self) -> int:
        """The smallest size that cutting leaves something of."""
        return int(1 - self.p.pad_beg - self.p.pad_end)

    def _lower_zoom(self, g: Builder, last: str) -> str:
        """Write (n - 1) * zoom_factor + 1, from n - 1."""
        if self._zooms:
            last = g.Mul(last, int64(self.p.zoom_factor))
        return g.Add(last, int64(1))


@layer("Interp", fork="training_toolbox_caffe", param="interp_param", bottoms=(1, 2))
class FullZoomInterp(Interp):
    """Interp to n * zoom_factor, where no shrink_factor is given.

    From: openvinotoolkit/training_toolbox_caffe, src/caffe/layers/interp_layer.cpp
        (by reading alone).
    Refused: align_corners false, as Interp's.
    """

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        return False  # no field tells it from other forks' layer

    def _zoomed(self, n: int) -> int:
        return super()._zoomed(n) if self._shrinks else int(n * self.p.zoom_factor)

    def _lower_zoom(self, g: Builder, last: str) -> str:
        if self._shrinks:
            return super()._lower_zoom(g, last)
        return g.Mul(g.Add(last, int64(1)), int64(self.p.zoom_factor))


@layer(param="resize_param")
class Resize(Layer):
    """Bilinear interpolation, pixel i of the top at i * in / out of the bottom.

    Beyond the bottom's last row and column there are zeros. With is_pyramid_test the size is the
    bottom's times out_height_scale and out_width_scale.

    From: happynear/caffe-windows, src/caffe/layers/resize_layer.cpp and util/util_img.cpp.
    From: bearpaw/caffe, the same files.
    Refused: a varying height or width.
    """

    def _size(self, x: Shape) -> Shape:
        names = (
            ("out_height_scale", "out_width_scale")
            if self.p.is_pyramid_test
            else ("height", "width")
        )
        for name in names:
            if not self.p.HasField(name):
                raise ShapeError(f"{name} is required")
        size = [getattr(self.p, name) for name in names]
        if self.p.is_pyramid_test:
            size = [int(np.float32(s) * np.float32(n)) for s, n in zip(size, x[2:], strict=True)]
        if min(size) < 1:
            raise ShapeError(f"the height and width must be positive, and are {tuple(size)}")
        return tuple(size)

    def shapes(self, x: Shape) -> list[Shape | None]:
        if len(x) != 4:
            raise ShapeError(f"needs a bottom of 4 axes (num, channels, height, width), has {x}")
        return [(*x[:2], *self._size(x))]

    def forward(self, x: Array) -> Array:
        height, width = self._size(x.shape)
        rows, columns = _fading(x.shape[2], height), _fading(x.shape[3], width)
        return rows @ (x @ columns.T)

    def lower(self, g: Builder, x: str) -> str:
        size = (g.fixed(x, 2), g.fixed(x, 3))
        height, width = self._size((1, 1, *size))
        rows, columns = _fading(size[0], height), _fading(size[1], width)
        return g.MatMul(rows, g.MatMul(x, np.ascontiguousarray(columns.T)))


def _interpolate(x: Array, axis: int, size: int) -> Array:
    """Resize one axis of an image, corner pixels on corner pixels."""
    if x.shape[axis] == size:
        return x
    first, after, share = _neighbours(x.shape[axis], size)
    share = share.reshape(-1, *(1,) * (x.ndim - axis - 1))
    y: Array = (1 - share) * x.take(first, axis) + share * x.take(after, axis)
    return y


def _gather(dy: Array, axis: int, n: int) -> Array:
    """Return the gradient at an axis of `n` pixels from that at what `_interpolate` returns."""
    size = dy.shape[axis]
    if n == size:
        return dy
    first, after, share = _neighbours(n, size)
    dx = np.zeros((n, *np.delete(dy.shape, axis)), np.float32)
    flow, share = np.moveaxis(dy, axis, 0), share.reshape(-1, 1, 1, 1)
    np.add.at(dx, first, (1 - share) * flow)
    np.add.at(dx, after, share * flow)
    return np.moveaxis(dx, 0, axis)


def _neighbours(n: int, size: int) -> tuple[Index, Index, Array]:
    """Return the two pixels of `n` on both sides of each of `size`, and the second one's share."""
    ratio = np.float32(n - 1) / np.float32(size - 1) if size > 1 else np.float32(0)
    place = ratio * np.arange(size, dtype=np.float32)
    first = place.astype(np.int64)
    return first, np.minimum(first + 1, n - 1), place - first.astype(np.float32)


def _fading(n: int, size: int) -> Array:
    """Return the shares of `n` pixels in each of `size`, with zeros behind the last one."""
    place = np.arange(size, dtype=np.float32) * (np.float32(n) / np.float32(size))
    first = np.floor(place).astype(np.int64)
    share = place - first.astype(np.float32)
    matrix = np.zeros((size, n + 2), np.float32)  # rounding may put the last place on n itself
    matrix[np.arange(size), first] = 1 - share
    matrix[np.arange(size), first + 1] = share
    return np.ascontiguousarray(matrix[:, :n])
