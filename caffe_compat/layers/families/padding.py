"""Padding as a layer of its own, from forks."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Layer
from ..registry import layer

# The fields of each fork's padding_param.
_FORKS = {
    "DeepLab": ("pad_beg", "pad_end"),
    "sophgo": ("pad_l", "pad_r", "pad_t", "pad_b", "pad_value", "pad_method"),
    "lim0606": ("pad",),
}


@layer(param="padding_param")
class Padding(Layer):
    """x with a border around its height and width, by one fork's fields of padding_param.

    From: gpapan/caffe, src/caffe/layers/padding_layer.cpp (DeepLab's: pad_beg and pad_end, zeros on
        both axes, cut where negative)
    From: sophgo/caffe, src/caffe/layers/padding_layer.cpp (pad_l, pad_r, pad_t, pad_b, pad_value)
    From: lim0606/caffe-fast-rcnn, src/caffe/layers/padding_layer.cpp (pad: zeros on all sides)
    Refused: fields of two forks together; one of pad_beg and pad_end positive, the other negative.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        p = self.p
        forks = [fork for fork, fields in _FORKS.items() if any(map(p.HasField, fields))]
        if len(forks) > 1:
            raise UnsupportedError(f"padding_param has fields of several forks: {forks}")
        if p.pad_beg * p.pad_end < 0:
            raise UnsupportedError(f"pad_beg {p.pad_beg} and pad_end {p.pad_end} have two signs")
        both = (p.pad_beg + p.pad, p.pad_end + p.pad)
        # ((top, bottom), (left, right)): all but one fork's fields are 0
        self._sides = (
            (both[0] + p.pad_t, both[1] + p.pad_b),
            (both[0] + p.pad_l, both[1] + p.pad_r),
        )
        self._value = np.float32(p.pad_value)

    def shapes(self, x: Shape) -> list[Shape | None]:
        if len(x) != 4:
            raise ShapeError(f"needs a bottom of 4 axes, and has {x}")
        size = tuple(n + a + b for n, (a, b) in zip(x[2:], self._sides, strict=True))
        if min(size) < 1:
            raise ShapeError(f"pads {x} to a height and a width of {size}")
        return [(*x[:2], *size)]

    def forward(self, x: Array) -> Array:
        cut = self._inner(x.shape[2:], -1)
        wide = [(max(a, 0), max(b, 0)) for a, b in self._sides]
        return np.pad(x[cut], ((0, 0), (0, 0), *wide), constant_values=self._value)

    def backward(self, dy: Array, x: Array) -> Array:
        inside = self._inner(dy.shape[2:], 1)
        cut = [(max(-a, 0), max(-b, 0)) for a, b in self._sides]
        return np.pad(dy[inside], ((0, 0), (0, 0), *cut))

    def _inner(self, size: Shape, sign: int) -> tuple[Any, ...]:
        """Return the index of the part within the sides of that sign."""
        axes = zip(size, self._sides, strict=True)
        return (..., *(slice(max(sign * a, 0), n - max(sign * b, 0)) for n, (a, b) in axes))

    def lower(self, g: Builder, x: str) -> str:
        (top, bottom), (left, right) = self._sides
        pads = int64(0, 0, top, left, 0, 0, bottom, right)
        return g.Pad(x, pads, self._value if self._value else None)


@layer(param="pad_param")
class Pad(Layer):
    """x with constant_values around it, `paddings` before and behind each axis.

    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe, src/caffe/layers/pad_layer.cpp
    """

    def _sides(self, rank: int) -> list[tuple[int, int]]:
        sides = list(self.p.paddings)
        if len(sides) != 2 * rank:
            raise ShapeError(f"has {len(sides)} paddings for {rank} axes; two each")
        return list(zip(sides[::2], sides[1::2], strict=True))

    def shapes(self, x: Shape) -> list[Shape | None]:
        return [tuple(n + a + b for n, (a, b) in zip(x, self._sides(len(x)), strict=True))]

    def forward(self, x: Array) -> Array:
        value = np.float32(self.p.constant_values)
        return np.pad(x, self._sides(x.ndim), constant_values=value)

    def backward(self, dy: Array, x: Array) -> Array:
        sides = zip(x.shape, self._sides(x.ndim), strict=True)
        return dy[tuple(slice(a, a + n) for n, (a, _) in sides)]

    def lower(self, g: Builder, x: str) -> str:
        before, behind = zip(*self._sides(len(g.dims(x))), strict=True)
        value = np.float32(self.p.constant_values)
        return g.Pad(x, int64(*before, *behind), value if value else None)
