"""Products whose factors broadcast, from forks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Layer
from ..registry import layer


def _widen(g: Builder, part: str, rank: int) -> str:
    """Write (N, C) with axes of size 1 appended."""
    have = len(g.dims(part))
    return part if have == rank else g.Unsqueeze(part, int64(*range(have, rank)))


@layer(bottoms=3)
class Axpy(Layer):
    """a x + y, a with one factor for each channel of each image (Hu et al. 2018, eq. 4).

    Bottoms: a (N x C, or N x C x 1 x 1), x and y.

    From: hujie-frank/SENet, src/caffe/layers/axpy_layer.cpp
    """

    def shapes(self, a: Shape, x: Shape, y: Shape) -> list[Shape | None]:
        if len(a) < 2 or a[:2] != x[:2] or any(n != 1 for n in a[2:]):
            raise ShapeError(f"bottom 0 {a} must be {(*x[:2],)}, and 1 on any further axis")
        if x != y:
            raise ShapeError(f"bottom 1 {x} and bottom 2 {y} must have the same shape")
        return [x]

    def forward(self, a: Array, x: Array, y: Array) -> Array:
        return a.reshape(*x.shape[:2], *(1,) * (x.ndim - 2)) * x + y

    def backward(self, dy: Array, a: Array, x: Array, y: Array) -> tuple[Array, Array, Array]:
        factor = a.reshape(*x.shape[:2], *(1,) * (x.ndim - 2))
        da: Array = np.sum(dy * x, axis=tuple(range(2, x.ndim)))
        return da.reshape(a.shape), dy * factor, dy

    def lower(self, g: Builder, a: str, x: str, y: str) -> str:
        rank = len(g.dims(x))
        have = len(g.dims(a))
        a = g.Squeeze(a, int64(*range(rank, have))) if have > rank else _widen(g, a, rank)
        return g.Add(g.Mul(a, x), y)


@layer(bottoms=2)
class BroadcastMul(Layer):
    """The larger bottom times the smaller, which has one factor for each channel of each image.

    Either may come first.

    From: yurikorolov/caffe, src/caffe/layers/broadcast_mul_layer.cpp
    """

    def shapes(self, a: Shape, b: Shape) -> list[Shape | None]:
        x, part = (a, b) if np.prod(a) > np.prod(b) else (b, a)
        factor = len(part) <= len(x) and part[:2] == x[:2] and all(n == 1 for n in part[2:])
        if not 2 <= len(x) <= 4 or not factor:
            raise ShapeError(
                f"of {a} and {b}, the smaller must be N x C and 1 on further axes, "
                "and the larger begin with the same N x C"
            )
        return [x]

    def _parts(self, a: Array, b: Array) -> tuple[Array, Array]:
        """Return both in shapes that broadcast against each other."""
        rank = max(a.ndim, b.ndim)
        first, second = (x.reshape(x.shape + (1,) * (rank - x.ndim)) for x in (a, b))
        return first, second

    def forward(self, a: Array, b: Array) -> Array:
        first, second = self._parts(a, b)
        return first * second

    def backward(self, dy: Array, a: Array, b: Array) -> tuple[Array, Array]:
        first, second = self._parts(a, b)
        dy = dy.reshape(np.broadcast_shapes(first.shape, second.shape))
        flows = []
        for x, other in ((first, second), (second, first)):
            axes = tuple(i for i in range(2, x.ndim) if x.shape[i] < dy.shape[i])
            flows.append(np.sum(dy * other, axis=axes, keepdims=True))
        return flows[0].reshape(a.shape), flows[1].reshape(b.shape)

    def lower(self, g: Builder, a: str, b: str) -> str:
        rank = max(len(g.dims(a)), len(g.dims(b)))
        return g.Mul(_widen(g, a, rank), _widen(g, b, rank))


@layer(param="channel_scale_param", bottoms=2)
class ChannelScale(Layer):
    """x times one factor for each position of each image, alike in all its channels.

    With do_forward: false it is x; the gradient follows do_backward_feature and do_backward_scale.

    From: happynear/caffe-windows, src/caffe/layers/channel_scale_layer.cpp
    Refused: global_scale, one factor from training, which TEST uses differently on CPU and GPU.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if self.p.global_scale:
            raise UnsupportedError(
                "global_scale: true is clipped in TEST by the fork's CPU code, not by its GPU code"
            )

    def shapes(self, x: Shape, scale: Shape) -> list[Shape | None]:
        if not 2 <= len(x) <= 4 or x[:1] != scale[:1]:
            raise ShapeError(f"needs bottoms of 2 to 4 axes alike in the first, not {x}, {scale}")
        if np.prod(scale) * x[1] != np.prod(x):
            raise ShapeError(f"bottom 1 {scale} must have a factor for each position of {x}")
        return [x]

    @staticmethod
    def _factor(x: Array, scale: Array) -> Array:
        return scale.reshape(len(x), 1, *x.shape[2:])

    def forward(self, x: Array, scale: Array) -> Array:
        return x * self._factor(x, scale) if self.p.do_forward else x

    def backward(self, dy: Array, x: Array, scale: Array) -> tuple[Array, Array]:
        dx = dy * self._factor(x, scale) if self.p.do_backward_feature else dy
        if not self.p.do_backward_scale:
            return dx, np.zeros_like(scale)
        return dx, np.sum(dy * x, axis=1).reshape(scale.shape)

    def lower(self, g: Builder, x: str, scale: str) -> str:
        if not self.p.do_forward:
            return x
        dims, factor = g.dims(x), g.dims(scale)
        if len(factor) == len(dims) and factor[1] == 1:
            return g.Mul(x, scale)
        if len(factor) == 1 and len(dims) == 2:
            return g.Mul(x, g.Unsqueeze(scale, int64(1)))
        sizes = [g.fixed(x, axis) for axis in range(2, len(dims))]
        return g.Mul(x, g.Reshape(scale, int64(-1, 1, *sizes)))


@layer("Mul", fork="synopsys-caffe", bottoms=2)
class Product(Layer):
    """a times b, which broadcast as numpy's arrays do; only with its fork named.

    In other forks Mul is a product of matrices, and no field tells which.

    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe, src/caffe/layers/mul_layer.cpp
    """

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        return False

    def shapes(self, a: Shape, b: Shape) -> list[Shape | None]:
        return [_joined(a, b)]

    def forward(self, a: Array, b: Array) -> Array:
        return a * b

    def lower(self, g: Builder, a: str, b: str) -> str:
        return g.Mul(a, b)


@layer(bottoms=2)
class Add(Layer):
    """a plus b, which broadcast as numpy's arrays do.

    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe, src/caffe/layers/add_layer.cpp
    """

    def shapes(self, a: Shape, b: Shape) -> list[Shape | None]:
        return [_joined(a, b)]

    def forward(self, a: Array, b: Array) -> Array:
        return a + b

    def lower(self, g: Builder, a: str, b: str) -> str:
        return g.Add(a, b)


def _joined(a: Shape, b: Shape) -> Shape:
    """Return the shape to which two broadcast."""
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise ShapeError(f"bottom 0 {a} and bottom 1 {b} do not broadcast") from None
