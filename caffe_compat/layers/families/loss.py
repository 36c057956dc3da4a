"""The losses of labels without a softmax."""

from __future__ import annotations

from math import prod

import numpy as np

from ...caffe_pb2 import HingeLossParameter, LossParameter
from ...errors import ShapeError
from ...types import Array, Shape
from .. import labels
from ..builder import INT64, Builder, int64
from ..layer import Layer
from ..registry import layer


@layer(param="hinge_loss_param", bottoms=2, loss=True)
class HingeLoss(Layer):
    """sum max(0, 1 - s x)^p / N, s = 1 at the label and -1 elsewhere (hinge_loss_layer.cpp).

    NaN: counts as 0, as in Caffe; in ONNX and torch the loss is NaN.
    """

    no_backward = (1,)

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

    no_backward = (1,)

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


@layer(param="loss_param", bottoms=2, loss=True)
class SigmoidCrossEntropyLoss(Layer):
    """sum (max(x, 0) - x t + log(1 + exp(-|x|))) (sigmoid_cross_entropy_loss_layer.cpp).

    Normalized by the batch size unless loss_param says otherwise.
    """

    no_backward = blocked = (1,)

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
