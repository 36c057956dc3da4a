"""The losses without a softmax."""

from __future__ import annotations

from math import prod

import numpy as np

from ...caffe_pb2 import HingeLossParameter, LossParameter
from ...errors import ShapeError
from ...types import Array, Shape
from .. import labels
from ..builder import BOOL, INT32, INT64, Builder, int64
from ..layer import Layer, layer


@layer(bottoms=2, loss=True)
class EuclideanLoss(Layer):
    """sum (a - b)^2 / (2 N) (euclidean_loss_layer.cpp)."""

    def shapes(self, a: Shape, b: Shape) -> list[Shape | None]:
        labels.check_same_batch(a, b)
        labels.check_legacy(a)
        if prod(a[1:]) != prod(b[1:]):
            raise ShapeError(f"inputs must have the same dimension: {a} and {b}")
        return [()]

    def forward(self, a: Array, b: Array) -> Array:
        d = a - b.reshape(a.shape)
        return np.asarray(np.sum(d * d) / len(a) / 2, np.float32)

    def backward(self, dy: Array, a: Array, b: Array) -> tuple[Array, Array]:
        d = (a - b.reshape(a.shape)) * np.float32(dy / len(a))
        return d, -d.reshape(b.shape)

    def lower(self, g: Builder, a: str, b: str) -> str:
        return g.Mul(g.ReduceMean(_distance(g, a, b), keepdims=0), np.float32(0.5))


@layer(param="smooth_l1_loss_param", bottoms=(2, 4), loss=True)
class SmoothL1Loss(Layer):
    """sum f(a - b) / N, f(d) = (sigma d)^2 / 2 where |d| < 1 / sigma^2, else |d| - 1/2 / sigma^2.

    From: weiliu89/caffe, branch ssd, smooth_L1_loss_layer.cpp

    From: rbgirshick/caffe-fast-rcnn, smooth_L1_loss_layer.cu: weights and sigma

    Girshick 2015, eq. 3. A third bottom multiplies a - b, a fourth f. The gradient is multiplied by
    both if there are both, and by a third alone not again, as in Fast R-CNN.
    """

    @property
    def approximate(self) -> bool:
        return len(self.proto.bottom) == 3

    def shapes(self, *x: Shape) -> list[Shape | None]:
        labels.check_same_batch(*x[:2])
        labels.check_legacy(*x)
        if any((*x[0], 1, 1, 1)[1:4] != (*other, 1, 1, 1)[1:4] for other in x[1:]):
            raise ShapeError(f"inputs must have the same dimension: {' and '.join(map(str, x))}")
        if self.p.sigma <= 0:
            raise ShapeError(f"sigma must be positive, and is {self.p.sigma:g}")
        return [()]

    def _difference(self, *x: Array) -> tuple[Array, Array | None, Array | None]:
        """Return the weighted difference, and the weights in its shape."""
        a, b, *weights = x
        inner, outer = ([w.reshape(a.shape) for w in weights] + [None, None])[:2]
        d = a - b.reshape(a.shape)
        return d if inner is None else inner * d, inner, outer

    @property
    def _square(self) -> np.float32:
        return np.float32(self.p.sigma) ** 2

    def forward(self, *x: Array) -> Array:
        d, _, outer = self._difference(*x)
        size, square = np.abs(d), self._square
        errors = np.where(size < 1 / square, d * d * (square / 2), size - 1 / (2 * square))
        errors = errors if outer is None else outer * errors
        return np.asarray(np.sum(errors) / len(x[0]), np.float32)

    def backward(self, dy: Array, *x: Array) -> tuple[Array | None, ...]:
        d, inner, outer = self._difference(*x)
        flow = np.clip(self._square * d, -1, 1) * np.float32(dy / len(x[0]))
        if inner is not None and outer is not None:
            flow = flow * inner * outer
        return (flow, -flow.reshape(x[1].shape), *(None for _ in x[2:]))

    def lower(self, g: Builder, *x: str) -> str:
        same = len({g.dims(name) for name in x}) == 1 and len(g.dims(x[0])) > 1
        parts = [*x] if same else [g.Flatten(name, axis=1) for name in x]
        d, square = g.Sub(parts[0], parts[1]), self._square
        if len(parts) > 2:
            d = g.Mul(d, parts[2])
        size = g.Abs(d)
        inside = g.Mul(g.Mul(size, size), square / np.float32(2))
        outside = g.Sub(size, 1 / (2 * square))
        losses = g.Where(g.Less(size, 1 / square), inside, outside)
        if len(parts) > 3:
            losses = g.Mul(losses, parts[3])
        rank = len(g.dims(x[0])) if same else 2
        return g.ReduceMean(g.ReduceSum(losses, int64(*range(1, rank)), keepdims=0), keepdims=0)


def _distance(g: Builder, a: str, b: str) -> str:
    """Write the squared distance of every pair in two batches, along one axis."""
    if g.dims(a) == g.dims(b) and len(g.dims(a)) > 1:
        d = g.Sub(a, b)
    else:
        d = g.Sub(g.Flatten(a, axis=1), g.Flatten(b, axis=1))
    rank = len(g.dims(a)) if g.dims(a) == g.dims(b) else 2
    return g.ReduceSumSquare(d, int64(*range(1, max(2, rank))), keepdims=0)


@layer(param="hinge_loss_param", bottoms=2, loss=True)
class HingeLoss(Layer):
    """sum max(0, 1 - s x)^p / N, s = 1 at the label and -1 elsewhere (hinge_loss_layer.cpp).

    NaN: counts as 0, as in Caffe; in ONNX and torch the loss is NaN.
    """

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        labels.check_same_batch(x, y)
        labels.check_legacy(x)
        return [()]

    def classes(self, x: Shape, y: Shape) -> dict[int, int]:
        return {1: prod(x[1:])}

    def forward(self, x: Array, y: Array) -> Array:
        margin, _ = self._margin(x, y)
        squared = self.p.norm == HingeLossParameter.L2
        return np.asarray(np.sum(margin * margin if squared else margin) / len(x), np.float32)

    def backward(self, dy: Array, x: Array, y: Array) -> tuple[Array, None]:
        margin, sign = self._margin(x, y)
        squared = self.p.norm == HingeLossParameter.L2
        slope = 2 * margin if squared else np.sign(margin)
        return (slope * -sign * np.float32(dy / len(x))).reshape(x.shape), None

    def _margin(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Return max(0, 1 - s x), and s, each (N, classes)."""
        flat = x.reshape(len(x), -1)
        label, _ = labels.read(y.reshape(-1)[: len(x)], flat.shape, 1, None)
        sign = np.full(flat.shape, -1, np.float32)
        np.put_along_axis(sign, label, 1, 1)
        return np.fmax(0, 1 - sign * flat), sign

    def lower(self, g: Builder, x: str, y: str) -> str:
        classes = prod(g.fixed(x, axis) for axis in range(1, len(g.dims(x))))
        label = g.Cast(labels.first(g, y, x), to=INT64)
        sign = g.OneHot(label, np.int64(classes), np.array([1, -1], np.float32), axis=1)
        margin = g.Relu(g.Add(g.Mul(g.rows(x), sign), np.float32(1)))
        reduce = g.ReduceSumSquare if self.p.norm == HingeLossParameter.L2 else g.ReduceSum
        return g.ReduceMean(reduce(margin, int64(1), keepdims=0), keepdims=0)


@layer(bottoms=2, loss=True)
class MultinomialLogisticLoss(Layer):
    """-sum log max(p[label], 1e-20) / N (multinomial_logistic_loss_layer.cpp)."""

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        labels.check_same_batch(x, y)
        labels.check_legacy(x, y)
        if any(n != 1 for n in y[1:]):
            raise ShapeError(f"takes one label for each item, and has labels {y}")
        return [()]

    def classes(self, x: Shape, y: Shape) -> dict[int, int]:
        return {1: prod(x[1:])}

    def forward(self, x: Array, y: Array) -> Array:
        picked, _ = self._picked(x, y)
        return np.asarray(-np.sum(np.log(picked)) / len(x), np.float32)

    def backward(self, dy: Array, x: Array, y: Array) -> tuple[Array, None]:
        picked, label = self._picked(x, y)
        dx = np.zeros((len(x), prod(x.shape[1:])), np.float32)
        np.put_along_axis(dx, label, -np.float32(dy / len(x)) / picked, 1)
        return dx.reshape(x.shape), None

    def _picked(self, x: Array, y: Array) -> tuple[Array, labels.Index]:
        flat = x.reshape(len(x), -1)
        label, _ = labels.read(y, flat.shape, 1, None)
        return np.maximum(np.take_along_axis(flat, label, 1), np.float32(1e-20)), label

    def lower(self, g: Builder, x: str, y: str) -> str:
        picked = g.GatherElements(g.rows(x), g.Cast(g.rows(y), to=INT64), axis=1)
        logs = g.Log(g.Max(picked, np.float32(1e-20)))
        return g.Neg(g.ReduceMean(logs, keepdims=0))


@layer(param="contrastive_loss_param", bottoms=3, loss=True)
class ContrastiveLoss(Layer):
    """sum (y d^2 + (1 - y) max(margin - d, 0)^2) / (2 N) (contrastive_loss_layer.cpp).

    d = |a - b| (Hadsell et al. 2006, eq. 4). With legacy_version the second square is
    max(margin - d^2, 0).
    """

    approximate = True  # see backward

    def shapes(self, a: Shape, b: Shape, y: Shape) -> list[Shape | None]:
        labels.check_same_batch(a, b)
        labels.check_legacy(a, b, y)
        channels = [prod(shape[1:2]) for shape in (a, b)]
        if channels[0] != channels[1] or any(n != 1 for n in (*a[2:], *b[2:])):
            raise ShapeError(f"compares vectors of equal length; its bottoms are {a} and {b}")
        if not y or y[0] < a[0] or any(n != 1 for n in y[1:]):
            raise ShapeError(f"takes one label for each of {a[0]} pairs, and has labels {y}")
        return [()]

    def forward(self, a: Array, b: Array, y: Array) -> Array:
        _, squares, similar = self._pairs(a, b, y)
        losses = np.where(similar, squares, self._apart(squares))
        return np.asarray(losses.sum() / len(a) / 2, np.float32)

    def _apart(self, squares: Array) -> Array:
        margin, zero = np.float32(self.p.margin), np.float32(0)
        if self.p.legacy_version:
            return np.asarray(np.maximum(margin - squares, zero))
        return np.asarray(np.square(np.maximum(margin - np.sqrt(squares), zero)))

    def backward(self, dy: Array, a: Array, b: Array, y: Array) -> tuple[Array, Array, None]:
        d, squares, similar = self._pairs(a, b, y)
        margin, distance = np.float32(self.p.margin), np.sqrt(squares)
        if self.p.legacy_version:
            slope = np.where(margin - squares > 0, np.float32(-1), np.float32(0))
        else:
            # 1e-4 keeps Caffe from dividing by 0 where a pair coincides.
            slope = -np.maximum(margin - distance, 0) / (distance + np.float32(1e-4))
        da = d * np.where(similar, np.float32(1), slope)[:, None] * np.float32(dy / len(a))
        return da.reshape(a.shape), -da.reshape(b.shape), None

    def _pairs(self, a: Array, b: Array, y: Array) -> tuple[Array, Array, labels.Mask]:
        d = a.reshape(len(a), -1) - b.reshape(len(b), -1)
        return d, np.sum(d * d, axis=1), y.reshape(-1)[: len(a)].astype(np.int32) != 0

    def lower(self, g: Builder, a: str, b: str, y: str) -> str:
        squares = _distance(g, a, b)
        pairs = labels.first(g, y, a)
        if g.dims(y)[0] != g.dims(a)[0]:
            pairs = g.Slice(pairs, int64(0), int64(g.fixed(a, 0)))
        similar = g.Cast(g.Cast(pairs, to=INT32), to=BOOL)
        margin = np.float32(self.p.margin)
        if self.p.legacy_version:
            apart = g.Relu(g.Sub(margin, squares))
        else:
            apart = g.Relu(g.Sub(margin, g.Sqrt(squares)))
            apart = g.Mul(apart, apart)
        losses = g.Where(similar, squares, apart)
        return g.Mul(g.ReduceMean(losses, keepdims=0), np.float32(0.5))


@layer(param="loss_param", bottoms=2, loss=True)
class SigmoidCrossEntropyLoss(Layer):
    """sum (max(x, 0) - x t + log(1 + exp(-|x|))) (sigmoid_cross_entropy_loss_layer.cpp).

    Normalized by the batch size unless loss_param says otherwise.
    """

    blocked = (1,)

    @property
    def mode(self) -> int:
        return labels.mode(self.p, LossParameter.BATCH_SIZE)

    def shapes(self, x: Shape, t: Shape) -> list[Shape | None]:
        labels.check_same_batch(x, t)
        if prod(x) != prod(t):
            raise ShapeError(f"inputs must have the same count: {x} and {t}")
        return [()]

    def forward(self, x: Array, t: Array) -> Array:
        t = t.reshape(x.shape)
        losses = np.maximum(x, 0) - x * t + np.log(1 + np.exp(-np.abs(x)))
        counts = self._counts(t)
        scale = labels.normalizer(self.mode, counts, 1)
        return np.asarray(np.sum(losses * counts) / scale, np.float32)

    def backward(self, dy: Array, x: Array, t: Array) -> tuple[Array, None]:
        t = t.reshape(x.shape)
        counts = self._counts(t)
        sigmoid = np.float32(0.5) * np.tanh(np.float32(0.5) * x) + np.float32(0.5)
        return (sigmoid - t) * counts * (dy / labels.normalizer(self.mode, counts, 1)), None

    def _counts(self, t: Array) -> labels.Mask:
        ignore = labels.ignored(self.p)
        return np.ones(t.shape, bool) if ignore is None else t.astype(np.int32) != ignore

    def lower(self, g: Builder, x: str, t: str) -> str:
        dims = g.dims(x)
        if dims != g.dims(t):
            dims = (dims[0], None)
            x, t = g.Flatten(x, axis=1), g.Flatten(t, axis=1)
        tail = g.Log(g.Add(g.Exp(g.Neg(g.Abs(x))), np.float32(1)))
        losses = g.Add(g.Sub(g.Relu(x), g.Mul(x, t)), tail)
        ignore, counts = labels.ignored(self.p), None
        if ignore is not None:
            label = g.Cast(t, to=INT64)
            counts = g.Not(g.Equal(label, np.int64(ignore)))
        return labels.lower_mean(g, losses, counts, self.mode, dims, 1)


@layer(bottoms=2, loss=True)
class L1Loss(Layer):
    """sum |a - b| / N.

    From: Zheng222/IDN-Caffe, train/src/caffe/layers/l1_loss_layer.cpp (by reading alone)
    """

    def shapes(self, a: Shape, b: Shape) -> list[Shape | None]:
        labels.check_same_batch(a, b)
        if prod(a) != prod(b):
            raise ShapeError(f"inputs must have the same count: {a} and {b}")
        return [()]

    def forward(self, a: Array, b: Array) -> Array:
        return np.asarray(np.sum(np.abs(a - b.reshape(a.shape))) / len(a), np.float32)

    def backward(self, dy: Array, a: Array, b: Array) -> tuple[Array, Array]:
        d = np.sign(a - b.reshape(a.shape)) * np.float32(dy / len(a))
        return d, -d.reshape(b.shape)

    def lower(self, g: Builder, a: str, b: str) -> str:
        same = g.dims(a) == g.dims(b) and len(g.dims(a)) > 1
        d = g.Sub(a, b) if same else g.Sub(g.Flatten(a, axis=1), g.Flatten(b, axis=1))
        rank = len(g.dims(a)) if same else 2
        sums = g.ReduceSum(g.Abs(d), int64(*range(1, rank)), keepdims=0)
        return g.ReduceMean(sums, keepdims=0)
