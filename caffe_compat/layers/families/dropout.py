"""Dropout, which in TEST does nothing."""

from __future__ import annotations

from math import prod

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...fillers.rng import Rng
from ...types import Array, Shape
from ..builder import Builder
from ..layer import Layer, layer


@layer(param="dropout_param", inplace=True)
class Dropout(Layer):
    """x in TEST; x mask / (1 - ratio) in TRAIN (Srivastava et al. 2014; dropout_layer.cpp).

    In TRAIN a mask of 0 and 1 is drawn at each pass.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        ratio = float(self.p.dropout_ratio)
        if self.train and not 0 <= ratio < 1:
            raise ShapeError(f"dropout_ratio must be at least 0 and below 1, and is {ratio:g}")
        self._keep = 1 - ratio

    def shares(self, *x: Shape) -> bool:
        return not self.train and self.proto.top[:1] == self.proto.bottom[:1]

    def draw(self, rng: Rng, x: Shape) -> dict[str, Array]:
        if not self.train:
            return {}
        shape = self._units(x)
        return {"mask": rng.bernoulli(self._keep, prod(shape)).reshape(shape).astype(np.float32)}

    def _units(self, x: Shape) -> Shape:
        """Return the shape of the mask: what is dropped together has one number."""
        return x

    def forward(self, x: Array, mask: Array | None = None) -> Array:
        return self._dropped(x, mask)

    def backward(self, dy: Array, x: Array, mask: Array | None = None) -> Array:
        return self._dropped(dy, mask)

    def _dropped(self, x: Array, mask: Array | None) -> Array:
        if not self.train:
            return x
        if mask is None:
            raise UnsupportedError(self._refusal("give the mask, or select the TEST phase"))
        return x * mask * np.float32(1 / self._keep)

    def lower(self, g: Builder, x: str, mask: str = "") -> str:
        if not self.train:
            return x
        if not mask:
            raise UnsupportedError(self._refusal("select the TEST phase"))
        return g.Mul(x, g.Mul(mask, np.float32(1 / self._keep)))

    def _refusal(self, remedy: str) -> str:
        return f"drops at random in TRAIN (dropout_ratio {self.p.dropout_ratio:g}); {remedy}"


@layer(param="dropout_param", inplace=True)
class SpatialDropout(Dropout):
    """x in TEST; x mask / (1 - ratio) in TRAIN, which drops whole channels.

    From: intel/caffe, src/caffe/layers/spatial_dropout_layer.cpp
    """

    def _units(self, x: Shape) -> Shape:
        return (*x[:2], *(1,) * (len(x) - 2))
