"""DenseBlock: a block of DenseNet in one layer (Huang et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import fillers
from ...caffe_pb2 import FillerParameter, LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...fillers.rng import Rng
from ...types import Array, Shape
from .. import channels
from ..builder import Builder, int64
from ..columns import convolve, correlate, scatter
from ..layer import Blob, Layer
from ..registry import layer
from ..window import Window

_EPS = np.float32(1e-5)
_MOST = 1000  # transitions; a file can declare any number
_OUTER = ("filter", "scale", "bias", "mean", "variance")
_INNER = ("filter_1x1", "scale_4g", "bias_4g", "mean_4g", "variance_4g")
_DRAWN = [name for pair in zip(_OUTER, _INNER, strict=True) for name in pair]


class _Stage(NamedTuple):
    """Batch normalization, ReLU and a convolution: the names of their blobs, and the kernel."""

    scale: str
    bias: str
    mean: str
    variance: str
    filter: str
    kernel: int

    @property
    def window(self) -> Window:
        """The convolution's window, which keeps the size."""
        pad = self.kernel // 2
        return Window((self.kernel,) * 2, (1, 1), (pad, pad), (1, 1))


def _stage(which: str, weight: str, kernel: int) -> _Stage:
    scale, bias, mean, variance = (f"{name}{which}" for name in _OUTER[1:])
    return _Stage(scale, bias, mean, variance, weight, kernel)


class _Pass(NamedTuple):
    """The results of a stage that its gradient and its averages need.

    Attributes:
        moments: the mean and the variance that it is normalized by.
        unit: the normalized input.
        hot: what the convolution reads.
    """

    moments: tuple[Array, Array]
    unit: Array
    hot: Array


def _turned(weight: Array) -> Array:
    """Return kernels turned by half a circle: the fork convolves where Caffe correlates."""
    return weight[:, :, ::-1, ::-1]


@layer(param="denseblock_param")
class DenseBlock(Layer):
    """numTransition times batch normalization, ReLU, a 3x3 convolution, and Concat with its input.

    With use_BC a 1x1 convolution to 4 growthRate channels, batch normalization and ReLU come before
    the 3x3 convolution. Its kernel is turned by half a circle against Convolution's.

    The averages are those of the fork's GPU code: weighted by moving_average_fraction for the new
    and its complement for the old. Its CPU code keeps sums and their count, the last blob, which
    TEST divides by unless it is 0; in TRAIN it normalizes by the unbiased variance, and adds up
    gradients over passes.

    From: senlinuc/caffe_ocr, src/caffe/layers/DenseBlock_layer.cpp and .cu
    Refused: in TRAIN use_dropout, whose mask is cuDNN's own; a `param`, as in the fork.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        times, growth = self.p.numTransition, self.p.growthRate
        if not 1 <= times <= _MOST or growth < 1:
            raise ShapeError(
                f"numTransition {times} must be 1 to {_MOST}, and growthRate {growth} positive"
            )
        if proto.param:
            raise ShapeError("takes no param: it sets its learning rates itself")
        if self.train and self.p.use_dropout and self.p.dropout_amount:
            raise UnsupportedError("use_dropout drops at random in TRAIN, by cuDNN's own stream")

    @property
    def statistics(self) -> tuple[str, ...]:
        names = [name for name in self._parts if name.startswith(("mean", "variance"))]
        return (*(f"{name}_{t}" for name in names for t in range(self.p.numTransition)), "count")

    @property
    def _parts(self) -> tuple[str, ...]:
        return (*_OUTER, *(_INNER if self.p.use_BC else ()))

    def _stages(self, t: int) -> list[_Stage]:
        """Return the stages of one transition."""
        last = f"filter_{t}"
        if not self.p.use_BC:
            return [_stage(f"_{t}", last, 3)]
        return [_stage(f"_{t}", f"filter_1x1_{t}", 1), _stage(f"_4g_{t}", last, 3)]

    def blobs(self, x: Shape) -> list[Blob]:
        self._check(x)
        growth = self.p.growthRate
        own = {"filter": self.p.Filter_Filler, "scale": self.p.BN_Scaler_Filler}
        own |= {"bias": self.p.BN_Bias_Filler, "variance": FillerParameter(value=1), "mean": None}
        blobs = []
        for part in self._parts:
            kind, _, inner = part.partition("_")
            for t in range(self.p.numTransition):
                size = x[1] + t * growth
                shape = (1, 4 * growth if inner else size, 1, 1)
                if kind == "filter":
                    shape = (growth, 4 * growth if self.p.use_BC else size, 3, 3)
                if part == "filter_1x1":
                    shape = (4 * growth, size, 1, 1)
                learned = kind not in ("mean", "variance")
                blobs.append(Blob(f"{part}_{t}", shape, own[kind], learned))
        return [*blobs, Blob("count", (1,), learned=False)]

    def fill(self, rng: Rng, *x: Shape, blobs: Sequence[Blob] | None = None) -> list[Array]:
        """Draw transition by transition, as the fork does; its blobs lie kind by kind."""
        specs, arrays = blobs or self.blobs(*x), dict[str, Array]()
        named = {blob.name: blob for blob in specs}
        order = (f"{part}_{t}" for t in range(self.p.numTransition) for part in _DRAWN)
        for name in (*order, "count"):
            if name in named:
                arrays[name] = fillers.fill(named[name].shape, named[name].filler, rng)
        return [arrays[name] for name in named]

    def shapes(self, x: Shape) -> list[Shape | None]:
        self._check(x)
        return [(x[0], x[1] + self.p.numTransition * self.p.growthRate, *x[2:])]

    def _check(self, x: Shape) -> None:
        if len(x) != 4:
            raise ShapeError(f"needs a bottom of 4 axes, and has {x}")

    def forward(self, x: Array, **arrays: Array) -> Array:
        return self.forward_keeping(x, **arrays)[0]

    def forward_keeping(self, x: Array, **arrays: Array) -> tuple[Array, dict[str, Any]]:
        (shape,) = self.shapes(x.shape)
        assert shape
        y, passes = np.empty(shape, np.float32), dict[str, _Pass]()
        y[:, : x.shape[1]] = x
        for t, before, behind in self._transitions(x.shape[1]):
            flow = y[:, :before]
            for stage in self._stages(t):
                result = self._run(flow, stage, arrays)
                passes[stage.filter] = result
                flow = convolve(result.hot, _turned(arrays[stage.filter]), stage.window, 1)
            y[:, before:behind] = flow
        return y, {"passes": passes}

    def _transitions(self, channels: int) -> Iterator[tuple[int, int, int]]:
        """Yield each transition with the number of channels before and behind it."""
        for t in range(self.p.numTransition):
            before = channels + t * self.p.growthRate
            yield t, before, before + self.p.growthRate

    def _run(self, x: Array, stage: _Stage, arrays: Mapping[str, Array]) -> _Pass:
        mean, variance = arrays[stage.mean], arrays[stage.variance]
        if self.train:
            mean, variance = channels.moments(x)
        elif count := arrays["count"][0]:
            mean, variance = mean / count, variance / count
        unit = (x - mean) / np.sqrt(variance + _EPS)
        hot = np.maximum(unit * arrays[stage.scale] + arrays[stage.bias], 0)
        return _Pass((mean, variance), unit, hot)

    def backward(
        self, dy: Array, x: Array, *, passes: dict[str, _Pass] | None = None, **arrays: Array
    ) -> tuple[Array | None, ...]:
        passes = passes or self.forward_keeping(x, **arrays)[1]["passes"]
        dy, flows = dy.copy(), dict[str, Array]()
        for t, before, behind in reversed([*self._transitions(x.shape[1])]):
            flow = dy[:, before:behind]
            for stage in reversed(self._stages(t)):
                flow = self._backward(flow, stage, passes[stage.filter], arrays, flows)
            dy[:, :before] += flow
        blobs = (flows.get(blob.name) for blob in self.blobs(x.shape))
        return dy[:, : x.shape[1]].copy(), *blobs

    def _backward(
        self,
        dy: Array,
        stage: _Stage,
        result: _Pass,
        arrays: Mapping[str, Array],
        flows: dict[str, Array],
    ) -> Array:
        """Return the gradient at a stage's input, and put those of its blobs into `flows`."""
        weight, scale = _turned(arrays[stage.filter]), arrays[stage.scale]
        gradient = correlate(result.hot, dy, stage.window, 1).reshape(weight.shape)
        flows[stage.filter] = _turned(gradient)
        dy = scatter(dy, weight, result.hot.shape[2:], stage.window, 1) * (result.hot > 0)
        flows[stage.scale] = np.sum(dy * result.unit, axis=(0, 2, 3), keepdims=True)
        flows[stage.bias] = np.sum(dy, axis=(0, 2, 3), keepdims=True)
        deviation = np.sqrt(result.moments[1] + _EPS)
        if not self.train:
            return np.asarray(dy * scale / deviation)
        return channels.through_moments(dy * scale, result.unit, deviation)

    def update(self, x: Array, **arrays: Any) -> dict[str, Array]:
        if not self.train:
            return {}
        passes = arrays.get("passes") or self.forward_keeping(x, **arrays)[1]["passes"]
        share, size = np.float32(self.p.moving_average_fraction), x.size // x.shape[1]
        unbiased = np.float32(size / max(1, size - 1))
        old = np.float32((1 - share) / (arrays["count"][0] or 1))
        updates = {"count": np.zeros(1, np.float32)}
        for t in range(self.p.numTransition):
            for stage in self._stages(t):
                mean, variance = passes[stage.filter].moments
                updates[stage.mean] = old * arrays[stage.mean] + share * mean
                variance = unbiased * variance
                updates[stage.variance] = old * arrays[stage.variance] + share * variance
        return updates

    def lower(self, g: Builder, x: str, **names: str) -> str:
        y, rate = x, self._lower_rate(g, names["count"])
        for t, _, _ in self._transitions(g.fixed(x, 1)):
            flow = y
            for stage in self._stages(t):
                flow = self._lower_normalized(g, flow, stage, names, rate)
                weight = self._lower_turned(g, names[stage.filter], stage.kernel)
                pads, kernel = [stage.kernel // 2] * 4, [stage.kernel] * 2
                flow = g.Conv(g.Relu(flow), weight, kernel_shape=kernel, pads=pads)
            y = g.Concat(y, flow, axis=1)
        return y

    def _lower_turned(self, g: Builder, weight: str, kernel: int) -> str:
        if kernel == 1:
            return weight
        if not g.keeps_params:
            return g.change(weight, _turned(g.data(weight)))
        for axis in (2, 3):
            weight = g.Gather(weight, int64(*reversed(range(kernel))), axis=axis)
        return weight

    def _lower_rate(self, g: Builder, count: str) -> Any:
        """Return the factor of the averages: a number, or the name of one that may change."""
        if not g.keeps_params:
            return np.float32(1 / (g.data(count)[0] or 1))
        return g.Where(g.Equal(count, np.float32(0)), np.float32(1), g.Div(np.float32(1), count))

    def _lower_normalized(
        self, g: Builder, x: str, stage: _Stage, names: Mapping[str, str], rate: Any
    ) -> str:
        if self.train:
            unit = channels.lower_by_moments(g, x, _EPS, rank=4)
            return g.Add(g.Mul(unit, names[stage.scale]), names[stage.bias])
        averages = [names[stage.mean], names[stage.variance]]
        if not g.keeps_params and rate != 1:
            averages = [g.change(name, g.data(name) * rate) for name in averages]
        parts = [g.view(name, (-1,)) for name in (names[stage.scale], names[stage.bias], *averages)]
        if g.keeps_params:
            parts[2:] = [g.Mul(name, rate) for name in parts[2:]]
        return g.BatchNormalization(x, *parts, epsilon=float(_EPS))
