"""The share of labels among the best scores."""

from __future__ import annotations

from math import prod

import numpy as np

from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from .. import labels
from ..axes import canonical_axis
from ..builder import FLOAT, Builder, Tensors, int64
from ..layer import Arrays, Layer
from ..registry import layer


@layer(param="accuracy_param", bottoms=2, tops=(1, 2))
class Accuracy(Layer):
    """The share of labels whose score fewer than top_k others reach (accuracy_layer.cpp).

    A tie counts against the label. The second top has the share for each class.
    """

    no_backward = (0, 1)

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        axis = canonical_axis(self.p.axis, len(x))
        if self.p.top_k > prod(x) // max(1, prod(y)):
            raise ShapeError(
                f"top_k {self.p.top_k} must be less than or equal to the number of classes, "
                f"{prod(x) // max(1, prod(y))}"
            )
        labels.check_one_label_each(x, y, axis)
        return [(), (x[axis],)] if len(self.proto.top) > 1 else [()]

    def classes(self, x: Shape, y: Shape) -> dict[int, int]:
        return {1: x[canonical_axis(self.p.axis, len(x))]}

    def forward(self, x: Array, y: Array) -> Arrays:
        axis = canonical_axis(self.p.axis, x.ndim)
        label, counts = labels.read(y, x.shape, axis, labels.ignored(self.p))
        reach = x >= np.take_along_axis(x, label, axis)  # the label itself among them
        right = (reach.sum(axis=axis, keepdims=True) <= self.p.top_k) & counts
        accuracy = np.asarray(right.sum() / max(1, counts.sum()), np.float32)
        if len(self.proto.top) == 1:
            return accuracy
        totals = np.bincount(label[counts], minlength=x.shape[axis])
        hits = np.bincount(label[right], minlength=x.shape[axis])
        return accuracy, (hits / np.maximum(totals, 1)).astype(np.float32)

    def lower(self, g: Builder, x: str, y: str) -> Tensors:
        rank = len(g.dims(x))
        axis = canonical_axis(self.p.axis, rank)
        label, counts = labels.lower(g, y, x, axis, labels.ignored(self.p))
        reach = g.GreaterOrEqual(x, g.GatherElements(x, label, axis=axis))
        number = g.ReduceSum(g.Cast(reach, to=FLOAT), int64(axis), keepdims=1)
        right = g.LessOrEqual(number, np.float32(self.p.top_k))
        one = np.float32(1)
        if counts is None:
            accuracy = g.ReduceMean(g.Cast(right, to=FLOAT), keepdims=0)
        else:
            right = g.And(right, counts)
            hits = g.ReduceSum(g.Cast(right, to=FLOAT), keepdims=0)
            totals = g.ReduceSum(g.Cast(counts, to=FLOAT), keepdims=0)
            accuracy = g.Div(hits, g.Max(totals, one))
        if len(self.proto.top) == 1:
            return accuracy
        classes = np.arange(g.fixed(x, axis)).reshape(-1, *(1,) * (rank - 1 - axis))
        mine = g.Equal(label, classes)
        mine = g.Cast(mine if counts is None else g.And(mine, counts), to=FLOAT)
        hits = g.Mul(mine, g.Cast(right, to=FLOAT))
        totals = mine
        if rank > 1:  # a sum along no axis were one along all
            others = int64(*(i for i in range(rank) if i != axis))
            hits = g.ReduceSum(hits, others, keepdims=0)
            totals = g.ReduceSum(mine, others, keepdims=0)
        return accuracy, g.Div(hits, g.Max(totals, one))


@layer(param="seg_accuracy_param", bottoms=2)
class SegAccuracy(Layer):
    """Of pictures' positions the share that is right, its mean by class, and the mean overlap.

    The overlap of a class is intersection over union, 1 where both are empty. A tie is the last
    class's.

    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe,
        src/caffe/layers/seg_accuracy_layer.cpp
        and src/caffe/util/confusion_matrix.cpp

    Refused: where it runs with reset: false, which counts over all passes.
    """

    evaluates = True

    def check_forward(self) -> None:
        if not self.p.reset:
            raise UnsupportedError("reset: false counts over all passes")

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        if len(x) != 4 or y != (x[0], 1, *x[2:]):
            raise ShapeError(f"needs scores (N, C, H, W) and labels (N, 1, H, W): {x} and {y}")
        return [(1, 1, 1, 3)]

    def forward(self, x: Array, y: Array) -> Array:
        self.check_forward()
        classes = x.shape[1]
        best = classes - 1 - x[:, ::-1].argmax(axis=1)
        label = y[:, 0].astype(np.int64)
        counts = ~np.isin(label, list(self.p.ignore_label))
        wrong = label[counts & ((label < 0) | (label >= classes))]
        if wrong.size:
            raise ShapeError(f"label {wrong[0]} is outside the {classes} classes")
        pairs = np.bincount(label[counts] * classes + best[counts], minlength=classes**2)
        matrix = pairs.reshape(classes, classes)
        right, size = np.diag(matrix), matrix.sum(axis=1)
        union = size + matrix.sum(axis=0) - right
        recall = right[size > 0] / size[size > 0]
        overlap = np.where(union > 0, right / np.maximum(union, 1), 1)
        shares = [right.sum() / max(1, size.sum()), recall.mean() if size.any() else 0]
        return np.array([*shares, overlap.mean()], np.float32).reshape(1, 1, 1, 3)
