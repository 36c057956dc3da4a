"""BatchNorm, alone and with its scale and shift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...caffe_pb2 import FillerParameter, LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...fillers.rng import Rng
from ...types import Array, Shape
from .. import channels
from ..builder import Builder, int64
from ..layer import Blob, Layer
from ..registry import layer

_ADDED_LATE = (
    "add_eps_before_sqrt: false needs stored moments (use_global_stats: true): its fork's gradient "
    "by the batch's own is not that of its forward pass"
)


@layer(param="batch_norm_param", inplace=True)
class BatchNorm(Layer):
    """(x - mean) / sqrt(variance + eps) a channel (Ioffe and Szegedy 2015; batch_norm_layer.cpp).

    With use_global_stats (by default in TEST) the moments are the blobs divided by the third, or 0
    if that is 0. Without it they are the batch's own. synopsys-caffe's add_eps_before_sqrt: false
    adds eps to the square root.
    """

    statistics = ("mean", "variance", "factor")

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        explicit = self.p.HasField("use_global_stats")
        self.stored: bool = self.p.use_global_stats if explicit else not self.train
        self._eps = np.float32(self.p.eps)

    def blobs(self, x: Shape) -> list[Blob]:
        if len(x) < 2:
            raise ShapeError(f"needs a bottom of 2 axes or more, and has {x}")
        for spec in self.proto.param[:3]:
            if spec.lr_mult:
                raise ShapeError(f"param lr_mult must be 0 for statistics, and is {spec.lr_mult:g}")
        sizes = {"mean": x[1], "variance": x[1], "factor": 1}
        return [Blob(name, (size,), learned=False) for name, size in sizes.items()]

    def forward(self, x: Array, mean: Array, variance: Array, factor: Array) -> Array:
        return self._normalised(x, *self._moments(x, mean, variance, factor))

    def forward_keeping(self, x: Array, **blobs: Array) -> tuple[Array, dict[str, Any]]:
        moments = self._moments(x, blobs["mean"], blobs["variance"], blobs["factor"])
        return self._normalised(x, *moments), {"moments": moments}

    def _normalised(self, x: Array, centre: Array, spread: Array) -> Array:
        y: Array = (x - centre) / self.deviation(spread)
        return y

    def deviation(self, spread: Array) -> Array:
        """Return the divisor for a variance."""
        if self.p.add_eps_before_sqrt:
            root: Array = np.sqrt(spread + self._eps)
            return root
        return np.sqrt(spread) + self._eps

    def backward(
        self,
        dy: Array,
        x: Array,
        mean: Array,
        variance: Array,
        factor: Array,
        moments: tuple[Array, Array] | None = None,
    ) -> tuple[Array | None, ...]:
        centre, spread = moments or self._moments(x, mean, variance, factor)
        deviation = self.deviation(spread)
        if self.stored:
            return dy / deviation, None, None, None
        if not self.p.add_eps_before_sqrt:
            raise UnsupportedError(_ADDED_LATE)
        y = (x - centre) / deviation
        return channels.through_moments(dy, y, deviation), None, None, None

    def update(self, x: Array, **arrays: Any) -> dict[str, Array]:
        """Return the moving sums: each decays, and the batch's moments are added."""
        if self.stored:
            return {}
        mean, variance, factor = (arrays[name] for name in ("mean", "variance", "factor"))
        centre, spread = arrays.get("moments") or self._moments(x, mean, variance, factor)
        decay, count = np.float32(self.p.moving_average_fraction), x.size // x.shape[1]
        unbiased = np.float32(count / (count - 1) if count > 1 else 1)
        return {
            "mean": decay * mean + centre.reshape(-1),
            "variance": decay * variance + unbiased * spread.reshape(-1),
            "factor": decay * factor + 1,
        }

    def lower(self, g: Builder, x: str, mean: str, variance: str, factor: str) -> str:
        if not self.stored:
            if not self.p.add_eps_before_sqrt:
                raise UnsupportedError(_ADDED_LATE)
            return channels.lower_by_moments(g, x, self._eps)
        if g.keeps_params:
            never, rates = g.Equal(factor, np.float32(0)), g.Div(np.float32(1), factor)
            rates = g.Where(never, np.float32(0), rates)
            mean, variance = g.Mul(mean, rates), g.Mul(variance, rates)
        elif (rate := _inverse(g.data(factor))) != 1:
            mean = g.change(mean, g.data(mean) * rate)
            variance = g.change(variance, g.data(variance) * rate)
        if not self.p.add_eps_before_sqrt:
            shape = int64(-1, *(1,) * (len(g.dims(x)) - 2))
            centre, spread = (g.Reshape(name, shape) for name in (mean, variance))
            return g.Div(g.Sub(x, centre), g.Add(g.Sqrt(spread), self._eps))
        one, zero = (np.full(g.fixed(x, 1), value, np.float32) for value in (1, 0))
        return g.BatchNormalization(x, one, zero, mean, variance, epsilon=float(self._eps))

    def _moments(
        self, x: Array, mean: Array, variance: Array, factor: Array
    ) -> tuple[Array, Array]:
        """Return the mean and the variance to normalise by, as they broadcast against x."""
        if not self.stored:
            return channels.moments(x)
        rate = _inverse(factor)
        return channels.over(mean * rate, x.ndim), channels.over(variance * rate, x.ndim)


def _inverse(factor: Array) -> np.float32:
    """Return 1 / the third blob, or 0 if that is 0, as in a net that was never trained."""
    return np.float32(1 / factor[0]) if factor[0] else np.float32(0)


_ONE = FillerParameter(type="constant", value=1)


class _Scaled(BatchNorm):
    """BatchNorm, then a scale and a bias a channel, in one layer of 5 blobs."""

    def _fillers(self) -> tuple[FillerParameter, FillerParameter]:
        """Return the fillers of the scale and of the bias."""
        raise NotImplementedError

    def blobs(self, x: Shape) -> list[Blob]:
        names = zip(("scale", "bias"), self._fillers(), strict=True)
        return [*super().blobs(x), *(Blob(name, (x[1],), filler) for name, filler in names)]

    def forward(self, x: Array, **blobs: Array) -> Array:
        return self.forward_keeping(x, **blobs)[0]

    def forward_keeping(self, x: Array, **blobs: Array) -> tuple[Array, dict[str, Any]]:
        y, kept = super().forward_keeping(x, **blobs)
        scale, bias = (channels.over(blobs[name], x.ndim) for name in ("scale", "bias"))
        return y * scale + bias, {**kept, "normalised": y}

    def backward(
        self, dy: Array, x: Array, *, scale: Array, bias: Array, **arrays: Any
    ) -> tuple[Array | None, ...]:
        y, axes = arrays.pop("normalised", None), channels.others(x.ndim)
        if y is None:
            y, _ = super().forward_keeping(x, **arrays)
        flows = super().backward(dy * channels.over(scale, x.ndim), x, **arrays)
        return *flows, np.sum(dy * y, axis=axes), np.sum(dy, axis=axes)

    def lower(
        self, g: Builder, x: str, mean: str, variance: str, factor: str, scale: str, bias: str
    ) -> str:
        y = super().lower(g, x, mean, variance, factor)
        return g.Add(g.Mul(y, channels.lower_over(g, x, scale)), channels.lower_over(g, x, bias))


@layer(param="batch_norm_param", inplace=True)
class BatchNormScale(_Scaled):
    """BatchNorm, then a Scale with a bias, in one layer of 5 blobs.

    The gradient is the true one; the fork's own is not.

    From: yuqj1991/caffe_train, src/caffe/layers/batch_norm_scale_layer.cpp
    Refused: a top that is another blob than the bottom: the fork then scales x itself.
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
                "is right only in place (the fork does not normalise where the top is another "
                "blob); let the top be the bottom, or write BatchNorm and Scale"
            )

    def _fillers(self) -> tuple[FillerParameter, FillerParameter]:
        scale = self.proto.scale_param
        return scale.filler if scale.HasField("filler") else _ONE, scale.bias_filler


@layer(
    "BatchNorm",
    fork="nvidia",
    fields=("scale_bias", "scale_filler", "bias_filler"),
    param="batch_norm_param",
    inplace=True,
)
class NvidiaBatchNorm(_Scaled):
    """BatchNorm with a scale and a bias in one layer of 5 blobs; eps is 1e-5 at least.

    TEST has the moments of the blobs, TRAIN those of the batch, whatever use_global_stats is. The
    blobs are running averages of the moments; the first two passes set them. A `filler` beside the
    fields is Intel's, whose layer is BVLC's.

    From: NVIDIA/caffe, src/caffe/layers/batch_norm_layer.cpp (by reading alone)
    Refused: in TRAIN an lr_mult or decay_mult of the scale or the bias other than 1, which that
        layer overwrites with 1.
    """

    @classmethod
    def stated(cls, proto: LayerParameter) -> bool:
        return super().stated(proto) and not proto.batch_norm_param.HasField("filler")

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        self.stored = not self.train
        self._eps = np.float32(max(self.p.eps, 1e-5))
        rates = [n for spec in proto.param[3:5] for n in (spec.lr_mult, spec.decay_mult)]
        if self.train and set(rates) - {1}:
            raise UnsupportedError("trains its scale and bias with lr_mult and decay_mult 1 only")

    def _fillers(self) -> tuple[FillerParameter, FillerParameter]:
        return self.p.scale_filler if self.p.HasField("scale_filler") else _ONE, self.p.bias_filler

    def fill(self, rng: Rng, *x: Shape, blobs: Sequence[Blob] | None = None) -> list[Array]:
        mean, variance, factor, *affine = super().fill(rng, *x, blobs=blobs)
        return [mean, variance, np.ones_like(factor), *affine]

    def state(self, *x: Shape) -> dict[str, Array]:
        return {"passes": np.zeros(1, np.float32)} if self.train else {}

    def forward(self, x: Array, passes: Array | None = None, **blobs: Array) -> Array:
        return super().forward(x, **blobs)

    def forward_keeping(
        self, x: Array, passes: Array | None = None, **blobs: Array
    ) -> tuple[Array, dict[str, Any]]:
        return super().forward_keeping(x, **blobs)

    def backward(self, *args: Any, **arrays: Any) -> tuple[Array | None, ...]:
        arrays.pop("passes", None)
        return super().backward(*args, **arrays)

    def update(self, x: Array, **arrays: Any) -> dict[str, Array]:
        if self.stored:
            return {}
        moments = arrays.get("moments") or channels.moments(x)
        passes, decay = arrays["passes"], np.float32(self.p.moving_average_fraction)
        if passes[0] < 2:
            decay = np.float32(0)
        averages = {
            name: decay * arrays[name] + (1 - decay) * moment.reshape(-1)
            for name, moment in zip(("mean", "variance"), moments, strict=True)
        }
        return {**averages, "passes": passes + 1}

    def lower(self, g: Builder, x: str, **blobs: str) -> str:
        blobs.pop("passes", None)
        return super().lower(g, x, **blobs)
