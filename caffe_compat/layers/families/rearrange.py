"""Layers that reorder elements: axes reversed or exchanged, channels shuffled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..axes import canonical_axis
from ..builder import Builder, int64
from ..layer import Layer
from ..registry import layer


@layer(param="shuffle_channel_param")
class ShuffleChannel(Layer):
    """Channels as `group` rows, read by columns (Zhang et al. 2018, ShuffleNet).

    From: farmingyard/ShuffleNet, shuffle_channel_layer.cpp.
    From: synopsys-caffe and Cambricon/caffe, src/caffe/layers/shuffle_channel_layer.cpp.
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        group = self.p.group
        if len(x) < 2:
            raise ShapeError(f"needs channels on axis 1, and its bottom is {x}")
        if group < 1 or x[1] % group:
            raise ShapeError(f"group {group} must divide the {x[1]} channels")
        return [x]

    def forward(self, x: Array) -> Array:
        return _exchange(x, self.p.group)

    def backward(self, dy: Array, x: Array) -> Array:
        return _exchange(dy, x.shape[1] // self.p.group)

    def lower(self, g: Builder, x: str) -> str:
        channels, group = g.fixed(x, 1), self.p.group
        if group in (1, channels):
            return x
        # The axes behind the channels are one, and 0 copies a size, so that both may vary.
        rows = g.Reshape(x, int64(0, group, channels // group, -1))
        columns = g.Transpose(rows, perm=[0, 2, 1, 3])
        if None in g.dims(x)[2:]:
            return g.Reshape(columns, g.Shape(x))
        sizes = [g.fixed(x, axis) for axis in range(1, len(g.dims(x)))]
        return g.Reshape(columns, int64(0, *sizes))


@layer(param="permute_param")
class Permute(Layer):
    """The axes in the order of `order`, then the others.

    From: weiliu89/caffe, branch ssd, permute_layer.cpp
    """

    def order(self, rank: int) -> list[int]:
        """Return the bottom's axis for each of the top's."""
        first = list(self.p.order)
        if any(axis >= rank for axis in first) or len(set(first)) < len(first):
            raise ShapeError(f"order {first} must name axes of a {rank}-D blob, each once")
        return [*first, *(axis for axis in range(rank) if axis not in first)]

    def shapes(self, x: Shape) -> list[Shape | None]:
        return [tuple(x[axis] for axis in self.order(len(x)))]

    def shares(self, *x: Shape) -> bool:
        order = self.order(len(x[0]))
        return order == sorted(order)

    def forward(self, x: Array) -> Array:
        return np.ascontiguousarray(x.transpose(self.order(x.ndim)))

    def backward(self, dy: Array, x: Array) -> Array:
        return dy.transpose(np.argsort(self.order(x.ndim)))

    def lower(self, g: Builder, x: str) -> str:
        order = self.order(len(g.dims(x)))
        return x if order == sorted(order) else g.Transpose(x, perm=order)


@layer(param="transpose_param")
class Transpose(Layer):
    """Axis i of the top is axis dim[i] of the bottom.

    From: tianzhi0549/caffe and senlinuc/caffe_ocr, src/caffe/layers/transpose_layer.cpp.
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        dim = list(self.p.dim)
        if sorted(dim) != list(range(len(x))):
            raise ShapeError(f"dim {dim} must name each axis of {x} once")
        return [tuple(x[axis] for axis in dim)]

    def forward(self, x: Array) -> Array:
        return x.transpose(self.p.dim)

    def backward(self, dy: Array, x: Array) -> Array:
        return dy.transpose(np.argsort(self.p.dim))

    def lower(self, g: Builder, x: str) -> str:
        dim = list(self.p.dim)
        return x if dim == sorted(dim) else g.Transpose(x, perm=dim)


@layer(param="reverse_param")
class Reverse(Layer):
    """The elements in the opposite order along `axis`, 0 if absent.

    From: senlinuc/caffe_ocr, src/caffe/layers/reverse_layer.cpp.
    From: synopsys-caffe, the same file: several axes, and negative ones.
    Refused: a second bottom, by which Lyp100208/Caffe_action reverses sequences of any length.
    """

    def axes(self, rank: int) -> tuple[int, ...]:
        """Return the axes to reverse, from 0; only synopsys-caffe has negative ones and several."""
        return tuple(sorted({canonical_axis(axis, rank) for axis in self.p.axis or (0,)}))

    def shapes(self, x: Shape) -> list[Shape | None]:
        self.axes(len(x))
        return [x]

    def forward(self, x: Array) -> Array:
        return np.flip(x, self.axes(x.ndim))

    def backward(self, dy: Array, x: Array) -> Array:
        return np.flip(dy, self.axes(x.ndim))

    def lower(self, g: Builder, x: str) -> str:
        axes = self.axes(len(g.dims(x)))
        back, before = np.full(len(axes), -1), np.full(len(axes), np.iinfo(np.int64).min)
        return g.Slice(x, back, before, int64(*axes), back)


@layer(param="flip_param")
class Flip(Reverse):
    """The columns in the opposite order, and with flip_height the rows.

    From: happynear/caffe-windows, src/caffe/layers/flip_layer.cpp
    """

    def axes(self, rank: int) -> tuple[int, ...]:
        if rank != 4:
            raise ShapeError(f"needs a bottom of 4 axes, and has {rank}")
        flips = (self.p.flip_height, self.p.flip_width)
        return tuple(axis for axis, flip in zip((2, 3), flips, strict=True) if flip)


@layer(param="reorg_param")
class Reorg(Layer):
    """Darknet's reorg of YOLO v2.

    It is no space-to-depth of the image: the bottom's memory is read as if it had C / stride^2
    channels, height * stride and width * stride. `reverse` is the inverse.

    From: gklz1982/caffe-yolov2, src/caffe/layers/reorg_layer.cpp and its header.
    From: intel/caffe, eric612/MobileNet-YOLO and MSRCCS/Caffe, the same files, whose backward pass
        reads a blob that nothing fills; here it is the derivative.
    From: synopsys-caffe, the same files: alike for square maps and a stride of 2; it takes the
        height of others for their width.
    Refused: sizes that `stride` does not divide, where those loops skip a part.
    """

    @property
    def _turned(self) -> bool:
        """Whether channels are spread over the image, and not gathered from it."""
        return bool(self.p.reverse)

    def shapes(self, x: Shape) -> list[Shape | None]:
        s = self.p.stride
        if len(x) != 4:
            raise ShapeError(f"needs a bottom of 4 axes (num, channels, height, width), has {x}")
        if s < 1:
            raise ShapeError(f"stride must be positive, and is {s}")
        n, c, h, w = x
        if c % (s * s):
            raise ShapeError(f"the {c} channels must be a multiple of stride {s} squared")
        if self.p.reverse:
            return [(n, c // (s * s), h * s, w * s)]
        if h % s or w % s:
            raise ShapeError(f"stride {s} must divide the height and width {x[2:]}")
        return [(n, c * s * s, h // s, w // s)]

    def _view(self, x: Shape) -> Shape:
        """Return the bottom's shape by the parts of row, column and channel in the loop."""
        s, (n, c, h, w) = self.p.stride, x
        c //= s * s
        return (n, s, s, c, h, w) if self._turned else (n, c, h, s, w, s)

    @property
    def _order(self) -> tuple[int, ...]:
        return (0, 3, 4, 1, 5, 2) if self._turned else (0, 3, 5, 1, 2, 4)

    def forward(self, x: Array) -> Array:
        (top,) = self.shapes(x.shape)
        return x.reshape(self._view(x.shape)).transpose(self._order).reshape(top or ())

    def backward(self, dy: Array, x: Array) -> Array:
        view = self._view(x.shape)
        parts = tuple(view[axis] for axis in self._order)
        return dy.reshape(parts).transpose(np.argsort(self._order)).reshape(x.shape)

    def lower(self, g: Builder, x: str) -> str:
        shape = tuple(g.fixed(x, axis) for axis in (1, 2, 3))
        (top,) = self.shapes((1, *shape))
        parts = int64(0, *self._view((1, *shape))[1:])
        y = g.Transpose(g.Reshape(x, parts), perm=list(self._order))
        return g.Reshape(y, int64(0, *(top or ())[1:]))


@layer("Reorg", fork="caffe-yolo9000", param="reorg_param")
class SpreadReorg(Reorg):
    """Reorg with darknet's loop inverted.

    From: choasup/caffe-yolo9000, src/caffe/layers/reorg_layer.cpp (by reading alone).
    Refused: `reverse`, which this fork lacks; sizes that `stride` does not divide.
    """

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        return False  # no field tells it from other forks' layer

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if self.p.HasField("reverse"):
            raise UnsupportedError("caffe-yolo9000 has no reverse")

    @property
    def _turned(self) -> bool:
        return True


def _exchange(x: Array, rows: int) -> Array:
    """Return channels of `rows` rows, read by columns."""
    parts = x.reshape(x.shape[0], rows, x.shape[1] // rows, *x.shape[2:])
    return parts.swapaxes(1, 2).reshape(x.shape)
