"""Normalisation: by the statistics of a channel, of a neighbourhood, or of one image."""

from __future__ import annotations

import numpy as np

from ...caffe_pb2 import FillerParameter, LayerParameter, LRNParameter
from ...errors import ShapeError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Blob, Layer, layer


@layer(param="batch_norm_param", inplace=True)
class BatchNorm(Layer):
    """(x - mean) / sqrt(variance + eps) a channel (Ioffe and Szegedy 2015; batch_norm_layer.cpp).

    With use_global_stats (in TEST unless the prototxt says otherwise) the moments are the blobs
    divided by the third, or 0 where that is 0; else they are the batch's own, and the moving
    averages, which Caffe updates as it goes, stay as they are.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        given = self.p.HasField("use_global_stats")
        self.stored: bool = self.p.use_global_stats if given else not self.train
        self._eps = np.float32(self.p.eps)

    def blobs(self, x: Shape) -> list[Blob]:
        if len(x) < 2:
            raise ShapeError(f"needs a bottom of 2 axes or more, and has {x}")
        for spec in self.proto.param[:3]:
            if spec.lr_mult:
                raise ShapeError(f"param lr_mult must be 0 for statistics, and is {spec.lr_mult:g}")
        return [Blob("mean", (x[1],)), Blob("variance", (x[1],)), Blob("factor", (1,))]

    def forward(self, x: Array, mean: Array, variance: Array, factor: Array) -> Array:
        centre, spread = self._moments(x, mean, variance, factor)
        y: Array = (x - centre) / np.sqrt(spread + self._eps)
        return y

    def backward(
        self, dy: Array, x: Array, mean: Array, variance: Array, factor: Array
    ) -> tuple[Array, None, None, None]:
        centre, spread = self._moments(x, mean, variance, factor)
        scale = np.sqrt(spread + self._eps)
        if self.stored:
            return dy / scale, None, None, None
        y = (x - centre) / scale
        axes = _all_but(1, x.ndim)
        along = y * np.mean(dy * y, axis=axes, keepdims=True)
        return (dy - np.mean(dy, axis=axes, keepdims=True) - along) / scale, None, None, None

    def lower(self, g: Builder, x: str, mean: str, variance: str, factor: str) -> str:
        if not self.stored:
            axes = int64(*_all_but(1, len(g.dims(x))))
            centred = g.Sub(x, g.ReduceMean(x, axes))
            spread = g.ReduceMean(g.Mul(centred, centred), axes)
            return g.Div(centred, g.Sqrt(g.Add(spread, self._eps)))
        rate = _inverse(g.data(factor))
        if rate != 1:
            mean = g.change(mean, g.data(mean) * rate)
            variance = g.change(variance, g.data(variance) * rate)
        one, zero = (np.full(g.fixed(x, 1), value, np.float32) for value in (1, 0))
        return g.BatchNormalization(x, one, zero, mean, variance, epsilon=self.p.eps)

    def _moments(
        self, x: Array, mean: Array, variance: Array, factor: Array
    ) -> tuple[Array, Array]:
        """The mean and the variance to normalise by, in a form that broadcasts against x."""
        if not self.stored:
            axes = _all_but(1, x.ndim)
            return np.mean(x, axis=axes, keepdims=True), np.var(x, axis=axes, keepdims=True)
        rate, shape = _inverse(factor), (-1,) + (1,) * (x.ndim - 2)
        return (mean * rate).reshape(shape), (variance * rate).reshape(shape)


def _inverse(factor: Array) -> np.float32:
    """1 over BatchNorm's third blob; 0 of 0, which is what a net that never trained has."""
    return np.float32(1 / factor[0]) if factor[0] else np.float32(0)


def _all_but(axis: int, rank: int) -> tuple[int, ...]:
    return tuple(i for i in range(rank) if i != axis)


@layer(param="lrn_param")
class LRN(Layer):
    """x / (k + alpha mean(x^2))^beta over a window (Krizhevsky et al. 2012; lrn_layer.cpp).

    The window is local_size channels, or local_size x local_size pixels WITHIN_CHANNEL, where
    Caffe does not read k and takes 1; beyond the edge there are zeros, which count.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        within = self.p.norm_region == LRNParameter.WITHIN_CHANNEL
        self._axes = (2, 3) if within else (1,)
        self._size: int = self.p.local_size
        self._k = np.float32(1 if within else self.p.k)
        self._alpha, self._beta = np.float32(self.p.alpha), np.float32(self.p.beta)

    def shapes(self, x: Shape) -> list[Shape | None]:
        if self._size % 2 == 0:
            raise ShapeError(f"local_size must be odd, and is {self._size}")
        if len(x) != 4:
            raise ShapeError(f"needs a bottom of 4 axes, and has {x}")
        return [x]

    def forward(self, x: Array) -> Array:
        return x * np.power(self._norm(x), -self._beta)

    def backward(self, dy: Array, x: Array) -> Array:
        norm = self._norm(x)
        power = np.power(norm, -self._beta)
        spread = self._mean(dy * x * power / norm)
        return dy * power - 2 * self._alpha * self._beta * x * spread

    def _norm(self, x: Array) -> Array:
        return self._k + self._alpha * self._mean(x * x)

    def _mean(self, x: Array) -> Array:
        """The mean over the window around each element, zeros beyond the edge."""
        for axis in self._axes:
            x = _window_sum(x, self._size, axis) / np.float32(self._size)
        return x

    def lower(self, g: Builder, x: str) -> str:
        p = self.p
        # Outside these bounds onnxruntime (alpha, beta) or cuDNN (the rest) has no LRN.
        native = p.alpha > 0 and p.beta >= 0.01 and p.k >= 1e-5 and self._size <= 16
        if len(self._axes) == 1 and native:
            return g.LRN(x, size=self._size, alpha=p.alpha, beta=p.beta, bias=p.k)
        scaled = g.Mul(self._lower_mean(g, g.Mul(x, x)), self._alpha)
        return g.Mul(x, g.Pow(g.Add(scaled, self._k), -self._beta))

    def _lower_mean(self, g: Builder, x: str) -> str:
        half, across = self._size // 2, len(self._axes) == 1
        kernel = [self._size, 1, 1] if across else [self._size] * 2
        pads = [half, 0, 0] * 2 if across else [half] * 4
        one = int64(1)
        x = g.Unsqueeze(x, one) if across else x
        mean = g.AveragePool(x, kernel_shape=kernel, pads=pads, count_include_pad=1)
        return g.Squeeze(mean, one) if across else mean


def _window_sum(x: Array, size: int, axis: int) -> Array:
    """The sum over the `size` (odd) neighbours of each element along an axis."""
    x = np.moveaxis(x, axis, 0)
    total = x.copy()
    for step in range(1, min(size // 2, len(x) - 1) + 1):
        total[step:] += x[:-step]
        total[:-step] += x[step:]
    return np.moveaxis(total, 0, axis)


@layer(param="mvn_param", inplace=True)
class MVN(Layer):
    """(x - mean) / (standard deviation + eps) of a channel or an image (mvn_layer.cpp).

    The top has 4 axes whatever the bottom has, ones appended; normalize_variance: false keeps
    the deviation.
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        if len(x) > 4:
            raise ShapeError(f"needs a bottom of at most 4 axes, and has {x}")
        return [x + (1,) * (4 - len(x))]

    @property
    def _axes(self) -> tuple[int, ...]:
        return (1, 2, 3) if self.p.across_channels else (2, 3)

    def _split(self, x: Array) -> tuple[Array, Array]:
        """The bottom less its mean, with 4 axes, and what that is to be divided by."""
        x = x.reshape(x.shape + (1,) * (4 - x.ndim))
        centred = x - np.mean(x, axis=self._axes, keepdims=True)
        if not self.p.normalize_variance:
            return centred, np.ones((1, 1, 1, 1), np.float32)
        variance = np.mean(centred * centred, axis=self._axes, keepdims=True)
        return centred, np.sqrt(variance) + np.float32(self.p.eps)

    @np.errstate(divide="ignore", invalid="ignore")
    def forward(self, x: Array) -> Array:
        centred, scale = self._split(x)
        return centred / scale

    @np.errstate(divide="ignore", invalid="ignore")
    def backward(self, dy: Array, x: Array) -> Array:
        centred, scale = self._split(x)
        dx: Array = dy - np.mean(dy, axis=self._axes, keepdims=True)
        if self.p.normalize_variance:  # as if eps were inside the root, as Caffe has it
            y = centred / scale
            dx = (dx - y * np.mean(dy * y, axis=self._axes, keepdims=True)) / scale
        return dx.reshape(x.shape)

    def lower(self, g: Builder, x: str) -> str:
        rank = len(g.dims(x))
        axes = int64(*self._axes)
        x = x if rank == 4 else g.Unsqueeze(x, int64(*range(rank, 4)))
        centred = g.Sub(x, g.ReduceMean(x, axes))
        if not self.p.normalize_variance:
            return centred
        deviation = g.Sqrt(g.ReduceMean(g.Mul(centred, centred), axes))
        return g.Div(centred, g.Add(deviation, np.float32(self.p.eps)))


@layer(param="norm_param", inplace=True)
class Normalize(Layer):
    """scale x / sqrt(eps + sum of squares) (Liu et al. 2016, 3.1).

    From: weiliu89/caffe, branch ssd, normalize_layer.cpp

    The sum is over each image, or with across_spatial: false over the channels of each pixel; one
    scale, or with channel_shared: false one a channel.
    """

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
        # Caffe sums before it scales, so that with a scale a channel this is not the derivative.
        along = x * np.sum(x * dy, axis=axes, keepdims=True) / (norm * norm)
        summed = None if self.p.channel_shared else _all_but(1, x.ndim)
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
