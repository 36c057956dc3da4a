"""Powers, exponentials and logarithms of a scaled and shifted bottom."""

from __future__ import annotations

import math

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError
from ...types import Array
from ..builder import Builder, int64
from ..layer import Layer
from ..registry import layer


@layer(param="exp_param", inplace=True)
class Exp(Layer):
    """base ^ (scale x + shift); base -1 stands for e (exp_layer.cpp)."""

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        rate = log_base(self.p.base)
        self._inner = np.float32(rate * self.p.scale)
        self._outer = np.exp(np.float32(rate * self.p.shift))

    @np.errstate(over="ignore")
    def forward(self, x: Array) -> Array:
        y: Array = np.exp(self._inner * x) * self._outer
        return y

    @np.errstate(invalid="ignore")
    def backward(self, dy: Array, x: Array) -> Array:
        return dy * self.forward(x) * self._inner

    def backward_left(self, dy: Array, x: Array, *, left: Array, y: Array) -> Array:
        return dy * y * self._inner

    def lower(self, g: Builder, x: str) -> str:
        y = g.Exp(x if self._inner == 1 else g.Mul(x, self._inner))
        return y if self._outer == 1 else g.Mul(y, self._outer)


@layer(param="log_param", inplace=True)
class Log(Layer):
    """log(scale x + shift) to the base; base -1 stands for e (log_layer.cpp).

    In place: Caffe's gradient is the squared slope at the top's value; it overwrites the top's
        gradient before it reads it.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        rate = log_base(self.p.base)
        if rate == 0:
            raise ShapeError("log_param.base 1 has no logarithm to it: 1/log(1) is infinite")
        self._rate = np.float32(1 / rate)
        self._scale, self._shift = np.float32(self.p.scale), np.float32(self.p.shift)

    @np.errstate(divide="ignore", invalid="ignore")
    def forward(self, x: Array) -> Array:
        y: Array = np.log(self._scale * x + self._shift) * self._rate
        return y

    @np.errstate(divide="ignore", invalid="ignore")
    def backward(self, dy: Array, x: Array) -> Array:
        return dy * (self._scale * self._rate / (self._scale * x + self._shift))

    def backward_left(self, dy: Array, x: Array, *, left: Array, y: Array) -> Array:
        slope = self.backward(np.ones_like(dy), left)
        return slope * (slope if y is left else dy)  # in place it overwrites dy before it reads it

    def lower(self, g: Builder, x: str) -> str:
        y = g.Log(_scaled(g, x, self._scale, self._shift))
        return y if self._rate == 1 else g.Mul(y, self._rate)


@layer(param="power_param", inplace=True)
class Power(Layer):
    """(scale x + shift) ^ power (power_layer.cpp).

    In place: Caffe's gradient is the squared slope at the top's value; it overwrites the top's
        gradient before it reads it.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        self._power = np.float32(self.p.power)
        self._scale, self._shift = np.float32(self.p.scale), np.float32(self.p.shift)
        self._slope: np.float32 = self._power * self._scale

    @np.errstate(all="ignore")
    def forward(self, x: Array) -> Array:
        if self._slope == 0:
            return np.full_like(x, np.power(self._shift, self._power))
        y = self._scale * x
        if self._shift != 0:
            y = y + self._shift  # -0 + 0 were 0, and its inverse another infinity
        return y if self._power == 1 else np.power(y, self._power)

    def backward(self, dy: Array, x: Array) -> Array:
        return dy * self._derivative(x, self.forward(x))

    def backward_left(self, dy: Array, x: Array, *, left: Array, y: Array) -> Array:
        slope = self._derivative(left, y)
        if y is left and self._slope != 0:
            return slope * slope  # in place it overwrites dy before it reads it
        return dy * slope

    @np.errstate(all="ignore")
    def _derivative(self, x: Array, y: Array) -> Array:
        """Return Caffe's: the top by the bottom, NaN where scale x + shift is 0, for any power."""
        if self._slope == 0 or self._power == 1:
            return np.full_like(x, self._slope)
        if self._power == 2:
            return self._slope * (self._scale * x + self._shift)
        if self._shift == 0:
            return self._power * (y / x)
        return self._slope * (y / (self._scale * x + self._shift))

    @np.errstate(all="ignore")
    def lower(self, g: Builder, x: str) -> str:
        if self._slope == 0:
            size = g.Shape(x) if None in g.dims(x) else int64(*g.shape(x))
            value = np.power(self._shift, self._power).reshape(1)
            return g.ConstantOfShape(size, value=value)
        y = _scaled(g, x, self._scale, self._shift)
        return y if self._power == 1 else g.Pow(y, self._power)


def log_base(base: float) -> float:
    """Return the natural logarithm of exp_param's or log_param's base; -1 means e.

    Raises:
        ShapeError: the base is not a finite number above 0.
    """
    if base == -1:
        return 1.0
    if not 0 < base < math.inf:
        raise ShapeError(f"base must be positive and finite, or -1 for e; it is {base:g}")
    return math.log(base)


def _scaled(g: Builder, x: str, scale: np.float32, shift: np.float32) -> str:
    """Write scale x + shift without a factor of 1 or a summand of 0."""
    x = x if scale == 1 else g.Mul(x, scale)
    return x if shift == 0 else g.Add(x, shift)
