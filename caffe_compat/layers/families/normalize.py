"""Vectors scaled to a length that is learned (SSD's Normalize)."""

from __future__ import annotations

import numpy as np

from ...caffe_pb2 import FillerParameter
from ...errors import ShapeError
from ...types import Array, Shape
from .. import channels
from ..builder import Builder, int64
from ..layer import Blob, Layer
from ..registry import layer


@layer(param="norm_param", inplace=True)
class Normalize(Layer):
    """scale x / sqrt(eps + sum of squares) (Liu et al. 2016, 3.1).

    From: weiliu89/caffe, branch ssd, normalize_layer.cpp

    The sum is over each image, or with across_spatial: false over the channels of each pixel. There
    is one scale, or with channel_shared: false one a channel.
    """

    @property
    def approximate(self) -> bool:
        return not self.p.channel_shared

    def blobs(self, x: Shape) -> list[Blob]:
        if not 2 <= len(x) <= 4:
            raise ShapeError(f"needs a bottom of 2 to 4 axes, and has {x}")
        one = FillerParameter(type="constant", value=1)
        filler = self.p.scale_filler if self.p.HasField("scale_filler") else one
        return [Blob("scale", () if self.p.channel_shared else (x[1],), filler)]

    def forward(self, x: Array, scale: Array) -> Array:
        return x / self._norm(x) * self._spread(scale, x.ndim)

    def backward(self, dy: Array, x: Array, scale: Array) -> tuple[Array, Array]:
        norm, spread = self._norm(x), self._spread(scale, x.ndim)
        axes = self._axes(x.ndim)
        # Caffe sums before it scales: with a scale for each channel this is not the derivative.
        along = x * np.sum(x * dy, axis=axes, keepdims=True) / (norm * norm)
        summed = None if self.p.channel_shared else channels.others(x.ndim)
        dscale = np.sum(dy * x / norm, axis=summed)
        return (dy - along) / norm * spread, np.asarray(dscale, np.float32)

    def _axes(self, rank: int) -> tuple[int, ...]:
        return tuple(range(1, rank)) if self.p.across_spatial else (1,)

    def _norm(self, x: Array) -> Array:
        squares: Array = np.sum(x * x, axis=self._axes(x.ndim), keepdims=True)
        norm: Array = np.sqrt(squares + np.float32(self.p.eps))
        return norm

    def _spread(self, scale: Array, rank: int) -> Array:
        return scale.reshape(() if self.p.channel_shared else (-1,) + (1,) * (rank - 2))

    def lower(self, g: Builder, x: str, scale: str) -> str:
        rank = len(g.dims(x))
        squares = g.ReduceSumSquare(x, int64(*self._axes(rank)))
        norm = g.Sqrt(g.Add(squares, np.float32(self.p.eps)))
        shape = () if self.p.channel_shared else (g.fixed(x, 1),) + (1,) * (rank - 2)
        return g.Mul(g.Div(x, norm), g.view(scale, shape))
