"""Sets of images, one set a batch, of Quality Aware Networks (Liu et al. 2017)."""

from __future__ import annotations

import numpy as np

from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Layer, layer


@layer(param="batch_pool_param", bottoms=(1, 2))
class BatchPool(Layer):
    """The mean or the max over the batch; with a second bottom, the sum by its weights.

    From: liuyuisanai/CaffeMex_v2, src/caffe/layers/batch_pool_layer.cpp (by reading alone)
    NaN: never the max, in numpy.
    Refused: STOCHASTIC, as in the fork.
    """

    @property
    def approximate(self) -> bool:
        """Whether it is a mean: the fork's gradient of it is multiplied by the batch."""
        return len(self.proto.bottom) == 1 and not self._is_max

    @property
    def _is_max(self) -> bool:
        return bool(self.p.pool == self.p.MAX)

    def shapes(self, x: Shape, *weights: Shape) -> list[Shape | None]:
        if self.p.pool == self.p.STOCHASTIC and not weights:
            raise UnsupportedError("does not support pool STOCHASTIC, nor does its fork")
        if weights and np.prod(weights[0]) != x[0]:
            raise ShapeError(f"needs a weight for each of {x[0]} images, and has {weights[0]}")
        return [(1, *x[1:])]

    def forward(self, x: Array, *weights: Array) -> Array:
        if weights:
            return np.asarray(np.tensordot(weights[0].ravel(), x, 1)[None], np.float32)
        pooled: Array = np.fmax.reduce(x, axis=0) if self._is_max else x.mean(axis=0)
        return pooled[None]

    def backward(self, dy: Array, x: Array, *weights: Array) -> tuple[Array, ...]:
        if weights:
            by_image = np.sum(x * dy, axis=tuple(range(1, x.ndim)))
            column = weights[0].reshape(-1, *(1,) * (x.ndim - 1))
            return column * dy, by_image.reshape(weights[0].shape)
        if not self._is_max:
            return (np.broadcast_to(dy * np.float32(len(x)), x.shape),)
        first = np.nan_to_num(x, nan=-np.inf).argmax(axis=0)
        return (dy * (np.arange(len(x)).reshape(-1, *(1,) * (x.ndim - 1)) == first),)

    def lower(self, g: Builder, x: str, *weights: str) -> str:
        if weights:
            column = g.Reshape(weights[0], int64(-1, *[1] * (len(g.dims(x)) - 1)))
            return g.ReduceSum(g.Mul(x, column), int64(0))
        return (g.ReduceMax if self._is_max else g.ReduceMean)(x, int64(0))


@layer("Normalization", fork="CaffeMex_v2", fields=("norm",), param="normalization_param")
class BatchShare(Layer):
    """x / sum |x| over the batch, of one number an image.

    From: liuyuisanai/CaffeMex_v2, src/caffe/layers/normalization_layer.cpp (by reading alone)
    Refused: several numbers an image, of which the fork computes only the first ones.
    """

    approximate = True  # the fork's gradient takes every number for positive

    def shapes(self, x: Shape) -> list[Shape | None]:
        if np.prod(x[1:]) != 1:
            raise UnsupportedError(f"norm: L1 needs one number an image, and has {x}")
        return [x]

    def forward(self, x: Array) -> Array:
        y: Array = x / np.abs(x).sum()
        return y

    def backward(self, dy: Array, x: Array) -> Array:
        total = np.abs(x).sum()
        dx: Array = (dy - np.sum(dy * x) / total) / total
        return dx

    def lower(self, g: Builder, x: str) -> str:
        return g.Div(x, g.ReduceSum(g.Abs(x), int64(0)))
