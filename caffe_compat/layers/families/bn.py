"""BN: batch normalisation with scale and shift in one layer, which four forks define differently.

The caller names the fork if neither the prototxt nor the blobs in the weights file tell.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...caffe_pb2 import BNParameter, FillerParameter, LayerParameter
from ...errors import ShapeError
from ...types import Array, Shape
from .. import channels
from ..builder import Builder
from ..layer import Blob, Layer
from ..registry import layer

_ONE = FillerParameter(type="constant", value=1)


_SEGNET = ("scale_filler", "shift_filler", "bn_mode")


_PSPNET = ("slope_filler", "bias_filler", "momentum", "eps", "frozen", "engine", "icnet")


def _states(proto: LayerParameter, fields: Sequence[str]) -> bool:
    return any(proto.bn_param.HasField(field) for field in fields)


def _channels(x: Shape) -> int:
    if not 2 <= len(x) <= 4:
        raise ShapeError(f"needs a bottom of 2 to 4 axes, and has {x}")
    return x[1]


@layer("BN", param="bn_param", inplace=True, fork="segnet")
class SegNetBN(Layer):
    """scale x + shift in bn_mode INFERENCE, 2 blobs: SegNet's, DeconvNet's and ENet's.

    In bn_mode LEARN, the default, x is first normalised by the batch's own moments, with 1e-9 added
    to the variance, in TEST too.

    From: alexgkendall/caffe-segnet, src/caffe/layers/bn_layer.cpp
    From: HyeonwooNoh/caffe, src/caffe/layers/bn_layer.cpp (V1's BN)
    From: TimoSaemann/caffe-enet, src/caffe/layers/bn_layer.cpp
    """

    _eps = np.float32(1e-9)

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        if _states(proto, _PSPNET) or len(proto.param) > 2:
            return False
        return _states(proto, _SEGNET) or stored is None or len(stored) == 2

    @property
    def _learns(self) -> bool:
        return bool(self.p.bn_mode == BNParameter.LEARN)

    def blobs(self, x: Shape) -> list[Blob]:
        shape = (1, _channels(x), 1, 1)
        scale, shift = self.p.scale_filler, self.p.shift_filler
        return [Blob("scale", shape, scale), Blob("shift", shape, shift)]

    def _normalised(self, x: Array) -> tuple[Array, Array]:
        if not self._learns:
            return x, np.ones((), np.float32)
        mean, variance = channels.moments(x)
        deviation = np.sqrt(variance + self._eps)
        return (x - mean) / deviation, deviation

    def forward(self, x: Array, scale: Array, shift: Array) -> Array:
        return self._normalised(x)[0] * channels.over(scale, x.ndim) + channels.over(shift, x.ndim)

    def backward(
        self, dy: Array, x: Array, scale: Array, shift: Array
    ) -> tuple[Array, Array, Array]:
        y, deviation = self._normalised(x)
        axes = channels.others(x.ndim)
        dx = dy * channels.over(scale, x.ndim)
        if self._learns:
            dx = channels.through_moments(dx, y, deviation)
        return dx, np.sum(dy * y, axis=axes), np.sum(dy, axis=axes)

    def lower(self, g: Builder, x: str, scale: str, shift: str) -> str:
        y = channels.lower_by_moments(g, x, self._eps) if self._learns else x
        return g.Add(g.Mul(y, channels.lower_over(g, x, scale)), channels.lower_over(g, x, shift))


@layer("BN", param="bn_param", inplace=True, fork="pspnet")
class PSPNetBN(Layer):
    """slope (x - mean) / sqrt(variance + eps) + bias, 4 blobs 1 x C x 1 x 1: PSPNet's and ICNet's.

    The moments are the blobs in TEST and where `frozen`, else the batch's own.

    From: hszhao/PSPNet, src/caffe/layers/bn_layer.cpp
    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe, the same file, with icnet: true
    """

    @property
    def statistics(self) -> tuple[str, ...]:
        every = ("slope", "bias", "mean", "variance")
        return every if self.p.frozen else every[2:]

    _masks = True  # whether the layer sets the lr_mult of what is not to be learned to 0

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        if stored is not None and (len(stored) != 4 or len(stored[0]) != 4):
            return False
        return not _states(proto, _SEGNET)

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        self._stored: bool = self.p.frozen or not self.train
        self._eps = np.float32(self.p.eps)

    def _shape(self, x: Shape) -> Shape:
        return (1, _channels(x), 1, 1)

    def blobs(self, x: Shape) -> list[Blob]:
        shape, frozen = self._shape(x), self.p.frozen
        return [
            Blob("slope", shape, self.p.slope_filler, learned=not (frozen and self._masks)),
            Blob("bias", shape, self.p.bias_filler, learned=not (frozen and self._masks)),
            Blob("mean", shape, learned=not self._masks),
            Blob("variance", shape, _ONE if frozen else None, learned=not self._masks),
        ]

    def update(
        self, x: Array, slope: Array, bias: Array, mean: Array, variance: Array
    ) -> dict[str, Array]:
        """Return the moving averages of the batches' moments."""
        if self._stored:
            return {}
        centre, spread = channels.moments(x)
        return {"mean": self._moved(mean, centre), "variance": self._moved(variance, spread)}

    def _moved(self, average: Array, moment: Array) -> Array:
        share = np.float32(self.p.momentum)
        return share * average + (1 - share) * moment.reshape(average.shape)

    def _normalised(self, x: Array, mean: Array, variance: Array) -> tuple[Array, Array]:
        mean, variance = channels.over(mean, x.ndim), channels.over(variance, x.ndim)
        if not self._stored:
            mean, variance = channels.moments(x)
        deviation = np.sqrt(variance + self._eps)
        return (x - mean) / deviation, deviation

    def forward(self, x: Array, slope: Array, bias: Array, mean: Array, variance: Array) -> Array:
        y, _ = self._normalised(x, mean, variance)
        return y * channels.over(slope, x.ndim) + channels.over(bias, x.ndim)

    def backward(
        self, dy: Array, x: Array, slope: Array, bias: Array, mean: Array, variance: Array
    ) -> tuple[Array | None, ...]:
        y, deviation = self._normalised(x, mean, variance)
        dx = dy * channels.over(slope, x.ndim)
        dx = dx / deviation if self._stored else channels.through_moments(dx, y, deviation)
        if self.p.frozen:
            return dx, None, None, None, None
        axes = channels.others(x.ndim)
        return dx, np.sum(dy * y, axis=axes), np.sum(dy, axis=axes), None, None

    def lower(self, g: Builder, x: str, slope: str, bias: str, mean: str, variance: str) -> str:
        if not self._stored:
            y = g.Mul(channels.lower_by_moments(g, x, self._eps), channels.lower_over(g, x, slope))
            return g.Add(y, channels.lower_over(g, x, bias))
        parts = [g.view(part, (g.fixed(x, 1),)) for part in (slope, bias, mean, variance)]
        return g.BatchNormalization(x, *parts, epsilon=self.p.eps)


@layer("BN", param="bn_param", inplace=True, fork="yjxiong")
class YjxiongBN(PSPNetBN):
    """PSPNet's with 4 blobs 1 x C, as in TSN's models.

    From: yjxiong/caffe, src/caffe/layers/bn_layer.cpp (since April 2016)
    """

    _masks = False

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        alike = stored is not None and len(stored) == 4 and len(stored[0]) == 2
        return alike and not _states(proto, _SEGNET)

    def _shape(self, x: Shape) -> Shape:
        return (1, _channels(x))


@layer("BN", param="bn_param", inplace=True, fork="caffe-windows")
class CaffeWindowsBN(YjxiongBN):
    """slope (x - mean) inverse + bias, 4 blobs 1 x C, the last of them 1 / deviation.

    From: happynear/caffe-windows, src/caffe/layers/bn_layer.cpp (its CPU code)
    From: yjxiong/caffe, src/caffe/layers/bn_layer.cpp (from December 2015 to April 2016)
    """

    @property
    def statistics(self) -> tuple[str, ...]:
        return (*super().statistics[:-1], "inverse")

    def blobs(self, x: Shape) -> list[Blob]:
        return [*super().blobs(x)[:3], Blob("inverse", self._shape(x), _ONE)]

    def update(
        self, x: Array, slope: Array, bias: Array, mean: Array, inverse: Array
    ) -> dict[str, Array]:
        """Return the moving averages of the batches' means and inverse deviations."""
        if self._stored:
            return {}
        centre, spread = channels.moments(x)
        inverses = 1 / np.sqrt(spread + self._eps)
        return {"mean": self._moved(mean, centre), "inverse": self._moved(inverse, inverses)}

    def forward(self, x: Array, slope: Array, bias: Array, mean: Array, inverse: Array) -> Array:
        if not self._stored:
            return super().forward(x, slope, bias, mean, inverse)
        y = (x - channels.over(mean, x.ndim)) * channels.over(inverse, x.ndim)
        return y * channels.over(slope, x.ndim) + channels.over(bias, x.ndim)

    def backward(
        self, dy: Array, x: Array, slope: Array, bias: Array, mean: Array, inverse: Array
    ) -> tuple[Array | None, ...]:
        if not self._stored:
            return super().backward(dy, x, slope, bias, mean, inverse)
        dx = dy * channels.over(slope * inverse, x.ndim)
        if self.p.frozen:
            return dx, None, None, None, None
        y, axes = (
            (x - channels.over(mean, x.ndim)) * channels.over(inverse, x.ndim),
            channels.others(x.ndim),
        )
        return dx, np.sum(dy * y, axis=axes), np.sum(dy, axis=axes), None, None

    def lower(self, g: Builder, x: str, slope: str, bias: str, mean: str, inverse: str) -> str:
        if not self._stored:
            return super().lower(g, x, slope, bias, mean, inverse)
        if g.keeps_params:
            factor = g.Mul(channels.lower_over(g, x, slope), channels.lower_over(g, x, inverse))
        else:
            factor = g.change(slope, channels.over(g.data(slope) * g.data(inverse), len(g.dims(x))))
        centred = g.Sub(x, channels.lower_over(g, x, mean))
        return g.Add(g.Mul(centred, factor), channels.lower_over(g, x, bias))
