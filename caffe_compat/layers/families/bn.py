"""Batch normalisation with its scale and shift in one layer, as forks have it.

Three forks call three layers BN. Where neither the prototxt nor the blobs in the weights file tell
them apart, --fork does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...caffe_pb2 import BNParameter, FillerParameter, LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Blob, Layer, layer
from .norm import BatchNorm

_ONE = FillerParameter(type="constant", value=1)
_SEGNET = ("scale_filler", "shift_filler", "bn_mode")
_PSPNET = ("slope_filler", "bias_filler", "momentum", "eps", "frozen", "engine")


def _states(proto: LayerParameter, fields: Sequence[str]) -> bool:
    return any(proto.bn_param.HasField(field) for field in fields)


def _channels(x: Shape) -> int:
    if not 2 <= len(x) <= 4:
        raise ShapeError(f"needs a bottom of 2 to 4 axes, and has {x}")
    return x[1]


def _over(part: Array, rank: int) -> Array:
    """A blob with a number for each channel in a form that broadcasts against (N, C, ...)."""
    return part.reshape(-1, *(1,) * (rank - 2))


def _axes(rank: int) -> tuple[int, ...]:
    return (0, *range(2, rank))


def _name_over(g: Builder, x: str, part: str) -> str:
    return g.view(part, (g.fixed(x, 1), *(1,) * (len(g.dims(x)) - 2)))


def _moments(x: Array) -> tuple[Array, Array]:
    """The batch's own mean and variance of each channel, with an axis for each of x's."""
    axes = _axes(x.ndim)
    return np.mean(x, axis=axes, keepdims=True), np.var(x, axis=axes, keepdims=True)


def _through_moments(dy: Array, y: Array, deviation: Array) -> Array:
    """The gradient of y = (x - mean(x)) / deviation(x) by x."""
    axes = _axes(dy.ndim)
    along: Array = y * np.mean(dy * y, axis=axes, keepdims=True)
    dx: Array = (dy - np.mean(dy, axis=axes, keepdims=True) - along) / deviation
    return dx


def _lower_moments(g: Builder, x: str, eps: np.float32) -> str:
    """The bottom normalised by the batch's own moments."""
    axes = int64(*_axes(len(g.dims(x))))
    centred = g.Sub(x, g.ReduceMean(x, axes))
    spread = g.ReduceMean(g.Mul(centred, centred), axes)
    return g.Div(centred, g.Sqrt(g.Add(spread, eps)))


@layer("BN", param="bn_param", inplace=True, fork="segnet")
class SegNetBN(Layer):
    """scale x + shift in bn_mode INFERENCE, and 2 blobs: SegNet's, DeconvNet's and ENet's.

    In bn_mode LEARN, the default, x is normalised first by its own batch's moments with 1e-9 added
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
        mean, variance = _moments(x)
        deviation = np.sqrt(variance + self._eps)
        return (x - mean) / deviation, deviation

    def forward(self, x: Array, scale: Array, shift: Array) -> Array:
        return self._normalised(x)[0] * _over(scale, x.ndim) + _over(shift, x.ndim)

    def backward(
        self, dy: Array, x: Array, scale: Array, shift: Array
    ) -> tuple[Array, Array, Array]:
        y, deviation = self._normalised(x)
        axes = _axes(x.ndim)
        dx = dy * _over(scale, x.ndim)
        if self._learns:
            dx = _through_moments(dx, y, deviation)
        return dx, np.sum(dy * y, axis=axes), np.sum(dy, axis=axes)

    def lower(self, g: Builder, x: str, scale: str, shift: str) -> str:
        y = _lower_moments(g, x, self._eps) if self._learns else x
        return g.Add(g.Mul(y, _name_over(g, x, scale)), _name_over(g, x, shift))


@layer("BN", param="bn_param", inplace=True, fork="pspnet")
class PSPNetBN(Layer):
    """slope (x - mean) / sqrt(variance + eps) + bias, 4 blobs 1 x C x 1 x 1: PSPNet's and ICNet's.

    The moments are the blobs in TEST and where `frozen`, else the batch's own; the moving averages,
    which Caffe updates as it goes, stay as they are.

    From: hszhao/PSPNet, src/caffe/layers/bn_layer.cpp
    """

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
        shape = self._shape(x)
        return [
            Blob("slope", shape, self.p.slope_filler),
            Blob("bias", shape, self.p.bias_filler),
            Blob("mean", shape),
            Blob("variance", shape, _ONE if self.p.frozen else None),
        ]

    def _normalised(self, x: Array, mean: Array, variance: Array) -> tuple[Array, Array]:
        mean, variance = _over(mean, x.ndim), _over(variance, x.ndim)
        if not self._stored:
            mean, variance = _moments(x)
        deviation = np.sqrt(variance + self._eps)
        return (x - mean) / deviation, deviation

    def forward(self, x: Array, slope: Array, bias: Array, mean: Array, variance: Array) -> Array:
        y, _ = self._normalised(x, mean, variance)
        return y * _over(slope, x.ndim) + _over(bias, x.ndim)

    def backward(
        self, dy: Array, x: Array, slope: Array, bias: Array, mean: Array, variance: Array
    ) -> tuple[Array | None, ...]:
        y, deviation = self._normalised(x, mean, variance)
        dx = dy * _over(slope, x.ndim)
        dx = dx / deviation if self._stored else _through_moments(dx, y, deviation)
        if self.p.frozen:
            return dx, None, None, None, None
        axes = _axes(x.ndim)
        return dx, np.sum(dy * y, axis=axes), np.sum(dy, axis=axes), None, None

    def lower(self, g: Builder, x: str, slope: str, bias: str, mean: str, variance: str) -> str:
        if not self._stored:
            y = g.Mul(_lower_moments(g, x, self._eps), _name_over(g, x, slope))
            return g.Add(y, _name_over(g, x, bias))
        parts = [g.view(part, (g.fixed(x, 1),)) for part in (slope, bias, mean, variance)]
        return g.BatchNormalization(x, *parts, epsilon=self.p.eps)


@layer("BN", param="bn_param", inplace=True, fork="yjxiong")
class YjxiongBN(PSPNetBN):
    """PSPNet's with 4 blobs 1 x C, as TSN's models have it.

    From: yjxiong/caffe, src/caffe/layers/bn_layer.cpp (since April 2016)
    """

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

    def blobs(self, x: Shape) -> list[Blob]:
        return [*super().blobs(x)[:3], Blob("inverse", self._shape(x), _ONE)]

    def forward(self, x: Array, slope: Array, bias: Array, mean: Array, inverse: Array) -> Array:
        if not self._stored:
            return super().forward(x, slope, bias, mean, inverse)
        y = (x - _over(mean, x.ndim)) * _over(inverse, x.ndim)
        return y * _over(slope, x.ndim) + _over(bias, x.ndim)

    def backward(
        self, dy: Array, x: Array, slope: Array, bias: Array, mean: Array, inverse: Array
    ) -> tuple[Array | None, ...]:
        if not self._stored:
            return super().backward(dy, x, slope, bias, mean, inverse)
        dx = dy * _over(slope * inverse, x.ndim)
        if self.p.frozen:
            return dx, None, None, None, None
        y, axes = (x - _over(mean, x.ndim)) * _over(inverse, x.ndim), _axes(x.ndim)
        return dx, np.sum(dy * y, axis=axes), np.sum(dy, axis=axes), None, None

    def lower(self, g: Builder, x: str, slope: str, bias: str, mean: str, inverse: str) -> str:
        if not self._stored:
            return super().lower(g, x, slope, bias, mean, inverse)
        factor = g.change(slope, _over(g.data(slope) * g.data(inverse), len(g.dims(x))))
        centred = g.Sub(x, _name_over(g, x, mean))
        return g.Add(g.Mul(centred, factor), _name_over(g, x, bias))


@layer(param="batch_norm_param", inplace=True)
class BatchNormScale(BatchNorm):
    """BatchNorm, then a Scale with a bias, in one layer of 5 blobs.

    The gradient is the true one, which the fork's own is not.

    From: yuqj1991/caffe_train, src/caffe/layers/batch_norm_scale_layer.cpp
    Refused: a top that is another blob than the bottom: the fork then scales x as it was.
    Refused: scale_param with another axis than 1 or num_axes than 1.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        scale = proto.scale_param
        if not scale.bias_term:
            raise ShapeError("needs scale_param { bias_term: true }")
        if (scale.axis, scale.num_axes) != (1, 1):
            raise UnsupportedError(
                f"scale_param has axis {scale.axis} and num_axes {scale.num_axes}; only 1 and 1"
            )
        if list(proto.bottom) != list(proto.top):
            raise UnsupportedError(
                "is right only in place (the fork forgets to normalise where the top is another "
                "blob); let the top be the bottom, or write BatchNorm and Scale"
            )

    def blobs(self, x: Shape) -> list[Blob]:
        scale = self.proto.scale_param
        start = scale.filler if scale.HasField("filler") else _ONE
        made = [Blob("scale", (x[1],), start), Blob("bias", (x[1],), scale.bias_filler)]
        return [*super().blobs(x), *made]

    def forward(
        self, x: Array, mean: Array, variance: Array, factor: Array, scale: Array, bias: Array
    ) -> Array:
        y = super().forward(x, mean, variance, factor)
        return y * _over(scale, x.ndim) + _over(bias, x.ndim)

    def backward(
        self,
        dy: Array,
        x: Array,
        mean: Array,
        variance: Array,
        factor: Array,
        scale: Array,
        bias: Array,
    ) -> tuple[Array | None, ...]:
        y, axes = super().forward(x, mean, variance, factor), _axes(x.ndim)
        flows = super().backward(dy * _over(scale, x.ndim), x, mean, variance, factor)
        return *flows, np.sum(dy * y, axis=axes), np.sum(dy, axis=axes)

    def lower(
        self, g: Builder, x: str, mean: str, variance: str, factor: str, scale: str, bias: str
    ) -> str:
        y = super().lower(g, x, mean, variance, factor)
        return g.Add(g.Mul(y, _name_over(g, x, scale)), _name_over(g, x, bias))
