"""Rectifiers: the positive part of a blob, and a share of the negative one."""

from __future__ import annotations

from math import inf, log, prod
from typing import TypeVar

import numpy as np

from ...caffe_pb2 import FillerParameter, LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...fillers.rng import Rng
from ...types import Array, Shape
from .. import channels
from ..axes import canonical_axis
from ..builder import Builder
from ..labels import Mask
from ..layer import Blob, Layer
from ..registry import layer

_A = TypeVar("_A")


@layer(param="relu_param", inplace=True)
class ReLU(Layer):
    """max(x, 0) + negative_slope min(x, 0) (relu_layer.cpp); no more than 6 with `relu6`.

    relu6 is synopsys-caffe's field.

    NaN: is that of -infinity where negative_slope is 0, as in Caffe; in ONNX and torch it is 0.
    In place: with negative_slope below 0 Caffe reads the sign of the top, not the bottom's.
    """

    @property
    def _most(self) -> np.float32:
        return np.float32(6 if self.p.relu6 else np.inf)

    def forward(self, x: Array) -> Array:
        y = _leak(x, self.p.negative_slope)
        return np.minimum(y, self._most) if self.p.relu6 else y

    def backward(self, dy: Array, x: Array) -> Array:
        dx = dy * _leak_slope(x, self.p.negative_slope)
        return dx * (x < self._most) if self.p.relu6 else dx

    def backward_left(self, dy: Array, x: Array, *, left: Array, y: Array) -> Array:
        return self.backward(dy, left)

    def lower(self, g: Builder, x: str) -> str:
        if self.p.relu6 and not self.p.negative_slope:
            return g.Clip(x, np.float32(0), self._most)
        y = _lower_leak(g, x, self.p.negative_slope)
        return g.Min(y, self._most) if self.p.relu6 else y


@layer(param="prelu_param", inplace=True)
class PReLU(Layer):
    """max(x, 0) + a min(x, 0), a per channel or shared (He et al. 2015, eq. 1; prelu_layer.cpp)."""

    def blobs(self, x: Shape) -> list[Blob]:
        if len(x) < 2:
            raise ShapeError(f"needs a bottom of 2 axes or more, and has {x}")
        start = self.p.filler if self.p.HasField("filler") else _QUARTER
        return [Blob("slope", () if self.p.channel_shared else (x[1],), start)]

    def forward(self, x: Array, slope: Array) -> Array:
        return np.maximum(x, 0) + channels.over(slope, x.ndim) * np.minimum(x, 0)

    def backward(self, dy: Array, x: Array, slope: Array) -> tuple[Array, Array]:
        axes = tuple(i for i in range(x.ndim) if i != 1 or slope.ndim == 0)
        dx = dy * _leak_slope(x, channels.over(slope, x.ndim))
        return dx, np.sum(dy * x * (x <= 0), axis=axes, dtype=dy.dtype)

    def lower(self, g: Builder, x: str, slope: str) -> str:
        shared = self.p.channel_shared
        return g.PRelu(x, g.view(slope, (1,)) if shared else channels.lower_over(g, x, slope))


_QUARTER = FillerParameter(type="constant", value=0.25)


@layer(param="relu6_param", inplace=True)
class ReLU6(Layer):
    """min(max(x, 0) + negative_slope min(x, 0), 6).

    From: chuanqi305/ssd, src/caffe/layers/relu6_layer.cpp (without negative_slope)
    From: eric612/MobileNet-YOLO, src/caffe/layers/relu6_layer.cpp
    """

    def forward(self, x: Array) -> Array:
        y: Array = np.minimum(_leak(x, self.p.negative_slope), np.float32(6))
        return y

    def backward(self, dy: Array, x: Array) -> Array:
        return dy * _leak_slope(x, self.p.negative_slope) * (x < 6)

    def backward_left(self, dy: Array, x: Array, *, left: Array, y: Array) -> Array:
        return self.backward(dy, left)

    def lower(self, g: Builder, x: str) -> str:
        if self.p.negative_slope:
            return g.Min(_lower_leak(g, x, self.p.negative_slope), np.float32(6))
        return g.Clip(x, np.float32(0), np.float32(6))


@layer(param="crelu_param")
class CReLU(Layer):
    """ReLU of x and of -x, joined along concat_axis (Shang et al. 2016, section 2.2).

    negative_slope is as in ReLU.

    From: Cambricon/caffe, src/caffe/layers/crelu_layer.cpp
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        axis = canonical_axis(self.p.concat_axis, len(x))
        return [(*x[:axis], 2 * x[axis], *x[axis + 1 :])]

    def forward(self, x: Array) -> Array:
        return _leak(np.concatenate([x, -x], axis=self.p.concat_axis), self.p.negative_slope)

    def backward(self, dy: Array, x: Array) -> Array:
        plus, minus = np.split(dy, 2, axis=self.p.concat_axis)
        slope = np.float32(self.p.negative_slope)
        return plus * np.where(x > 0, np.float32(1), slope) - minus * np.where(
            x < 0, np.float32(1), slope
        )

    def lower(self, g: Builder, x: str) -> str:
        axis = canonical_axis(self.p.concat_axis, len(g.dims(x)))
        return _lower_leak(g, g.Concat(x, g.Neg(x), axis=axis), self.p.negative_slope)


@layer(param="insanity_param", inplace=True)
class Insanity(Layer):
    """max(x, 0) + min(x, 0) / a, in TEST a = (ub - lb) / ln |ub / lb| (Xu et al. 2015).

    In TRAIN an a between lb and ub is drawn for each element.

    From: happynear/caffe-windows, src/caffe/layers/insanity_layer.cpp
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        low, high = self.p.lb, self.p.ub
        if not -inf < low < high < inf or not low * high:
            raise ShapeError(
                f"lb must be below ub, neither of them 0 or infinite; they are {low:g} and {high:g}"
            )
        if abs(low) == abs(high):
            raise UnsupportedError(f"lb {low:g} and ub {high:g} have no logarithmic mean")
        self._slope = log(abs(high) / abs(low)) / (high - low)

    def shapes(self, x: Shape) -> list[Shape | None]:
        if len(x) < 2:
            raise ShapeError(f"needs a bottom of 2 axes or more, and has {x}")
        return [x]

    def draw(self, rng: Rng, x: Shape) -> dict[str, Array]:
        if not self.train:
            return {}
        return {"a": rng.uniform(self.p.lb, self.p.ub, prod(x)).reshape(x)}

    def forward(self, x: Array, a: Array | None = None) -> Array:
        if not self.train:
            return _leak(x, self._slope)
        y: Array = np.where(x > 0, x, x / self._drawn(a))
        return y

    def backward(self, dy: Array, x: Array, a: Array | None = None) -> Array:
        slope = np.float32(1) / self._drawn(a) if self.train else np.float32(self._slope)
        return dy * np.where(x > 0, np.float32(1), slope)

    def lower(self, g: Builder, x: str, a: str = "") -> str:
        if not self.train:
            return g.LeakyRelu(x, alpha=self._slope)
        zero = np.float32(0)
        return g.Add(g.Max(x, zero), g.Div(g.Min(x, zero), self._drawn(a or None)))

    def _drawn(self, a: _A | None) -> _A:
        if a is None:
            raise UnsupportedError(
                "draws its slopes at random in TRAIN; give them, or select the TEST phase"
            )
        return a


@layer(param="rrelu_param", inplace=True)
class RReLU(Insanity):
    """max(x, 0) + min(x, 0) / a, in TEST a = (ub - lb) / ln |ub / lb|: Insanity's other name.

    From: ducha-aiki/caffe, src/caffe/layers/rrelu_layer.cpp
    """


def _leak(x: Array, slope: float) -> Array:
    y: Array = np.maximum(x, 0)
    if slope or not np.isfinite(x.min(initial=0)):  # 0 times -infinity is NaN
        y += np.float32(slope) * np.minimum(x, 0)
    return y


def _leak_slope(x: Array, slope: float | Array) -> Array | Mask:
    """Return what a gradient is multiplied by: 1 where x is positive, and elsewhere the slope."""
    positive: Mask = x > 0
    return positive + np.asarray(slope, np.float32) * (x <= 0) if np.any(slope) else positive


def _lower_leak(g: Builder, x: str, slope: float) -> str:
    return g.LeakyRelu(x, alpha=slope) if slope else g.Relu(x)
