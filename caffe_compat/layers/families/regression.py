"""Losses of numbers beside numbers."""

from __future__ import annotations

from math import prod

import numpy as np

from ...errors import ShapeError
from ...types import Array, Shape
from .. import labels
from ..builder import Builder, int64
from ..layer import Layer
from ..registry import layer


@layer(bottoms=2, loss=True)
class EuclideanLoss(Layer):
    """sum (a - b)^2 / (2 N) (euclidean_loss_layer.cpp)."""

    def shapes(self, a: Shape, b: Shape) -> list[Shape | None]:
        labels.check_same_batch(a, b)
        labels.check_legacy(a)
        if prod(a[1:]) != prod(b[1:]):
            raise ShapeError(f"inputs must have the same dimension: {a} and {b}")
        return [()]

    def allows_force_backward(self, bottom: int) -> bool:
        return True

    def forward(self, a: Array, b: Array) -> Array:
        d = a - b.reshape(a.shape)
        return np.asarray(np.sum(d * d) / len(a) / 2, np.float32)

    def backward(self, dy: Array, a: Array, b: Array) -> tuple[Array, Array]:
        d = (a - b.reshape(a.shape)) * np.float32(dy / len(a))
        return d, -d.reshape(b.shape)

    def lower(self, g: Builder, a: str, b: str) -> str:
        return g.Mul(g.ReduceMean(lower_distance(g, a, b), keepdims=0), np.float32(0.5))


def lower_distance(g: Builder, a: str, b: str) -> str:
    """Write the squared distance of every pair in two batches, along one axis."""
    if g.dims(a) == g.dims(b) and len(g.dims(a)) > 1:
        d = g.Sub(a, b)
    else:
        d = g.Sub(g.Flatten(a, axis=1), g.Flatten(b, axis=1))
    rank = len(g.dims(a)) if g.dims(a) == g.dims(b) else 2
    return g.ReduceSumSquare(d, int64(*range(1, max(2, rank))), keepdims=0)


@layer(param="smooth_l1_loss_param", bottoms=(2, 4), loss=True)
class SmoothL1Loss(Layer):
    """sum f(a - b) / N, f(d) = (sigma d)^2 / 2 where |d| < 1 / sigma^2, else |d| - 1/2 / sigma^2.

    From: weiliu89/caffe, branch ssd, smooth_L1_loss_layer.cpp

    From: rbgirshick/caffe-fast-rcnn, smooth_L1_loss_layer.cu: weights and sigma

    Girshick 2015, eq. 3. A third bottom multiplies a - b, a fourth f. The gradient is multiplied by
    both if there are both, and by a third alone not again, as in Fast R-CNN.
    """

    @property
    def approximate(self) -> bool:
        return len(self.proto.bottom) == 3

    def shapes(self, *x: Shape) -> list[Shape | None]:
        labels.check_same_batch(*x[:2])
        labels.check_legacy(*x)
        if any((*x[0], 1, 1, 1)[1:4] != (*other, 1, 1, 1)[1:4] for other in x[1:]):
            raise ShapeError(f"inputs must have the same dimension: {' and '.join(map(str, x))}")
        if self.p.sigma <= 0:
            raise ShapeError(f"sigma must be positive, and is {self.p.sigma:g}")
        return [()]

    def allows_force_backward(self, bottom: int) -> bool:
        return True

    def _difference(self, *x: Array) -> tuple[Array, Array | None, Array | None]:
        """Return the weighted difference, and the weights in its shape."""
        a, b, *weights = x
        inner, outer = ([w.reshape(a.shape) for w in weights] + [None, None])[:2]
        d = a - b.reshape(a.shape)
        return d if inner is None else inner * d, inner, outer

    @property
    def _square(self) -> np.float32:
        return np.float32(self.p.sigma) ** 2

    def forward(self, *x: Array) -> Array:
        d, _, outer = self._difference(*x)
        size, square = np.abs(d), self._square
        errors = np.where(size < 1 / square, d * d * (square / 2), size - 1 / (2 * square))
        errors = errors if outer is None else outer * errors
        return np.asarray(np.sum(errors) / len(x[0]), np.float32)

    def backward(self, dy: Array, *x: Array) -> tuple[Array | None, ...]:
        d, inner, outer = self._difference(*x)
        flow = np.clip(self._square * d, -1, 1) * np.float32(dy / len(x[0]))
        if inner is not None and outer is not None:
            flow = flow * inner * outer
        return (flow, -flow.reshape(x[1].shape), *(None for _ in x[2:]))

    def lower(self, g: Builder, *x: str) -> str:
        same = len({g.dims(name) for name in x}) == 1 and len(g.dims(x[0])) > 1
        parts = [*x] if same else [g.Flatten(name, axis=1) for name in x]
        d, square = g.Sub(parts[0], parts[1]), self._square
        if len(parts) > 2:
            d = g.Mul(d, parts[2])
        size = g.Abs(d)
        inside = g.Mul(g.Mul(size, size), square / np.float32(2))
        outside = g.Sub(size, 1 / (2 * square))
        losses = g.Where(g.Less(size, 1 / square), inside, outside)
        if len(parts) > 3:
            losses = g.Mul(losses, parts[3])
        rank = len(g.dims(x[0])) if same else 2
        return g.ReduceMean(g.ReduceSum(losses, int64(*range(1, rank)), keepdims=0), keepdims=0)


@layer(bottoms=2, loss=True)
class L1Loss(Layer):
    """sum |a - b| / N.

    From: Zheng222/IDN-Caffe, train/src/caffe/layers/l1_loss_layer.cpp
    """

    def shapes(self, a: Shape, b: Shape) -> list[Shape | None]:
        labels.check_same_batch(a, b)
        if prod(a) != prod(b):
            raise ShapeError(f"inputs must have the same count: {a} and {b}")
        return [()]

    def forward(self, a: Array, b: Array) -> Array:
        return np.asarray(np.sum(np.abs(a - b.reshape(a.shape))) / len(a), np.float32)

    def backward(self, dy: Array, a: Array, b: Array) -> tuple[Array, Array]:
        d = np.sign(a - b.reshape(a.shape)) * np.float32(dy / len(a))
        return d, -d.reshape(b.shape)

    def lower(self, g: Builder, a: str, b: str) -> str:
        same = g.dims(a) == g.dims(b) and len(g.dims(a)) > 1
        d = g.Sub(a, b) if same else g.Sub(g.Flatten(a, axis=1), g.Flatten(b, axis=1))
        rank = len(g.dims(a)) if same else 2
        sums = g.ReduceSum(g.Abs(d), int64(*range(1, rank)), keepdims=0)
        return g.ReduceMean(sums, keepdims=0)
