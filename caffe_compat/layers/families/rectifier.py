"""Rectifiers, and the gates near them, that forks added."""

from __future__ import annotations

from math import inf, log

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder
from ..layer import Layer, canonical_axis, layer


def _leak(x: Array, slope: float) -> Array:
    y: Array = np.maximum(x, 0) + np.float32(slope) * np.minimum(x, 0)
    return y


def _softplus(x: Array) -> Array:
    y: Array = np.logaddexp(x, np.float32(0))
    return y


def _lower_leak(g: Builder, x: str, slope: float) -> str:
    return g.LeakyRelu(x, alpha=slope) if slope else g.Relu(x)


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
        slope = np.where(x > 0, np.float32(1), np.float32(self.p.negative_slope))
        return dy * slope * (x < 6)

    def lower(self, g: Builder, x: str) -> str:
        if self.p.negative_slope:
            return g.Min(_lower_leak(g, x, self.p.negative_slope), np.float32(6))
        return g.Clip(x, np.float32(0), np.float32(6))


@layer(param="crelu_param")
class CReLU(Layer):
    """ReLU of x and of -x, joined along concat_axis (Shang et al. 2016, section 2.2).

    negative_slope as ReLU has it.

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
    """max(x, 0) + min(x, 0) / a, a = (ub - lb) / ln |ub / lb| (Xu et al. 2015, in TEST).

    From: happynear/caffe-windows, src/caffe/layers/insanity_layer.cpp
    Refused: TRAIN, which draws a from lb..ub at random.
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
        if self.train:
            raise UnsupportedError("draws its slopes at random in TRAIN; select the TEST phase")
        self._slope = log(abs(high) / abs(low)) / (high - low)

    def shapes(self, x: Shape) -> list[Shape | None]:
        if len(x) < 2:
            raise ShapeError(f"needs a bottom of 2 axes or more, and has {x}")
        return [x]

    def forward(self, x: Array) -> Array:
        return _leak(x, self._slope)

    def backward(self, dy: Array, x: Array) -> Array:
        return dy * np.where(x > 0, np.float32(1), np.float32(self._slope))

    def lower(self, g: Builder, x: str) -> str:
        return g.LeakyRelu(x, alpha=self._slope)


@layer(param="rrelu_param", inplace=True)
class RReLU(Insanity):
    """max(x, 0) + min(x, 0) / a, a = (ub - lb) / ln |ub / lb|: Insanity under another name.

    From: ducha-aiki/caffe, src/caffe/layers/rrelu_layer.cpp
    Refused: TRAIN, which draws a from lb..ub at random.
    """


@layer(inplace=True)
class HardSwish(Layer):
    """x min(max(x + 3, 0), 6) / 6 (Howard et al. 2019, section 5.2).

    inisis/caffe has another, x min(max(x / 5 + 1/2, 0), 1), which is not taken for it.

    From: Zeitzmz/micronet-caffe, src/caffe/layers/hard_swish_layer.cpp
    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe, src/caffe/layers/hard_swish_layer.cpp
    """

    def forward(self, x: Array) -> Array:
        y: Array = x * np.clip(x + np.float32(3), 0, 6) / np.float32(6)
        return y

    def backward(self, dy: Array, x: Array) -> Array:
        inner = (2 * x + 3) / np.float32(6)
        return dy * np.where(x < -3, np.float32(0), np.where(x > 3, np.float32(1), inner))

    def lower(self, g: Builder, x: str) -> str:
        return g.HardSwish(x)


@layer(inplace=True)
class Mish(Layer):
    """x tanh(ln(1 + exp(x))) (Misra 2020, eq. 1).

    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe, src/caffe/layers/mish_layer.cpp
    From: sophgo/caffe, src/caffe/layers/mish_layer.cpp
    """

    def forward(self, x: Array) -> Array:
        return x * np.tanh(_softplus(x))

    def backward(self, dy: Array, x: Array) -> Array:
        gate, sigmoid = np.tanh(_softplus(x)), np.exp(-_softplus(-x))
        dx: Array = dy * (gate + x * (1 - gate * gate) * sigmoid)
        return dx

    def lower(self, g: Builder, x: str) -> str:
        return g.Mish(x)
