"""Dropout, which in TEST does nothing."""

from __future__ import annotations

from ...errors import UnsupportedError
from ...types import Array, Shape
from ..builder import Builder
from ..layer import Layer, layer


@layer(param="dropout_param", inplace=True)
class Dropout(Layer):
    """x in TEST, since TRAIN scales the rest by 1 / (1 - ratio) (dropout_layer.cpp).

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
    """x in TEST, since TRAIN, which drops whole channels, scales the rest.

    From: intel/caffe, src/caffe/layers/spatial_dropout_layer.cpp
    Refused: TRAIN, whose result is random.
    """
