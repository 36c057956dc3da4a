"""Layers that undo pooling: values put back, or repeated over their window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...caffe_pb2 import LayerParameter, UnpoolingParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import INT64, Builder, Operand, int64
from ..layer import Layer
from ..registry import layer
from .resizing import lower_repeat


class _ByMask(Layer):
    """Values at a mask's indices h * width + w of the top; zero elsewhere.

    If an index is twice in a mask, the last value stays; ONNX leaves open which.
    """

    def _size(self, x: Shape) -> Shape:
        """Return the top's height and width."""
        raise NotImplementedError

    def shapes(self, x: Shape, *mask: Shape) -> list[Shape | None]:
        if len(x) != 4:
            raise ShapeError(f"needs a bottom of 4 axes (num, channels, height, width), has {x}")
        if mask and mask[0] != x:
            raise ShapeError(f"the mask {mask[0]} must have the bottom's shape {x}")
        return [(*x[:2], *self._size(x))]

    def classes(self, x: Shape, *mask: Shape) -> dict[int, int]:
        height, width = self._size(x)
        return {1: height * width} if mask else {}

    def forward(self, x: Array, mask: Array) -> Array:
        (shape,) = self.shapes(x.shape)
        size = self._size(x.shape)
        places = _places(mask, size)
        y = np.zeros((places.shape[0], size[0] * size[1]), np.float32)
        np.put_along_axis(y, places, x.reshape(places.shape), 1)
        return y.reshape(shape or ())

    def backward(self, dy: Array, x: Array, mask: Array) -> tuple[Array, None]:
        places = _places(mask, self._size(x.shape))
        dx = np.take_along_axis(dy.reshape(places.shape[0], -1), places, 1)
        return dx.reshape(x.shape), None

    def lower(self, g: Builder, x: str, mask: str) -> str:
        return self._lower_mask(g, x, mask)

    def _lower_mask(self, g: Builder, x: str, mask: str) -> str:
        size = self._size((0, 0, *self._fixed(g, x)))
        flat = int64(0, 0, -1)
        places = g.Cast(g.Reshape(mask, flat), to=INT64)
        zero = np.zeros(1, np.float32)
        empty = g.ConstantOfShape(self._plane(g, x, size[0] * size[1]), value=zero)
        y = g.ScatterElements(empty, places, g.Reshape(x, flat), axis=2)
        return g.Reshape(y, int64(0, 0, *size))

    def _fixed(self, g: Builder, x: str) -> Shape:
        """Return the bottom's height and width, on which the top's depend."""
        return (g.fixed(x, 2), g.fixed(x, 3))

    @staticmethod
    def _plane(g: Builder, x: str, count: int) -> Operand:
        """Write the shape (num, channels, count)."""
        dims = g.dims(x)[:2]
        if None in dims:
            return g.Concat(g.Shape(x, start=0, end=2), int64(count), axis=0)
        return int64(*(n or 0 for n in dims), count)


@layer(param="upsample_param", bottoms=(1, 2))
class Upsample(_ByMask):
    """Values at the indices of MAX pooling's mask; without a mask, values repeated.

    With a mask the size is upsample_h by upsample_w, or `scale` times the bottom's (by default 2),
    less one with pad_out_h or pad_out_w. Without it values are repeated `scale` times along both
    axes (by default once).

    From: alexgkendall/caffe-segnet, src/caffe/layers/upsample_layer.cpp: with a mask.
    From: eric612/MobileNet-YOLO, the same file: without.
    Refused: without a mask all fields but `scale`, which forks round differently.
    Refused: with a mask, a varying height or width unless upsample_h and upsample_w are given.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        self._sized = self.p.HasField("upsample_h") and self.p.HasField("upsample_w")
        if len(proto.bottom) == 1:
            self._check_repeats()
        elif not self._sized:
            self._check_scales()

    def _check_repeats(self) -> None:
        for field, _ in self.p.ListFields():
            if field.name != "scale":
                raise UnsupportedError(
                    f"{field.name} without a mask, the second bottom: forks round differently"
                )
        if self._scales(1)[0] < 1:
            raise ShapeError("scale must be positive, and is 0")

    def _check_scales(self) -> None:
        if self.p.HasField("scale_h") != self.p.HasField("scale_w"):
            raise ShapeError("scale_h and scale_w go together; one is missing")
        if self.p.HasField("scale") and self.p.HasField("scale_h"):
            raise ShapeError("either scale or scale_h and scale_w may be given, not both")
        for scale, axis in zip(self._scales(2), "hw", strict=True):
            if scale < 2:
                raise ShapeError(f"the scale must be 2 or more, and is {scale}")
            if getattr(self.p, f"pad_out_{axis}") and scale != 2:
                raise ShapeError(f"pad_out_{axis} wants a scale of 2, which is {scale}")

    def _scales(self, absent: int) -> tuple[int, int]:
        if self.p.HasField("scale_h"):
            return (self.p.scale_h, self.p.scale_w)
        # The forks' defaults differ, so the schema has none.
        return (self.p.scale if self.p.HasField("scale") else absent,) * 2

    def _size(self, x: Shape) -> Shape:
        if self._sized:
            if min(self.p.upsample_h, self.p.upsample_w) < 2:
                raise ShapeError(
                    f"upsample_h {self.p.upsample_h} and upsample_w "
                    f"{self.p.upsample_w} must be 2 or more"
                )
            return (self.p.upsample_h, self.p.upsample_w)
        if len(self.proto.bottom) == 1:
            return tuple(n * self._scales(1)[0] for n in x[2:])
        pads = (self.p.pad_out_h, self.p.pad_out_w)
        return tuple(n * s - int(p) for n, s, p in zip(x[2:], self._scales(2), pads, strict=True))

    def _fixed(self, g: Builder, x: str) -> Shape:
        return (0, 0) if self._sized else super()._fixed(g, x)

    def forward(self, x: Array, *mask: Array) -> Array:
        if mask:
            return super().forward(x, *mask)
        scale = self._scales(1)[0]
        return x.repeat(scale, axis=2).repeat(scale, axis=3)

    def backward(self, dy: Array, x: Array, *mask: Array) -> Array | tuple[Array, None]:
        if mask:
            return super().backward(dy, x, *mask)
        scale = self._scales(1)[0]
        n, c, h, w = x.shape
        dx: Array = dy.reshape(n, c, h, scale, w, scale).sum((3, 5))
        return dx

    def lower(self, g: Builder, x: str, *mask: str) -> str:
        if mask:
            return self._lower_mask(g, x, *mask)
        scale = self._scales(1)[0]
        if scale == 1:
            return x
        return lower_repeat(g, x, scale, scale)


@layer("MaxUnpool", param="max_unpool_param", bottoms=2)
class MaxUnPool(_ByMask):
    """Values at a mask's indices in a top of dst_h by dst_w.

    From: inisis/caffe, src/caffe/layers/maxunpool_layer.cpp (by reading alone).
    """

    def _size(self, x: Shape) -> Shape:
        if not (self.p.dst_h and self.p.dst_w):
            raise ShapeError(f"dst_h {self.p.dst_h} and dst_w {self.p.dst_w} must be positive")
        return (self.p.dst_h, self.p.dst_w)

    def _fixed(self, g: Builder, x: str) -> Shape:
        return (0, 0)


@layer(param="unpooling_param", bottoms=(1, 2))
class Unpooling(_ByMask):
    """Unpooling of DeconvNet (Noh et al. 2015).

    MAX puts values at the mask's indices or, without a mask, in their window's first corner. TILE
    adds each to its whole window, AVE its share of the window. The top is unpool_size, or unpool_h
    by unpool_w.

    From: HyeonwooNoh/caffe, src/caffe/layers/unpooling_layer.cpp.
    Refused: a varying height or width, except of MAX with a mask.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        self._kernel = self._pair("kernel", "kernel_size")
        self._stride = self._pair("stride", "stride")
        self._out = self._pair("unpool", "unpool_size")
        if any(self._pair("pad", "pad")):
            raise ShapeError(f"pad {self._pair('pad', 'pad')}: Caffe itself allows none here")
        if 0 in self._kernel or 0 in self._out:
            raise ShapeError(f"kernel {self._kernel} and size {self._out} must be positive")
        if len(proto.bottom) == 2 and self.p.unpool != UnpoolingParameter.MAX:
            raise ShapeError("AVE and TILE take no mask")

    def _pair(self, name: str, one: str) -> tuple[int, int]:
        """Return one number for both axes or one each, by the CHECKs of LayerSetUp."""
        both = [self.p.HasField(f"{name}_{axis}") for axis in "hw"]
        required = name in ("kernel", "unpool")
        if any(both) and (not all(both) or self.p.HasField(one)):
            raise ShapeError(f"either {one}, or both {name}_h and {name}_w")
        if required and not any(both) and not self.p.HasField(one):
            raise ShapeError(f"needs {one}, or {name}_h and {name}_w")
        if all(both):
            return (getattr(self.p, f"{name}_h"), getattr(self.p, f"{name}_w"))
        return (getattr(self.p, one),) * 2

    def _size(self, x: Shape) -> Shape:
        return self._out

    def _fixed(self, g: Builder, x: str) -> Shape:
        return (0, 0)

    def _spread(self, size: Shape) -> tuple[Array, Array]:
        """Return the shares of the bottom's rows in the top's, and of its columns."""
        rows, columns = (self._matrix(n, axis) for axis, n in enumerate(size))
        return rows, columns

    def _matrix(self, n: int, axis: int) -> Array:
        out, kernel, stride = self._out[axis], self._kernel[axis], self._stride[axis]
        matrix = np.zeros((out, n), np.float32)
        for i in range(n):
            if self.p.unpool == UnpoolingParameter.MAX:
                place = min(i * stride, out - 1)
                matrix[place] = 0  # a later value replaces an earlier one
                matrix[place, i] = 1
            else:
                window = slice(i * stride, min(i * stride + kernel, out))
                mean = self.p.unpool == UnpoolingParameter.AVE
                matrix[window, i] = 1 / max(1, window.stop - window.start) if mean else 1
        return matrix

    def forward(self, x: Array, *mask: Array) -> Array:
        if mask:
            return super().forward(x, *mask)
        rows, columns = self._spread(x.shape[2:])
        return rows @ (x @ columns.T)

    def backward(self, dy: Array, x: Array, *mask: Array) -> Array | tuple[Array, None]:
        if mask:
            return super().backward(dy, x, *mask)
        rows, columns = self._spread(x.shape[2:])
        return rows.T @ (dy @ columns)

    def lower(self, g: Builder, x: str, *mask: str) -> str:
        if mask:
            return self._lower_mask(g, x, *mask)
        rows, columns = self._spread((g.fixed(x, 2), g.fixed(x, 3)))
        return g.MatMul(rows, g.MatMul(x, np.ascontiguousarray(columns.T)))


def _places(mask: Array, size: Shape) -> NDArray[np.int64]:
    """Return the mask as (num * channels, height * width) indices into a plane of `size`."""
    places = mask.astype(np.int64).reshape(mask.shape[0] * mask.shape[1], -1)
    if places.size and not (places.min() >= 0 and places.max() < size[0] * size[1]):
        raise ShapeError(
            f"the mask has {places.min()} to {places.max()}, and the top {size} has "
            f"places 0 to {size[0] * size[1] - 1}"
        )
    return places
