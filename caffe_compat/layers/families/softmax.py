"""Softmax, and the losses on top of it."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np

from ...caffe_pb2 import LossParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ...weights import read_blob
from .. import labels
from ..axes import canonical_axis
from ..builder import Builder, Tensors, int64
from ..layer import Arrays, Find, Layer
from ..registry import layer

# Caffe's lower bounds of a probability before its logarithm: FLT_MIN, kLOG_THRESHOLD.
_TINY = np.float32(np.finfo(np.float32).tiny)
_THRESHOLD = np.float32(1e-20)


def softmax(x: Array, axis: int) -> Array:
    """Return exp(x - max) / sum exp(x - max) along an axis."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


@layer(param="softmax_param", inplace=True)
class Softmax(Layer):
    """exp(x_i) / sum_j exp(x_j) along `axis` (softmax_layer.cpp)."""

    def shapes(self, x: Shape) -> list[Shape | None]:
        canonical_axis(self.p.axis, len(x))
        return [x]

    def forward(self, x: Array) -> Array:
        return softmax(x, canonical_axis(self.p.axis, x.ndim))

    def backward(self, dy: Array, x: Array) -> Array:
        axis = canonical_axis(self.p.axis, x.ndim)
        y = softmax(x, axis)
        return np.asarray((dy - np.sum(dy * y, axis=axis, keepdims=True)) * y)

    def backward_left(self, dy: Array, x: Array, *, left: Array, y: Array) -> Array:
        axis = canonical_axis(self.p.axis, x.ndim)
        return np.asarray((dy - np.sum(dy * y, axis=axis, keepdims=True)) * y)

    def lower(self, g: Builder, x: str) -> str:
        return g.Softmax(x, axis=canonical_axis(self.p.axis, len(g.dims(x))))


class _ProbabilityLoss(Layer):
    """A loss of softmax probabilities."""

    def axis(self, rank: int) -> int:
        """Return the axis of the classes."""
        raise NotImplementedError

    @property
    def ignore(self) -> int | None:
        return labels.ignored(self.proto.loss_param)

    @property
    def mode(self) -> int:
        return labels.mode(self.proto.loss_param, LossParameter.VALID)

    def shapes(self, x: Shape, y: Shape, *h: Shape) -> list[Shape | None]:
        labels.check_same_batch(x, y)
        labels.check_one_label_each(x, y, self.axis(len(x)))
        return [()]

    def classes(self, x: Shape, y: Shape, *h: Shape) -> dict[int, int]:
        return {1: x[self.axis(len(x))]}

    def _mean(self, losses: Array, counts: labels.Mask, axis: int) -> Array:
        scale = labels.normalizer(self.mode, counts, axis)
        return np.asarray(np.sum(losses * counts) / scale, np.float32)

    def _scaled(self, dy: Array, dx: Array, counts: labels.Mask) -> Array:
        scale = labels.normalizer(self.mode, counts, self.axis(dx.ndim))
        return np.asarray(dx * counts * (dy / scale), np.float32)

    def _lowered(self, g: Builder, x: str, logs: str, counts: str | None) -> str:
        dims = g.dims(x)
        axis = self.axis(len(dims))
        dims = (*dims[:axis], 1, *dims[axis + 1 :])
        return g.Neg(labels.lower_mean(g, logs, counts, self.mode, dims, axis))


@layer(param="loss_param", bottoms=2, loss=True)
class SoftmaxWithLoss(_ProbabilityLoss):
    """-log max(softmax(x)[label], FLT_MIN), summed and normalized (softmax_loss_layer.cpp).

    Refused: a second top: Caffe hands both loss weights to the Softmax inside, and aborts.
    """

    no_backward = (1,)

    def axis(self, rank: int) -> int:
        return canonical_axis(self.proto.softmax_param.axis, rank)

    def forward(self, x: Array, y: Array) -> Array:
        axis = self.axis(x.ndim)
        probs = softmax(x, axis)
        label, counts = labels.read(y, x.shape, axis, self.ignore)
        picked = np.take_along_axis(probs, label, axis)
        return self._mean(-np.log(np.maximum(picked, _TINY)), counts, axis)

    def backward(self, dy: Array, x: Array, y: Array) -> tuple[Array, None]:
        axis = self.axis(x.ndim)
        label, counts = labels.read(y, x.shape, axis, self.ignore)
        dx = softmax(x, axis)
        np.put_along_axis(dx, label, np.take_along_axis(dx, label, axis) - 1, axis)
        return self._scaled(dy, dx, counts), None

    def lower(self, g: Builder, x: str, y: str) -> str:
        axis = self.axis(len(g.dims(x)))
        label, counts = labels.lower(g, y, x, axis, self.ignore)
        logs = g.GatherElements(g.LogSoftmax(x, axis=axis), label, axis=axis)
        return self._lowered(g, x, g.Max(logs, np.log(_TINY)), counts)


@layer(param="infogain_loss_param", bottoms=(2, 3), tops=(1, 2), loss=True)
class InfogainLoss(_ProbabilityLoss):
    """-sum_k H[label, k] log max(softmax(x)[k], 1e-20), normalized (infogain_loss_layer.cpp).

    The second top has the probabilities; no gradient comes back from it.

    Training, `import caffe` and `--data net` read H from the file that `source` names.

    Refused: `source` elsewhere; feed H as the third bottom.
    """

    no_backward = (1, 2)
    blocked = (2,)
    unread = (1,)
    file: Path | None = None  # the file of H, once it is read
    matrix: Array

    def axis(self, rank: int) -> int:
        return canonical_axis(self.p.axis, rank)

    def shapes(self, x: Shape, y: Shape, *h: Shape) -> list[Shape | None]:
        tops = super().shapes(x, y)
        if self.proto.loss_param.HasField("normalize"):
            raise ShapeError("normalize is deprecated here; give normalization")
        classes, shape = x[self.axis(len(x))], h[0] if h else self._file().shape
        if prod(shape) != classes**2:
            source = "" if h else f"source {self.file}: "
            raise ShapeError(f"{source}H must be {classes}x{classes}, and is {shape}")
        return [*tops, x][: len(self.proto.top) or 1]

    def read(self, find: Find) -> None:
        if len(self.proto.bottom) < 3 and self.p.HasField("source"):
            self.file = find(self.p.source, "source")
            self.matrix = np.array(read_blob(self.file, "H"), np.float32)

    def _file(self) -> Array:
        """Return H as it stands in the file.

        Raises:
            ShapeError: the layer names no file.
            UnsupportedError: it is not read.
        """
        if self.file is not None:
            return self.matrix
        if not self.p.HasField("source"):
            raise ShapeError("needs the infogain matrix, as source or as a third bottom")
        raise UnsupportedError(
            f"infogain_loss_param.source '{self.p.source}' is a file that the net names, and is "
            "not opened here; feed H as a third bottom",
            remedies=("data", "deploy"),
            changes=[{"deploy": True}],
        )

    def forward(self, x: Array, y: Array, *h: Array) -> Arrays:
        axis = self.axis(x.ndim)
        probs = softmax(x, axis)
        rows, counts = self._rows(x, y, *h)
        logs = np.log(np.maximum(probs, _THRESHOLD))
        loss = self._mean(-np.sum(rows * logs, axis=axis, keepdims=True), counts, axis)
        return (loss, probs) if len(self.proto.top) > 1 else loss

    def backward(self, dy: Arrays, x: Array, y: Array, *h: Array) -> tuple[Array | None, ...]:
        dy = dy[0] if isinstance(dy, tuple) else dy
        axis = self.axis(x.ndim)
        rows, counts = self._rows(x, y, *h)
        dx = softmax(x, axis) * rows.sum(axis=axis, keepdims=True) - rows
        return (self._scaled(dy, dx, counts), *(None,) * (1 + len(h)))

    def _rows(self, x: Array, y: Array, *h: Array) -> tuple[Array, labels.Mask]:
        """Return H's row of every label, along the class axis."""
        axis = self.axis(x.ndim)
        label, counts = labels.read(y, x.shape, axis, self.ignore)
        matrix = h[0] if h else self.matrix
        rows = matrix.reshape(x.shape[axis], -1)[np.squeeze(label, axis)]
        return np.moveaxis(rows, -1, axis), counts

    def lower(self, g: Builder, x: str, y: str, *h: str) -> Tensors:
        rank = len(g.dims(x))
        axis = self.axis(rank)
        classes = g.fixed(x, axis)
        label, counts = labels.lower(g, y, x, axis, self.ignore)
        square = (classes, classes)
        if not h:
            matrix = g.constant(self.matrix.reshape(square))
        else:
            matrix = h[0] if g.dims(h[0]) == square else g.Reshape(h[0], int64(*square))
        rows = g.Gather(matrix, g.Squeeze(label, int64(axis)), axis=0)
        if axis != rank - 1:
            rows = g.Transpose(rows, perm=[*range(axis), rank - 1, *range(axis, rank - 1)])
        logs = g.Max(g.LogSoftmax(x, axis=axis), np.log(_THRESHOLD))
        sums = g.ReduceSum(g.Mul(rows, logs), int64(axis), keepdims=1)
        loss = self._lowered(g, x, sums, counts)
        return (loss, g.Softmax(x, axis=axis)) if len(self.proto.top) > 1 else loss
