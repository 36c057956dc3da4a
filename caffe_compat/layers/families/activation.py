"""Elementwise activations.

All but AbsVal may run in place, as in Caffe.
"""

from __future__ import annotations

import numpy as np

from ...types import Array
from ..builder import FLOAT, Builder
from ..layer import Layer
from ..registry import layer


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
    """log(1 + exp(x)), the binomial normal log likelihood (bnll_layer.cpp).

    In place: Caffe's gradient is that at the top's value, exp(y) / (exp(y) + 1).
    """

    def forward(self, x: Array) -> Array:
        return _softplus(x)

    def backward(self, dy: Array, x: Array) -> Array:
        grown: Array = np.exp(np.minimum(x, np.float32(50)))  # Caffe's kBNLL_THRESHOLD
        return dy * grown / (grown + 1)

    def backward_left(self, dy: Array, x: Array, *, left: Array, y: Array) -> Array:
        return self.backward(dy, left)

    def lower(self, g: Builder, x: str) -> str:
        return g.Softplus(x)


@layer(param="clip_param", inplace=True)
class Clip(Layer):
    """max(min(x, max), min) (clip_layer.cpp).

    NaN: `min`, as in Caffe; in ONNX and torch NaN.
    In place: Caffe finds every value within the limits, and passes the whole gradient on.
    """

    def forward(self, x: Array) -> Array:
        low, high = np.float32(self.p.min), np.float32(self.p.max)
        y: Array = np.fmax(np.minimum(x, high), low)
        return y

    def backward(self, dy: Array, x: Array) -> Array:
        within: Array = ((x >= self.p.min) & (x <= self.p.max)).astype(np.float32)
        return dy * within

    def backward_left(self, dy: Array, x: Array, *, left: Array, y: Array) -> Array:
        return self.backward(dy, left)

    def lower(self, g: Builder, x: str) -> str:
        low, high = np.float32(self.p.min), np.float32(self.p.max)
        return g.Clip(x, low, max(low, high))  # with min > max Caffe returns min, and ONNX max


@layer(param="elu_param", inplace=True)
class ELU(Layer):
    """x where x > 0, else alpha (exp(x) - 1) (Clevert et al. 2016, eq. 15; elu_layer.cpp).

    In place: with alpha below 0 Caffe reads the sign of the top, not the bottom's.
    """

    def forward(self, x: Array) -> Array:
        below: Array = np.float32(self.p.alpha) * (np.exp(np.minimum(x, 0)) - np.float32(1))
        return np.maximum(x, 0) + below

    def backward(self, dy: Array, x: Array) -> Array:
        alpha = np.float32(self.p.alpha)
        return dy * np.where(x > 0, np.float32(1), alpha + self.forward(x))

    def backward_left(self, dy: Array, x: Array, *, left: Array, y: Array) -> Array:
        return dy * np.where(left > 0, np.float32(1), np.float32(self.p.alpha) + y)

    def lower(self, g: Builder, x: str) -> str:
        return g.Elu(x, alpha=self.p.alpha)


@layer(inplace=True)
class HardSwish(Layer):
    """x min(max(x + 3, 0), 6) / 6 (Howard et al. 2019, section 5.2).

    inisis/caffe's is another, x min(max(x / 5 + 1/2, 0), 1), and is not supported.

    In place: the forks' gradient is that at the top's value.

    From: Zeitzmz/micronet-caffe, src/caffe/layers/hard_swish_layer.cpp
    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe, src/caffe/layers/hard_swish_layer.cpp
    """

    def forward(self, x: Array) -> Array:
        y: Array = x * np.clip(x + np.float32(3), 0, 6) / np.float32(6)
        return y

    def backward(self, dy: Array, x: Array) -> Array:
        inner = (2 * x + 3) / np.float32(6)
        return dy * np.where(x < -3, np.float32(0), np.where(x > 3, np.float32(1), inner))

    def backward_left(self, dy: Array, x: Array, *, left: Array, y: Array) -> Array:
        return self.backward(dy, left)

    def lower(self, g: Builder, x: str) -> str:
        return g.HardSwish(x)


@layer(inplace=True)
class Mish(Layer):
    """x tanh(ln(1 + exp(x))) (Misra 2020, eq. 1).

    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe, src/caffe/layers/mish_layer.cpp
    From: sophgo/caffe, src/caffe/layers/mish_layer.cpp. Both forks' backward pass takes the top for
        the bottom; here it is the derivative.
    """

    def forward(self, x: Array) -> Array:
        return x * np.tanh(_softplus(x))

    def backward(self, dy: Array, x: Array) -> Array:
        gate, sigmoid = np.tanh(_softplus(x)), np.exp(-_softplus(-x))
        dx: Array = dy * (gate + x * (1 - gate * gate) * sigmoid)
        return dx

    def lower(self, g: Builder, x: str) -> str:
        return g.Mish(x)


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)) by tanh in double precision (sigmoid_layer.cpp)."""
    return (0.5 * np.tanh(0.5 * x.astype(np.float64)) + 0.5).astype(np.float32)


@layer(inplace=True)
class Sigmoid(Layer):
    """1 / (1 + exp(-x)) (sigmoid_layer.cpp)."""

    def forward(self, x: Array) -> Array:
        return sigmoid(x)

    def backward(self, dy: Array, x: Array) -> Array:
        y = sigmoid(x)
        return dy * y * (1 - y)

    def backward_left(self, dy: Array, x: Array, *, left: Array, y: Array) -> Array:
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

    def backward_left(self, dy: Array, x: Array, *, left: Array, y: Array) -> Array:
        beta = np.float32(self.p.beta)
        return dy * (beta * y + sigmoid(beta * x) * (1 - beta * y))

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

    def backward_left(self, dy: Array, x: Array, *, left: Array, y: Array) -> Array:
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


def _softplus(x: Array) -> Array:
    y: Array = np.logaddexp(x, np.float32(0))
    return y
