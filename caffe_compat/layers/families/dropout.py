"""Dropout, which in TEST does nothing unless it samples there too."""

from __future__ import annotations

import secrets
from math import prod
from typing import Any

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...fillers.rng import FastRng, Rng
from ...prototxt import param_str
from ...types import Array, Shape
from ..builder import Builder
from ..layer import Layer
from ..registry import layer, python_layer


@layer(param="dropout_param", inplace=True)
class Dropout(Layer):
    """x in TEST; x mask / (1 - ratio) in TRAIN (Srivastava et al. 2014; dropout_layer.cpp).

    In TRAIN a mask of 0 and 1 is drawn at each pass. With scale_train: false, of caffe-fast-rcnn,
    TRAIN does not divide by 1 - ratio, and TEST multiplies by it.

    With sample_weights_test: true, of alexgkendall/caffe-segnet (Bayesian SegNet), TEST draws as
    TRAIN does, so that no two passes agree; the mean of many is the prediction.

    Refused: sample_weights_test with scale_train: false, which no fork has both.
    """

    can_sample = True

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        ratio = float(self.p.dropout_ratio)
        self.samples = self.p.sample_weights_test and not self.train
        if self._drops and not 0 <= ratio < 1:
            raise ShapeError(f"dropout_ratio must be at least 0 and below 1, and is {ratio:g}")
        if self.p.sample_weights_test and not (self.can_sample and self.p.scale_train):
            raise UnsupportedError(
                "sample_weights_test: true is of a fork that has neither scale_train nor "
                "SpatialDropout; take the field out to draw in TRAIN alone"
            )
        self._keep = 1 - ratio
        # the factor of what is not dropped
        self._scale = np.float32(1 / self._keep if self._drops else 1)
        if not self.p.scale_train:
            self._scale = np.float32(1 if self.train else self._keep)

    @property
    def _drops(self) -> bool:
        """Whether a pass draws a mask."""
        return self.train or self.samples

    def shares(self, *x: Shape) -> bool:
        return not self._drops and self._scale == 1 and self.proto.top[:1] == self.proto.bottom[:1]

    def draw(self, rng: Rng, x: Shape) -> dict[str, Array]:
        if not self._drops:
            return {}
        shape = self._units(x)
        return {"mask": rng.bernoulli(self._keep, prod(shape)).reshape(shape).astype(np.float32)}

    def _units(self, x: Shape) -> Shape:
        """Return the shape of the mask: what is dropped together has one number."""
        return x

    def forward(self, x: Array, mask: Array | None = None) -> Array:
        return self.forward_keeping(x, mask)[0]

    def forward_keeping(self, x: Array, mask: Array | None = None) -> tuple[Array, dict[str, Any]]:
        if not self.samples or mask is not None:
            return self._dropped(x, mask), {}
        drawn = self.draw(FastRng(secrets.randbits(32)), x.shape)
        return self._dropped(x, drawn["mask"]), drawn

    def backward(self, dy: Array, x: Array, mask: Array | None = None) -> Array:
        return self._dropped(dy, mask)

    def _dropped(self, x: Array, mask: Array | None) -> Array:
        if not self._drops:
            return x if self._scale == 1 else x * self._scale
        if mask is None:
            raise UnsupportedError(self._refusal("give the mask, or select the TEST phase"))
        return x * mask * self._scale

    def lower(self, g: Builder, x: str, mask: str = "") -> str:
        if not self._drops:
            return x if self._scale == 1 else g.Mul(x, self._scale)
        if self.samples and not mask:
            y, kept = g.Dropout(x, np.float32(self.p.dropout_ratio), np.bool_(True), outputs=2)
            # onnxruntime's optimizer takes out a Dropout whose mask nobody reads, this mode too.
            return g.Where(kept, y, np.float32(0))
        if not mask:
            raise UnsupportedError(self._refusal("select the TEST phase"))
        return g.Mul(x, g.Mul(mask, self._scale))

    def _refusal(self, remedy: str) -> str:
        phase = "TEST too" if self.samples else "TRAIN"
        return f"drops at random in {phase} (dropout_ratio {self.p.dropout_ratio:g}); {remedy}"


@layer(param="dropout_param", inplace=True)
class SpatialDropout(Dropout):
    """x in TEST; x mask / (1 - ratio) in TRAIN, which drops whole channels.

    From: intel/caffe, src/caffe/layers/spatial_dropout_layer.cpp
    Refused: sample_weights_test, which that fork lacks.
    """

    can_sample = False

    def _units(self, x: Shape) -> Shape:
        return (*x[:2], *(1,) * (len(x) - 2))


@python_layer("spatial_dropout", "SpatialDropoutLayer", fork="caffe-enet")
class SpatialDropoutLayer(Dropout):
    """x / (1 - p) in TEST, as the fork's; x mask / (1 - p) in TRAIN, which drops whole channels.

    The phase and p are param_str's.

    From: TimoSaemann/caffe-enet, python/spatial_dropout.py (Paszke et al. 2016; by reading alone)
    """

    def __init__(self, proto: LayerParameter) -> None:
        Layer.__init__(self, proto)
        settings = param_str.parse(proto.python_param.param_str.replace("\\'", "'"))
        try:
            ratio = float(str(settings.get("p")))
        except ValueError:
            ratio = 0
        if not 0 < ratio < 1:
            raise ShapeError(f"param_str's p must be between 0 and 1: {settings}")
        self.train = settings.get("phase") == "TRAIN"
        self._keep, self._scale = 1 - ratio, np.float32(1 / (1 - ratio))

    def _units(self, x: Shape) -> Shape:
        return (*x[:2], *(1,) * (len(x) - 2))

    def _refusal(self, remedy: str) -> str:
        return f"drops at random, since its param_str names phase TRAIN; {remedy}"
