"""Scale and Bias: a factor or a summand that spans some of the bottom's axes."""

from __future__ import annotations

from math import prod

import numpy as np

from ...caffe_pb2 import FillerParameter
from ...errors import ShapeError
from ...types import Array, Shape
from ..axes import canonical_axis
from ..builder import Builder, int64
from ..layer import Blob, Layer
from ..registry import layer

_ONE = FillerParameter(type="constant", value=1)


def _span(x: Shape, axis: int, num_axes: int) -> Shape:
    """Return the shape of a parameter over `num_axes` axes from `axis` on; -1: all of them."""
    start = canonical_axis(axis, len(x))
    if num_axes < -1:
        raise ShapeError(f"num_axes must be 0 or more, or -1 for all to the end; it is {num_axes}")
    if start + num_axes > len(x):
        raise ShapeError(f"axis {start} and num_axes {num_axes} reach past the bottom {x}")
    return x[start:] if num_axes == -1 else x[start : start + num_axes]


def _check_span(x: Shape, part: Shape, axis: int) -> None:
    """Raise ShapeError unless the second bottom has the first one's sizes from `axis` on."""
    start = canonical_axis(axis, len(x)) if part else 0
    if x[start : start + len(part)] != part:
        raise ShapeError(f"bottom 1 {part} does not match bottom 0 {x} from axis {start} on")


def _aligned(part: Array, x: Array, axis: int) -> Array:
    """Return `part` as it broadcasts against `x` from `axis` on."""
    return part.reshape(part.shape + (1,) * _after(part.ndim, x.ndim, axis))


def _after(span: int, rank: int, axis: int) -> int:
    """Return the number of axes behind a part of `span` axes; 0 for a scalar."""
    return rank - canonical_axis(axis, rank) - span if span else 0


def _summed(dy: Array, part: Array, axis: int) -> Array:
    """Return the sum of `dy` over the axes that `part` does not span, in its shape."""
    start = canonical_axis(axis, dy.ndim) if part.ndim else 0
    spanned = range(start, start + part.ndim)
    axes = tuple(i for i in range(dy.ndim) if i not in spanned)
    total: Array = np.sum(dy, axis=axes, dtype=dy.dtype)
    return total


def _lower_blob(g: Builder, x: str, part: str, axis: int, num_axes: int) -> str:
    """Return the name of a parameter blob as it broadcasts against `x`."""
    rank = len(g.dims(x))
    start = canonical_axis(axis, rank)
    span = rank - start if num_axes == -1 else num_axes
    shape = [g.fixed(x, i) for i in range(start, start + span)]
    return g.view(part, (*shape, *(1,) * _after(span, rank, axis)))


def _lower_bottom(g: Builder, x: str, part: str, axis: int) -> str:
    """Write a second bottom as it broadcasts against `x`."""
    span = len(g.dims(part))
    after = _after(span, len(g.dims(x)), axis)
    return g.Unsqueeze(part, int64(*range(span, span + after))) if after else part


@layer(param="bias_param", bottoms=(1, 2), inplace=True)
class Bias(Layer):
    """x + b, b a blob or the second bottom, over num_axes axes from axis on (bias_layer.cpp)."""

    def blobs(self, x: Shape, *second: Shape) -> list[Blob]:
        if second:
            return []
        return [Blob("bias", _span(x, self.p.axis, self.p.num_axes), self.p.filler)]

    def shapes(self, x: Shape, *second: Shape) -> list[Shape | None]:
        if second:
            _check_span(x, second[0], self.p.axis)
        return [x]

    def forward(self, x: Array, *second: Array, bias: Array | None = None) -> Array:
        return x + _aligned(second[0] if bias is None else bias, x, self.p.axis)

    def backward(
        self, dy: Array, x: Array, *second: Array, bias: Array | None = None
    ) -> tuple[Array, Array]:
        return dy, _summed(dy, second[0] if bias is None else bias, self.p.axis)

    def lower(self, g: Builder, x: str, *second: str, bias: str = "") -> str:
        if second:
            return g.Add(x, _lower_bottom(g, x, second[0], self.p.axis))
        return g.Add(x, _lower_blob(g, x, bias, self.p.axis, self.p.num_axes))


@layer(param="scale_param", bottoms=(1, 2), inplace=True)
class Scale(Layer):
    """s x, plus b with bias_term; s a blob or the second bottom (scale_layer.cpp).

    Both span num_axes axes from axis on, or those of the second bottom.
    """

    def blobs(self, x: Shape, *second: Shape) -> list[Blob]:
        span = len(second[0]) if second else self.p.num_axes
        start = self.p.filler if self.p.HasField("filler") else _ONE
        blobs = [] if second else [Blob("scale", _span(x, self.p.axis, span), start)]
        if self.p.bias_term:
            blobs.append(Blob("bias", _span(x, self.p.axis, span), self.p.bias_filler))
        return blobs

    def shapes(self, x: Shape, *second: Shape) -> list[Shape | None]:
        if second:
            _check_span(x, second[0], self.p.axis)
        return [x]

    def forward(
        self, x: Array, *second: Array, scale: Array | None = None, bias: Array | None = None
    ) -> Array:
        y = x * _aligned(second[0] if scale is None else scale, x, self.p.axis)
        return y if bias is None else y + _aligned(bias, x, self.p.axis)

    def backward(
        self,
        dy: Array,
        x: Array,
        *second: Array,
        scale: Array | None = None,
        bias: Array | None = None,
    ) -> tuple[Array, ...]:
        factor = second[0] if scale is None else scale
        dx = dy * _aligned(factor, x, self.p.axis)
        flows = (dx, _summed(dy * x, factor, self.p.axis))
        return flows if bias is None else (*flows, _summed(dy, bias, self.p.axis))

    def overwrites(self, x: Shape, *second: Shape) -> tuple[str, ...]:
        """Return the factors' name where they span all axes, or all but the last of one image."""
        if second:
            return ()
        shape = _span(x, self.p.axis, self.p.num_axes)
        start = canonical_axis(self.p.axis, len(x))
        alone = prod(x[:start]) == 1 and prod(shape) > 1
        return ("scale",) if alone or prod(shape) == prod(x) else ()

    def lower(self, g: Builder, x: str, *second: str, scale: str = "", bias: str = "") -> str:
        axis = self.p.axis
        span = len(g.dims(second[0])) if second else self.p.num_axes
        if second:
            y = g.Mul(x, _lower_bottom(g, x, second[0], axis))
        else:
            y = g.Mul(x, _lower_blob(g, x, scale, axis, span))
        return g.Add(y, _lower_blob(g, x, bias, axis, span)) if self.p.bias_term else y


@layer(param="eltwise_affine_param", inplace=True)
class EltwiseAffine(Layer):
    """slope x + bias, one of each a channel, or one of all with channel_shared.

    Without fillers the blobs start at 1.0001 and 0.0001.

    From: ducha-aiki/caffe, src/caffe/layers/eltwise_affine_layer.cpp (by reading alone)
    """

    def blobs(self, x: Shape) -> list[Blob]:
        if len(x) < 2:
            raise ShapeError(f"needs a bottom of 2 axes or more, and has {x}")
        shape, blobs = () if self.p.channel_shared else (x[1],), []
        for name, value in (("slope", 1.0001), ("bias", 0.0001)):
            stated = self.p.HasField(f"{name}_filler")
            first = FillerParameter(type="constant", value=value)
            filler = getattr(self.p, f"{name}_filler") if stated else first
            blobs.append(Blob(name, shape, filler))
        return blobs

    def forward(self, x: Array, slope: Array, bias: Array) -> Array:
        return x * _aligned(slope, x, 1) + _aligned(bias, x, 1)

    def backward(self, dy: Array, x: Array, slope: Array, bias: Array) -> tuple[Array, ...]:
        return dy * _aligned(slope, x, 1), _summed(dy * x, slope, 1), _summed(dy, bias, 1)

    def lower(self, g: Builder, x: str, slope: str, bias: str) -> str:
        span = 0 if self.p.channel_shared else 1
        y = g.Mul(x, _lower_blob(g, x, slope, 1, span))
        return g.Add(y, _lower_blob(g, x, bias, 1, span))
