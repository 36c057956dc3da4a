"""Losses and distances of class centres (Wen et al. 2016; Wang et al. 2017)."""

from __future__ import annotations

from math import prod

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from .. import labels
from ..axes import canonical_axis
from ..builder import INT64, Builder, int64
from ..layer import Arrays, Blob, Layer
from ..registry import layer


@layer(param="center_loss_param", bottoms=2, loss=True)
class CenterLoss(Layer):
    """sum |x - c_y|^2 / (2 N), c a centre for each class (Wen et al. 2016, eq. 2).

    A centre's gradient is the mean difference from its items, of one more than there are, whatever
    the loss weight is (eq. 4). happynear/caffe-windows adds it once for each of the items.

    From: ydwen/caffe-face, src/caffe/layers/center_loss_layer.cpp
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

    The gradient for L1 is the true one; the fork's own has -1 for each lower x, whatever the top's.

    From: happynear/caffe-windows, src/caffe/layers/inner_distance_layer.cpp
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


@layer(param="general_contrastive_loss_param", bottoms=2, tops=(1, 2), loss=True)
class GeneralContrastiveLoss(Layer):
    """Penalties of distances: far from the class of the label, and near to the other classes.

    Bottoms: distances (N, C), labels. The loss is the sum of min(max(x - positive_margin, 0),
    positive_outlier_thresh) at the label and max(negative_margin - x, 0) elsewhere, times
    positive_weight and negative_weight, / N. The second top has the means without the weights, of
    labels and of others; its loss weight has no gradient, and a distance beyond
    positive_outlier_thresh neither, as in the fork.

    From: happynear/caffe-windows, src/caffe/layers/general_constrastive_loss_layer.cpp
    Refused: normalize_negative, max_negative_only, max_positive_only, positive_first,
        exp_negative_weight, add_intra_mae.
    """

    approximate = True
    unread = (1,)

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        flags = ("max_negative_only", "max_positive_only", "positive_first", "exp_negative_weight")
        for field in (*flags, "add_intra_mae"):
            if getattr(self.p, field):
                raise UnsupportedError(f"{field}: true is not supported")
        if self.p.HasField("normalize_negative"):
            raise UnsupportedError("normalize_negative is not supported")

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        labels.check_same_batch(x, y)
        if any(n != 1 for n in y[1:]) or prod(x[1:]) < 2:
            raise ShapeError(f"needs distances to two classes or more, and labels; has {x} and {y}")
        tops: list[Shape | None] = [(), (2,)]
        return tops[: len(self.proto.top)]

    def classes(self, x: Shape, y: Shape) -> dict[int, int]:
        return {1: prod(x[1:])}

    def _own(self, x: Array, y: Array) -> tuple[Array, labels.Mask]:
        """Return the distances, (N, C), and which are to the label's class."""
        flat = x.reshape(len(x), -1)
        label, _ = labels.read(y.reshape(-1, 1), flat.shape, 1, None)
        return flat, np.arange(flat.shape[1]) == label

    def forward(self, x: Array, y: Array) -> Arrays:
        flat, own = self._own(x, y)
        near = np.clip(flat - np.float32(self.p.positive_margin), 0, self.p.positive_outlier_thresh)
        far = np.maximum(np.float32(self.p.negative_margin) - flat, 0)
        sums = np.sum(near * own, dtype=np.float32), np.sum(far * ~own, dtype=np.float32)
        weights = abs(self.p.positive_weight), abs(self.p.negative_weight)
        loss = (weights[0] * sums[0] + weights[1] * sums[1]) / len(x)
        means = sums[0] / len(x), sums[1] / len(x) / (flat.shape[1] - 1)
        tops = np.asarray(loss, np.float32), np.array(means, np.float32)
        return tops[: len(self.proto.top)]

    def backward(self, dy: Arrays, x: Array, y: Array) -> tuple[Array, None]:
        flat, own = self._own(x, y)
        inside = (flat > self.p.positive_margin) & (flat < self.p.positive_outlier_thresh)
        near = inside * np.float32(self.p.positive_weight)
        far = (flat < self.p.negative_margin) * -np.float32(self.p.negative_weight)
        weight = dy[0] if isinstance(dy, tuple) else dy
        flow: Array = np.where(own, near, far) * np.float32(weight / len(x))
        return flow.reshape(x.shape), None

    def lower(self, g: Builder, x: str, y: str) -> tuple[str | None, ...]:
        classes, p = prod(g.fixed(x, i) for i in range(1, len(g.dims(x)))), self.p
        flat, index = g.rows(x), g.Cast(labels.first(g, y, x), to=INT64)
        own = g.OneHot(index, np.int64(classes), np.array([0, 1], np.float32), axis=1)
        limit = np.float32(p.positive_outlier_thresh)
        near = g.Min(g.Relu(g.Sub(flat, np.float32(p.positive_margin))), limit)
        far = g.Relu(g.Sub(np.float32(p.negative_margin), flat))
        parts = g.Mul(near, own), g.Mul(far, g.Sub(np.float32(1), own))
        means = [g.ReduceMean(g.ReduceSum(each, int64(1), keepdims=0)) for each in parts]
        weights = abs(p.positive_weight), abs(p.negative_weight)
        terms = (g.Mul(m, np.float32(w)) for m, w in zip(means, weights, strict=True))
        loss = g.Squeeze(g.Add(*terms), int64(0))
        others = g.Mul(means[1], np.float32(1 / (classes - 1)))
        return (loss, g.Concat(means[0], others, axis=0))[: len(self.proto.top)]
