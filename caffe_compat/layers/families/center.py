"""Losses and distances of class centres (Wen et al. 2016; Wang et al. 2017)."""

from __future__ import annotations

from math import prod

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from .. import labels
from ..builder import INT64, Builder, int64
from ..layer import Blob, Layer, canonical_axis, layer


@layer(param="center_loss_param", bottoms=2, loss=True)
class CenterLoss(Layer):
    """sum |x - c_y|^2 / (2 N), c a centre for each class (Wen et al. 2016, eq. 2).

    A centre's gradient is the mean difference from its items, of one more than there are, whatever
    the loss weight is (eq. 4).

    From: ydwen/caffe-face and happynear/caffe-windows, src/caffe/layers/center_loss_layer.cpp
        (by reading alone)
    Refused: a distance_type other than L2.
    """

    approximate = True  # the centres' gradient is no derivative

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if self.p.distance_type != "L2":
            raise UnsupportedError(f"distance_type {self.p.distance_type!r}; only L2 is supported")

    def blobs(self, x: Shape, y: Shape) -> list[Blob]:
        length = prod(x[canonical_axis(self.p.axis, len(x)) :])
        return [Blob("center", (self.p.num_output, length), self.p.center_filler)]

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        labels.check_same_batch(x, y)
        if any(n != 1 for n in y[1:]) or canonical_axis(self.p.axis, len(x)) != 1:
            raise ShapeError(f"needs axis 1 and one label an item; has {x} and {y}")
        return [()]

    def classes(self, x: Shape, y: Shape) -> dict[int, int]:
        return {1: self.p.num_output}

    def _difference(self, x: Array, y: Array, center: Array) -> tuple[Array, labels.Index]:
        label, _ = labels.read(y, (len(x), len(center)), 1, None)
        index = label.ravel()
        return x.reshape(len(x), -1) - center[index], index

    def forward(self, x: Array, y: Array, center: Array) -> Array:
        d, _ = self._difference(x, y, center)
        return np.asarray(np.sum(d * d) / len(x) / 2, np.float32)

    def backward(self, dy: Array, x: Array, y: Array, center: Array) -> tuple[Array, None, Array]:
        d, index = self._difference(x, y, center)
        sums = np.zeros_like(center)
        np.subtract.at(sums, index, d)
        counts = np.bincount(index, minlength=len(center)).astype(np.float32)
        return (d * (dy / np.float32(len(x)))).reshape(x.shape), None, sums / (counts + 1)[:, None]

    def lower(self, g: Builder, x: str, y: str, center: str) -> str:
        index = g.Cast(labels.first(g, y, x), to=INT64)
        d = g.Sub(g.rows(x), g.Gather(center, index, axis=0))
        squares = g.ReduceSumSquare(d, int64(1), keepdims=0)
        return g.Mul(g.ReduceMean(squares, keepdims=0), np.float32(0.5))


@layer(param="inner_distance_param", bottoms=1)
class InnerDistance(Layer):
    """|x - w|^2 to each of num_output rows w of the blob; with distance_type L1 sum |x - w|.

    From: happynear/caffe-windows, src/caffe/layers/inner_distance_layer.cpp (by reading alone)
    Refused: normalize, which changes the blob in every pass; transpose; update_center_only.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        for field in ("normalize", "transpose", "update_center_only"):
            if getattr(self.p, field):
                raise UnsupportedError(f"{field}: true is not supported")
        if self.p.distance_type not in ("L1", "L2"):
            raise UnsupportedError(f"distance_type {self.p.distance_type!r} is not supported")

    def blobs(self, x: Shape) -> list[Blob]:
        length = prod(x[canonical_axis(self.p.axis, len(x)) :])
        return [Blob("weight", (self.p.num_output, length), self.p.weight_filler)]

    def shapes(self, x: Shape) -> list[Shape | None]:
        if self.p.num_output < 1:
            raise ShapeError(f"num_output must be positive, and is {self.p.num_output}")
        return [(*x[: canonical_axis(self.p.axis, len(x))], self.p.num_output)]

    def _differences(self, x: Array, weight: Array) -> Array:
        return x.reshape(-1, 1, weight.shape[1]) - weight

    def forward(self, x: Array, weight: Array) -> Array:
        d = self._differences(x, weight)
        sums = np.abs(d).sum(axis=2) if self.p.distance_type == "L1" else (d * d).sum(axis=2)
        shape = (*x.shape[: canonical_axis(self.p.axis, x.ndim)], len(weight))
        y: Array = sums.reshape(shape)
        return y

    def backward(self, dy: Array, x: Array, weight: Array) -> tuple[Array, Array]:
        d = self._differences(x, weight)
        slope = np.sign(d) if self.p.distance_type == "L1" else 2 * d
        flow = dy.reshape(len(d), len(weight), 1) * slope
        return flow.sum(axis=1).reshape(x.shape), -flow.sum(axis=0)

    def lower(self, g: Builder, x: str, weight: str) -> str:
        axis = canonical_axis(self.p.axis, len(g.dims(x)))
        sizes = [0] * axis
        length = prod(g.fixed(x, i) for i in range(axis, len(g.dims(x))))
        d = g.Sub(g.Reshape(x, int64(*sizes, 1, length)), weight)
        if self.p.distance_type == "L1":
            return g.ReduceSum(g.Abs(d), int64(axis + 1), keepdims=0)
        return g.ReduceSumSquare(d, int64(axis + 1), keepdims=0)
