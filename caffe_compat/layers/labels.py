"""Class labels beside scores, and the number that a loss is divided by.

Labels arrive as float32 and are cut to whole numbers, as C++ casts them.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..caffe_pb2 import LossParameter
from ..errors import ShapeError, UnsupportedError
from ..types import Array, Dims, Shape
from .builder import FLOAT, INT64, Builder, int64

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]


def check_same_batch(x: Shape, y: Shape) -> None:
    """Raise ShapeError unless the first dimensions agree (LossLayer::Reshape)."""
    if not x or not y:
        raise ShapeError(f"axis 0 out of range: its bottoms are {x} and {y}")
    if x[0] != y[0]:
        raise ShapeError(f"data and label should have the same first dimension: {x[0]} and {y[0]}")


def check_legacy(*shapes: Shape) -> None:
    """Refuse more than 4 axes where Caffe reads num, channels, height and width."""
    for shape in shapes:
        if len(shape) > 4:
            raise ShapeError(f"takes blobs of 4 axes at most, and has {shape}")


def check_one_label_each(x: Shape, y: Shape, axis: int) -> None:
    """Raise ShapeError unless there is one label for every position beside the class axis."""
    want = prod(x[:axis]) * prod(x[axis + 1 :])
    if prod(y) != want:
        raise ShapeError(
            f"number of labels must match number of predictions: {prod(y)} labels {y} for {want} "
            f"predictions {x} with the classes on axis {axis}"
        )


def read(y: Array, scores: Shape, axis: int, ignore: int | None) -> tuple[Index, Mask]:
    """Return the labels in the scores' shape with 1 on the class axis, and which of them count.

    An ignored label is class 0.

    Raises:
        ShapeError: a label is no class; Caffe would read outside the blob.
    """
    labels = y.astype(np.int64).reshape(*scores[:axis], 1, *scores[axis + 1 :])
    counts = np.ones(labels.shape, bool) if ignore is None else labels != ignore
    wrong = labels[counts & ((labels < 0) | (labels >= scores[axis]))]
    if wrong.size:
        raise ShapeError(f"label {wrong[0]} is outside the {scores[axis]} classes")
    return np.where(counts, labels, 0), counts


def lower(g: Builder, y: str, x: str, axis: int, ignore: int | None) -> tuple[str, str | None]:
    """Write `read`: int64 labels and their mask, None if all count."""
    labels = g.Cast(beside(g, y, x, axis), to=INT64)
    if ignore is None:
        return labels, None
    counts = g.Not(g.Equal(labels, np.int64(ignore)))
    return g.Where(counts, labels, np.int64(0)), counts


def beside(g: Builder, y: str, x: str, axis: int) -> str:
    """Write labels of any shape in the shape of the scores `x` with 1 on the class axis."""
    have, scores = g.dims(y), g.dims(x)
    want = (*scores[:axis], 1, *scores[axis + 1 :])
    if have == want:
        return y
    if have == (*scores[:axis], *scores[axis + 1 :]):
        return g.Unsqueeze(y, int64(axis))
    if want.count(None) > 1:
        want = (*g.shape(x)[:axis], 1, *g.shape(x)[axis + 1 :])
    return g.Reshape(y, int64(*(-1 if n is None else n for n in want)))


def first(g: Builder, y: str, x: str) -> str:
    """Write the first labels of `y`, one for each item of `x`'s batch, along one axis."""
    have = g.dims(y)
    if len(have) == 1:
        return y
    flat = g.Reshape(y, int64(-1))
    if all(n == 1 for n in have[1:]):
        return flat
    return g.Slice(flat, int64(0), int64(g.fixed(x, 0)))


def ignored(p: Any) -> int | None:
    """Return the ignore_label of a LossParameter or AccuracyParameter, None where it has none."""
    return int(p.ignore_label) if p.HasField("ignore_label") else None


def mode(p: LossParameter, default: int) -> int:
    """Return the normalization mode: its field, else the deprecated `normalize`, else `default`."""
    if p.HasField("normalization"):
        if p.normalization == LossParameter.PRE_FIXED:
            raise UnsupportedError("normalization PRE_FIXED is for R-FCN's OHEM losses alone")
        return p.normalization
    if p.HasField("normalize"):
        return LossParameter.VALID if p.normalize else LossParameter.BATCH_SIZE
    return default


def normalizer(how: int, counts: Mask, outer: int) -> np.float32:
    """Return the divisor of a summed loss; BATCH_SIZE counts over the `outer` first axes."""
    if how == LossParameter.FULL:
        size = counts.size
    elif how == LossParameter.VALID:
        size = int(counts.sum())
    else:
        size = prod(counts.shape[:outer]) if how == LossParameter.BATCH_SIZE else 1
    return np.float32(max(1, size))


def lower_mean(g: Builder, loss: str, counts: str | None, how: int, dims: Dims, outer: int) -> str:
    """Write the sum of a loss over all positions, divided by `normalizer`: a scalar.

    Args:
        g: the builder.
        loss: the loss at every position.
        counts: the mask of the positions that count, None for all.
        how: the normalization mode.
        dims: the shape of `loss`.
        outer: the number of axes that BATCH_SIZE counts over.
    """
    if counts is not None:
        loss = g.Where(counts, loss, np.float32(0))
    if how == LossParameter.VALID and counts is not None:
        number = g.ReduceSum(g.Cast(counts, to=FLOAT), keepdims=0)
        total = g.ReduceSum(loss, keepdims=0)
        return g.Div(total, g.Max(number, np.float32(1)))
    if how == LossParameter.NONE or (how == LossParameter.BATCH_SIZE and outer == 0):
        return g.ReduceSum(loss, keepdims=0)
    if how == LossParameter.BATCH_SIZE and any(n != 1 for n in dims[outer:]):
        loss = g.ReduceSum(loss, int64(*range(outer, len(dims))), keepdims=0)
    return g.ReduceMean(loss, keepdims=0)
