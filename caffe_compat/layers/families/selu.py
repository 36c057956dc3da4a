"""Self-normalizing networks (Klambauer et al. 2017)."""

from __future__ import annotations

from math import prod

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...fillers.rng import Rng
from ...types import Array, Shape
from ..builder import Builder
from ..layer import Layer
from ..registry import layer


@layer(param="selu_param", inplace=True)
class SeLu(Layer):
    """lambda x where x > 0, else lambda alpha (exp(x) - 1).

    From: zhanglaplace/selu_caffe, as soeaver/caffe has it
    """

    def forward(self, x: Array) -> Array:
        scale, alpha = np.float32(getattr(self.p, "lambda")), np.float32(self.p.alpha)
        return scale * (np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0)))

    def backward(self, dy: Array, x: Array) -> Array:
        scale, alpha = np.float32(getattr(self.p, "lambda")), np.float32(self.p.alpha)
        return dy * scale * np.where(x > 0, np.float32(1), alpha * np.exp(np.minimum(x, 0)))

    def lower(self, g: Builder, x: str) -> str:
        return g.Mul(g.Elu(x, alpha=self.p.alpha), np.float32(getattr(self.p, "lambda")))


@layer(param="selu_dropout_param", inplace=True)
class SeLuDropout(Layer):
    """x in TEST; in TRAIN a (x or alpha) + b, whose mean and variance are those of x.

    In TRAIN a mask of 0 (alpha) and 1 (x) is drawn at each pass.

    From: zhanglaplace/selu_caffe, as soeaver/caffe has it
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        self._keep = 1 - float(self.p.dropout_ratio)
        if not 0 < self._keep < 1:
            raise ShapeError(f"dropout_ratio must be between 0 and 1: {self.p.dropout_ratio:g}")
        alpha = self.p.alpha
        scale = (self._keep * (1 + alpha * alpha * (1 - self._keep))) ** -0.5
        self._scale = np.float32(scale)
        self._shift = np.float32(-scale * (1 - self._keep) * alpha)

    def draw(self, rng: Rng, x: Shape) -> dict[str, Array]:
        if not self.train:
            return {}
        mask = rng.bernoulli(self._keep, prod(x)).reshape(x)
        return {"mask": mask.astype(np.float32)}

    def forward(self, x: Array, mask: Array | None = None) -> Array:
        if not self.train:
            return x
        chosen = np.where(self._drawn(mask), x, np.float32(self.p.alpha))
        return self._scale * chosen + self._shift

    def backward(self, dy: Array, x: Array, mask: Array | None = None) -> Array:
        return self._scale * dy * self._drawn(mask) if self.train else dy

    @staticmethod
    def _drawn(mask: Array | None) -> Array:
        if mask is None:
            raise UnsupportedError("drops at random in TRAIN; give the mask, or select TEST")
        return mask

    def lower(self, g: Builder, x: str, mask: str = "") -> str:
        if not self.train:
            return x
        if not mask:
            raise UnsupportedError("drops at random in TRAIN; select the TEST phase")
        chosen = g.Where(g.Greater(mask, np.float32(0)), x, np.float32(self.p.alpha))
        return g.Add(g.Mul(chosen, self._scale), self._shift)
