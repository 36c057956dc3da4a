"""Normalisation by a neighbourhood, or by an image."""

from __future__ import annotations

import numpy as np

from ...caffe_pb2 import LayerParameter, LRNParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Layer
from ..registry import layer


@layer(param="lrn_param")
class LRN(Layer):
    """x / (k + alpha mean(x^2))^beta over a window (Krizhevsky et al. 2012; lrn_layer.cpp).

    The window is local_size channels, or local_size x local_size pixels WITHIN_CHANNEL, where Caffe
    does not read k and uses 1. Zeros beyond the edge count.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        within = self.p.norm_region == LRNParameter.WITHIN_CHANNEL
        self._axes = (2, 3) if within else (1,)
        self._size: int = self.p.local_size
        self._k = np.float32(1 if within else self.p.k)
        self._alpha, self._beta = np.float32(self.p.alpha), np.float32(self.p.beta)

    def refuse_within(self) -> None:
        """Raise UnsupportedError for a window of pixels, which a fork lacks."""
        if self.p.norm_region == LRNParameter.WITHIN_CHANNEL:
            raise UnsupportedError("supports norm_region ACROSS_CHANNELS alone")

    def shapes(self, x: Shape) -> list[Shape | None]:
        if self._size % 2 == 0:
            raise ShapeError(f"local_size must be odd, and is {self._size}")
        if len(x) != 4:
            raise ShapeError(f"needs a bottom of 4 axes, and has {x}")
        return [x]

    def forward(self, x: Array) -> Array:
        return x * np.power(self._norm(x), -self._beta)

    def backward(self, dy: Array, x: Array) -> Array:
        norm = self._norm(x)
        power = np.power(norm, -self._beta)
        spread = self._mean(dy * x * power / norm)
        return dy * power - 2 * self._alpha * self._beta * x * spread

    def _norm(self, x: Array) -> Array:
        return self._k + self._alpha * self._mean(x * x)

    def _mean(self, x: Array) -> Array:
        """Return the mean over the window around each element, with zeros beyond the edge."""
        for axis in self._axes:
            x = _window_sum(x, self._size, axis) / np.float32(self._size)
        return x

    def backward_left(self, dy: Array, x: Array, *, left: Array, y: Array) -> Array:
        if len(self._axes) > 1:  # WITHIN_CHANNEL is a net of layers, which keep what they need
            return self.backward(dy, x)
        norm = self._norm(x)
        spread = self._mean(dy * y / norm)
        return dy * np.power(norm, -self._beta) - 2 * self._alpha * self._beta * x * spread

    def lower(self, g: Builder, x: str) -> str:
        p = self.p
        # Outside these bounds onnxruntime (alpha, beta) or cuDNN (the rest) has no LRN.
        native = p.alpha > 0 and p.beta >= 0.01 and p.k >= 1e-5 and self._size <= 16
        if len(self._axes) == 1 and native:
            return g.LRN(x, size=self._size, alpha=p.alpha, beta=p.beta, bias=p.k)
        scaled = g.Mul(self._lower_mean(g, g.Mul(x, x)), self._alpha)
        return g.Mul(x, g.Pow(g.Add(scaled, self._k), -self._beta))

    def _lower_mean(self, g: Builder, x: str) -> str:
        half, across = self._size // 2, len(self._axes) == 1
        kernel = [self._size, 1, 1] if across else [self._size] * 2
        pads = [half, 0, 0] * 2 if across else [half] * 4
        one = int64(1)
        x = g.Unsqueeze(x, one) if across else x
        mean = g.AveragePool(x, kernel_shape=kernel, pads=pads, count_include_pad=1)
        return g.Squeeze(mean, one) if across else mean


def _window_sum(x: Array, size: int, axis: int) -> Array:
    """Return the sum over the `size` (odd) neighbours of each element along an axis."""
    x = np.moveaxis(x, axis, 0)
    total = x.copy()
    for step in range(1, min(size // 2, len(x) - 1) + 1):
        total[step:] += x[:-step]
        total[:-step] += x[step:]
    return np.moveaxis(total, 0, axis)


@layer(param="mvn_param", inplace=True)
class MVN(Layer):
    """(x - mean) / (standard deviation + eps) of a channel or an image (mvn_layer.cpp).

    The top always has 4 axes, with ones appended; normalize_variance: false keeps the deviation.

    In place: with normalize_variance Caffe overwrites the top's gradient before it reads it again.
    """

    @property
    def approximate(self) -> bool:
        return bool(self.p.normalize_variance)

    def shapes(self, x: Shape) -> list[Shape | None]:
        if len(x) > 4:
            raise ShapeError(f"needs a bottom of at most 4 axes, and has {x}")
        return [x + (1,) * (4 - len(x))]

    @property
    def _axes(self) -> tuple[int, ...]:
        return (1, 2, 3) if self.p.across_channels else (2, 3)

    def _split(self, x: Array) -> tuple[Array, Array]:
        """Return the bottom less its mean, with 4 axes, and its divisor."""
        x = x.reshape(x.shape + (1,) * (4 - x.ndim))
        centred = x - np.mean(x, axis=self._axes, keepdims=True)
        if not self.p.normalize_variance:
            return centred, np.ones((1, 1, 1, 1), np.float32)
        variance = np.mean(centred * centred, axis=self._axes, keepdims=True)
        return centred, np.sqrt(variance) + np.float32(self.p.eps)

    @np.errstate(divide="ignore", invalid="ignore")
    def forward(self, x: Array) -> Array:
        centred, scale = self._split(x)
        return centred / scale

    @np.errstate(divide="ignore", invalid="ignore")
    def backward(self, dy: Array, x: Array) -> Array:
        centred, scale = self._split(x)
        dx: Array = dy - np.mean(dy, axis=self._axes, keepdims=True)
        if self.p.normalize_variance:  # Caffe's, as if eps were inside the root
            y = centred / scale
            dx = (dx - y * np.mean(dy * y, axis=self._axes, keepdims=True)) / scale
        return dx.reshape(x.shape)

    @np.errstate(divide="ignore", invalid="ignore")
    def backward_left(self, dy: Array, x: Array, *, left: Array, y: Array) -> Array:
        if not self.p.normalize_variance:
            return self.backward(dy, x)
        _, scale = self._split(x)
        if y is left:  # in place it overwrites dy before it reads it again
            along = y * np.sum(dy * y, axis=self._axes, keepdims=True)
            along = along + np.sum(along, axis=self._axes, keepdims=True)
            count = np.prod([y.shape[axis] for axis in self._axes])
            flow: Array = along * np.float32(-2 / count) / scale
            return flow.reshape(x.shape)
        along = y * np.mean(dy * y, axis=self._axes, keepdims=True)
        dx: Array = (dy - np.mean(dy, axis=self._axes, keepdims=True) - along) / scale
        return dx.reshape(x.shape)

    def lower(self, g: Builder, x: str) -> str:
        rank = len(g.dims(x))
        axes = int64(*self._axes)
        x = x if rank == 4 else g.Unsqueeze(x, int64(*range(rank, 4)))
        centred = g.Sub(x, g.ReduceMean(x, axes))
        if not self.p.normalize_variance:
            return centred
        deviation = g.Sqrt(g.ReduceMean(g.Mul(centred, centred), axes))
        return g.Div(centred, g.Add(deviation, np.float32(self.p.eps)))
