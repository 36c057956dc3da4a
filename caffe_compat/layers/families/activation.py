"""Elementwise activations, and Dropout, which in TEST does nothing.

All but AbsVal may run in place, as Caffe's may; the gradient is then still the true one, taken
from the bottom's own values, where Caffe's Log, Power, BNLL and Clip would read overwritten ones.
"""

from __future__ import annotations

import numpy as np

from ...caffe_pb2 import FillerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import FLOAT, Builder
from ..layer import Blob, Layer, layer


@layer()
class AbsVal(Layer):
    """|x| (absval_layer.cpp)."""

    def forward(self, x: Array) -> Array:
        return np.abs(x)

    def backward(self, dy: Array, x: Array) -> Array:
        return dy * np.sign(x)

    def lower(self, g: Builder, x: str) -> str:
        return g.Abs(x)


@layer(inplace=True)
class BNLL(Layer):
    """log(1 + exp(x)), the binomial normal log likelihood (bnll_layer.cpp)."""

    def forward(self, x: Array) -> Array:
        y: Array = np.logaddexp(x, np.float32(0))
        return y

    def backward(self, dy: Array, x: Array) -> Array:
        grown: Array = np.exp(np.minimum(x, np.float32(50)))  # Caffe's kBNLL_THRESHOLD
        return dy * grown / (grown + 1)

    def lower(self, g: Builder, x: str) -> str:
        return g.Softplus(x)


@layer(param="clip_param", inplace=True)
class Clip(Layer):
    """max(min(x, max), min) (clip_layer.cpp)."""

    def forward(self, x: Array) -> Array:
        low, high = np.float32(self.p.min), np.float32(self.p.max)
        y: Array = np.maximum(np.minimum(x, high), low)
        return y

    def backward(self, dy: Array, x: Array) -> Array:
        within: Array = ((x >= self.p.min) & (x <= self.p.max)).astype(np.float32)
        return dy * within

    def lower(self, g: Builder, x: str) -> str:
        low, high = np.float32(self.p.min), np.float32(self.p.max)
        if low > high:  # Caffe gives min, and ONNX's Clip gives max
            return g.Max(g.Min(x, high), low)
        return g.Clip(x, low, high)


@layer(param="dropout_param", inplace=True)
class Dropout(Layer):
    """x in TEST: TRAIN already scales what it keeps by 1 / (1 - ratio) (dropout_layer.cpp).

    Refused: TRAIN, whose result is random.
    """

    def shares(self, *x: Shape) -> bool:
        return not self.train and self.proto.top[:1] == self.proto.bottom[:1]

    def forward(self, x: Array) -> Array:
        self._check_phase()
        return x

    def backward(self, dy: Array, x: Array) -> Array:
        self._check_phase()
        return dy

    def lower(self, g: Builder, x: str) -> str:
        self._check_phase()
        return x

    def _check_phase(self) -> None:
        if self.train:
            raise UnsupportedError(
                f"drops at random in TRAIN (dropout_ratio {self.p.dropout_ratio:g}); "
                "select the TEST phase"
            )


@layer(param="dropout_param", inplace=True)
class SpatialDropout(Dropout):
    """x in TEST: TRAIN, which drops whole channels, already scales what it keeps.

    From: intel/caffe, src/caffe/layers/spatial_dropout_layer.cpp
    Refused: TRAIN, whose result is random.
    """


@layer(param="elu_param", inplace=True)
class ELU(Layer):
    """x where x > 0, else alpha (exp(x) - 1) (Clevert et al. 2016, eq. 15; elu_layer.cpp)."""

    def forward(self, x: Array) -> Array:
        below = np.float32(self.p.alpha) * np.expm1(np.minimum(x, 0))
        return np.maximum(x, 0) + below

    def backward(self, dy: Array, x: Array) -> Array:
        alpha = np.float32(self.p.alpha)
        return dy * np.where(x > 0, np.float32(1), alpha + self.forward(x))

    def lower(self, g: Builder, x: str) -> str:
        return g.Elu(x, alpha=self.p.alpha)


@layer(param="prelu_param", inplace=True)
class PReLU(Layer):
    """max(x, 0) + a min(x, 0), a per channel or shared (He et al. 2015, eq. 1; prelu_layer.cpp)."""

    def blobs(self, x: Shape) -> list[Blob]:
        if not 2 <= len(x) <= 4:
            raise ShapeError(f"needs a bottom of 2 to 4 axes, and has {x}")
        start = self.p.filler if self.p.HasField("filler") else _QUARTER
        return [Blob("slope", () if self.p.channel_shared else (x[1],), start)]

    def forward(self, x: Array, slope: Array) -> Array:
        return np.maximum(x, 0) + _by_channel(slope, x.ndim) * np.minimum(x, 0)

    def backward(self, dy: Array, x: Array, slope: Array) -> tuple[Array, Array]:
        negative = x <= 0
        dx = np.where(negative, _by_channel(slope, x.ndim), np.float32(1)) * dy
        axes = tuple(i for i in range(x.ndim) if i != 1 or slope.ndim == 0)
        return dx, np.sum(dy * x * negative, axis=axes, dtype=dy.dtype)

    def lower(self, g: Builder, x: str, slope: str) -> str:
        rank = len(g.dims(x))
        if self.p.channel_shared:
            return g.PRelu(x, g.view(slope, (1,)))
        return g.PRelu(x, g.view(slope, (g.fixed(x, 1), *(1,) * (rank - 2))))


_QUARTER = FillerParameter(type="constant", value=0.25)


def _by_channel(slope: Array, rank: int) -> Array:
    """The slope in a form that broadcasts against (N, C, ...)."""
    return slope.reshape((-1,) + (1,) * (rank - 2)) if slope.ndim else slope


@layer(param="relu_param", inplace=True)
class ReLU(Layer):
    """max(x, 0) + negative_slope min(x, 0) (relu_layer.cpp)."""

    def forward(self, x: Array) -> Array:
        return np.maximum(x, 0) + np.float32(self.p.negative_slope) * np.minimum(x, 0)

    def backward(self, dy: Array, x: Array) -> Array:
        return dy * np.where(x > 0, np.float32(1), np.float32(self.p.negative_slope))

    def lower(self, g: Builder, x: str) -> str:
        slope = self.p.negative_slope
        return g.LeakyRelu(x, alpha=slope) if slope else g.Relu(x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), by tanh in double precision as Caffe has it (sigmoid_layer.cpp)."""
    return (0.5 * np.tanh(0.5 * x.astype(np.float64)) + 0.5).astype(np.float32)


@layer(inplace=True)
class Sigmoid(Layer):
    """1 / (1 + exp(-x)) (sigmoid_layer.cpp)."""

    def forward(self, x: Array) -> Array:
        return sigmoid(x)

    def backward(self, dy: Array, x: Array) -> Array:
        y = sigmoid(x)
        return dy * y * (1 - y)

    def lower(self, g: Builder, x: str) -> str:
        return g.Sigmoid(x)


@layer(param="swish_param", inplace=True)
class Swish(Layer):
    """x sigmoid(beta x) (Ramachandran et al. 2017, section 4; swish_layer.cpp)."""

    def forward(self, x: Array) -> Array:
        return x * sigmoid(np.float32(self.p.beta) * x)

    def backward(self, dy: Array, x: Array) -> Array:
        beta = np.float32(self.p.beta)
        gate = sigmoid(beta * x)
        return dy * (gate + beta * x * gate * (1 - gate))

    def lower(self, g: Builder, x: str) -> str:
        beta = np.float32(self.p.beta)
        return g.Mul(x, g.Sigmoid(x if beta == 1 else g.Mul(x, beta)))


@layer(inplace=True)
class TanH(Layer):
    """tanh(x) (tanh_layer.cpp)."""

    def forward(self, x: Array) -> Array:
        return np.tanh(x)

    def backward(self, dy: Array, x: Array) -> Array:
        y: Array = np.tanh(x)
        return dy * (1 - y * y)

    def lower(self, g: Builder, x: str) -> str:
        return g.Tanh(x)


@layer(param="threshold_param", inplace=True)
class Threshold(Layer):
    """1 where x > threshold, else 0; no gradient (threshold_layer.cpp)."""

    def forward(self, x: Array) -> Array:
        above: Array = (x > np.float32(self.p.threshold)).astype(np.float32)
        return above

    def lower(self, g: Builder, x: str) -> str:
        return g.Cast(g.Greater(x, np.float32(self.p.threshold)), to=FLOAT)
