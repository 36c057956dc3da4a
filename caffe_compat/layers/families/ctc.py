"""Sequences without an alignment (Graves et al. 2006)."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from .. import labels
from ..axes import canonical_axis
from ..builder import FLOAT, INT64, Builder, int64
from ..layer import Layer
from ..registry import layer

Index = NDArray[np.int64]


def _collapse(best: Index, blank: int, merge: bool = True) -> list[Index]:
    """Return the best class of every step, (N, T), without blanks and repetitions."""
    keep = best != blank
    if merge:
        keep[:, 1:] &= best[:, 1:] != best[:, :-1]
    return [row[mask] for row, mask in zip(best, keep, strict=True)]


def _edits(a: Index, b: Index) -> int:
    """Return the number of labels to insert, delete or replace between two sequences."""
    row = list(range(len(b) + 1))
    for i, label in enumerate(a, 1):
        corner, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (label != other))
    return row[-1]


@layer(param="ctc_decoder_param", bottoms=(1, 3), tops=(1, 3))
class CTCGreedyDecoder(Layer):
    """The best class of every step without blanks and repetitions, (N, T, 1, 1); -1 behind.

    With labels (N, at most L) it is an accuracy, (1, 2, 1, 1): 1 less the mean edit distance, each
    over the longer sequence, and the share of streams that are right. Blanks do not count among the
    labels, nor what is behind a negative one.

    From: senlinuc/caffe_ocr, src/caffe/layers/ctc_decoder_layer.cpp
    Refused: a third bottom; in ONNX, labels.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if len(proto.bottom) > 2 or len(proto.top) > 1:
            raise UnsupportedError("decodes one bottom, or compares it with labels, to one top")

    def shapes(self, *x: Shape) -> list[Shape | None]:
        scores = x[0]
        if len(scores) < 3 or any(n != 1 for n in scores[3:]):
            raise ShapeError(f"needs a bottom (steps, streams, classes), and has {scores}")
        if len(x) == 1:
            return [(scores[1], scores[0], 1, 1)]
        if len(x[1]) < 2 or x[1][0] != scores[1] or prod(x[1][2:]) != 1:
            raise ShapeError(f"needs labels ({scores[1]}, at most L), and has {x[1]}")
        return [(1, 2, 1, 1)]

    def _blank(self, classes: int) -> int:
        return classes - 1 if self.p.blank_index < 0 else int(self.p.blank_index)

    def forward(self, x: Array, *y: Array) -> Array:
        best, blank = x.reshape(x.shape[:3]).argmax(axis=2).T, self._blank(x.shape[2])
        sequences = _collapse(best, blank, self.p.ctc_merge_repeated)
        if y:
            return self._accuracy(sequences, y[0].reshape(len(sequences), -1), blank)
        rows = np.full(best.shape, -1, np.float32)
        for row, sequence in zip(rows, sequences, strict=True):
            row[: len(sequence)] = sequence
        return rows[:, :, None, None]

    def _accuracy(self, sequences: list[Index], y: Array, blank: int) -> Array:
        errors, right = 0.0, 0
        for own, row in zip(sequences, y, strict=True):
            ends = np.flatnonzero(row < 0)
            target = (row[: ends[0]] if len(ends) else row) + 0.5
            target = target.astype(np.int64)
            target = target[target != blank]
            if longest := max(len(own), len(target)):
                edits = _edits(target, own)
                errors, right = errors + edits / longest, right + (edits == 0)
        shares = [1 - errors / len(sequences), right / len(sequences)]
        return np.array(shares, np.float32).reshape(1, 2, 1, 1)

    def lower(self, g: Builder, x: str, *y: str) -> str:
        if y:
            raise UnsupportedError("has no ONNX form with labels: it is an accuracy of training")
        steps = g.fixed(x, 0)
        best = g.ArgMax(x, axis=2, keepdims=0)
        if len(g.dims(x)) > 3:
            best = g.Reshape(best, int64(steps, -1))
        best = g.Transpose(best, perm=[1, 0])
        keep = _other(g, best, np.int64(self._blank(g.fixed(x, 2))))
        if self.p.ctc_merge_repeated:
            keep = g.And(keep, _lower_changes(g, best, steps))
        return g.Unsqueeze(_lower_front(g, best, keep, steps), int64(2, 3))


def _other(g: Builder, x: str, value: np.generic) -> str:
    """Write whether each of x is another than a value."""
    return g.Not(g.Equal(x, value))


def _lower_changes(g: Builder, best: str, steps: int) -> str:
    """Write whether each step's class, (N, T), differs from the one before."""
    before = g.Slice(best, int64(0), int64(steps - 1), int64(1))
    before = g.Pad(before, int64(0, 1, 0, 0), np.int64(-1))
    return g.Not(g.Equal(best, before))


def _lower_front(g: Builder, labels: str, keep: str, steps: int) -> str:
    """Write the labels, (N, T), with those to keep at the front and -1 behind."""
    # A step's place is the number of those before it that stay; others go behind all.
    earlier = np.triu(np.ones((steps, steps), np.float32), 1)
    place = g.Cast(g.MatMul(g.Cast(keep, to=FLOAT), earlier), to=INT64)
    place = g.Where(keep, place, np.int64(steps))
    values = g.Cast(labels, to=FLOAT)
    none = g.Sub(g.Mul(values, np.float32(0)), np.float32(1))
    none = g.Pad(none, int64(0, 0, 0, 1), np.float32(-1))
    y = g.ScatterElements(none, place, values, axis=1)
    return g.Slice(y, int64(0), int64(steps), int64(1))


@layer(param="labelsequence_accuracy_param", bottoms=2)
class LabelsequenceAccuracy(Layer):
    """The share of streams whose best classes (N, T, classes) give their labels (N, at most L).

    Repetitions and blanks do not count among the classes, nor blanks among the labels.

    From: jolibrain/caffe, src/caffe/layers/labelsequence_accuracy_layer.cpp
    """

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        labels.check_same_batch(x, y)
        if len(x) < 3 or prod(x[3:]) != 1 or len(y) < 2 or prod(y[2:]) != 1:
            raise ShapeError(f"needs scores (N, T, classes) and labels (N, L); has {x} and {y}")
        return [()]

    def forward(self, x: Array, y: Array) -> Array:
        blank = self.p.blank_label
        sequences = _collapse(x.reshape(x.shape[:3]).argmax(axis=2), blank)
        target = (row[row != blank].astype(np.int64) for row in y.reshape(len(y), -1))
        right = [np.array_equal(a, b) for a, b in zip(sequences, target, strict=True)]
        return np.asarray(np.mean(right), np.float32)

    def lower(self, g: Builder, x: str, y: str) -> str:
        steps, width, blank = g.fixed(x, 1), g.fixed(y, 1), self.p.blank_label
        best = g.ArgMax(x, axis=2, keepdims=0)
        best = best if len(g.dims(x)) == 3 else g.Reshape(best, int64(-1, steps))
        keep = g.And(_other(g, best, np.int64(blank)), _lower_changes(g, best, steps))
        front = _lower_front(g, best, keep, steps)
        rows = g.rows(y)
        target = _lower_front(g, g.Cast(rows, to=INT64), _other(g, rows, np.float32(blank)), width)
        length = max(steps, width)
        front, target = (
            g.Pad(each, int64(0, 0, 0, length - own), np.float32(-1))
            for each, own in ((front, steps), (target, width))
        )
        wrong = g.ReduceSum(g.Abs(g.Sub(front, target)), int64(1), keepdims=0)
        right = g.Cast(g.Equal(wrong, np.float32(0)), to=FLOAT)
        return g.ReduceMean(right, keepdims=0)


@layer(param="continuation_indicator_param", bottoms=(0, 1))
class ContinuationIndicator(Layer):
    """0 for the first of time_step steps and 1 for the others, (time_step, batch_size).

    From: yuqj1991/caffe_train, src/caffe/layers/continuation_indicator_layer.cpp
    From: jolibrain/caffe, src/caffe/layers/continuation_indicator_layer.cpp: the
        size of the bottom's `axis` in place of batch_size
    Refused: batch_size and axis.
    """

    def shapes(self, *x: Shape) -> list[Shape | None]:
        if self.p.batch_size and self.p.HasField("axis"):
            raise ShapeError("gives both batch_size and axis, of two forks; one of them")
        size = self.p.batch_size
        if x and not size:
            size = x[0][canonical_axis(self.p.axis, len(x[0]))]
        if not (self.p.time_step and size):
            raise ShapeError("time_step and batch_size must be positive")
        return [(self.p.time_step, size)]

    def _steps(self) -> Array:
        y = np.ones((self.p.time_step, 1), np.float32)
        y[0] = 0
        return y

    def forward(self, *x: Array) -> Array:
        (shape,) = self.shapes(*(bottom.shape for bottom in x))
        return np.broadcast_to(self._steps(), shape or ()).copy()

    def backward(self, dy: Array, *x: Array) -> tuple[Array, ...]:
        return tuple(np.zeros_like(bottom) for bottom in x)

    def lower(self, g: Builder, *x: str) -> str:
        size = self.p.batch_size
        axis = 0 if size else canonical_axis(self.p.axis, len(g.dims(x[0])))
        size = size or g.dims(x[0])[axis]
        if size is not None:
            return g.constant(np.tile(self._steps(), size))
        open_size = g.Shape(x[0], start=axis, end=axis + 1)
        return g.Expand(self._steps(), g.Concat(int64(1), open_size, axis=0))
