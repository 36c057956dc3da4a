"""The loss of sequences without an alignment (Graves et al. 2006)."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..layer import Layer
from ..registry import layer
from .softmax import softmax

Doubles = NDArray[np.float64]
Index = NDArray[np.int64]


def _costs(scores: Array, sequences: list[Index], blank: int) -> tuple[Doubles, Array]:
    """Return -log of each sequence's probability, (N,), and the gradients by the scores.

    A sequence that needs more steps than there are has cost and gradient 0, as in warp-ctc.

    Args:
        scores: of each class before a softmax, (T, N, classes).
        sequences: the labels of each stream, without blanks.
        blank: the class between labels.
    """
    fits = [len(s) + np.sum(s[1:] == s[:-1]) <= len(scores) for s in sequences]
    index, costs, grads = np.flatnonzero(fits), np.zeros(len(sequences)), np.zeros_like(scores)
    if not len(index):
        return costs, grads
    path, sizes = _paths([sequences[n] for n in index], blank)
    places = np.arange(path.shape[1])
    inside = places < sizes[:, None]
    back = np.where(inside, sizes[:, None] - 1 - places, places)  # each path from its end
    shares = softmax(scores[:, index].astype(np.float64), 2)
    logs = np.where(inside, np.log(np.take_along_axis(shares, path[None], 2)), 0)
    ahead = _sums(logs, path)
    reverse = _sums(_along(logs[::-1], back), np.take_along_axis(path, back, 1))
    behind = _along(reverse[::-1], back)
    ends = np.take_along_axis(ahead[-1], np.maximum(sizes[:, None] - [1, 2], 0), 1)
    costs[index] = -np.where(sizes > 1, np.logaddexp(*ends.T), ends[:, 0])
    # The share of each place at each step.
    present = np.exp(np.where(inside, ahead + behind - logs, -np.inf) + costs[index][:, None])
    streams = np.arange(len(index))[:, None]
    np.subtract.at(shares.transpose(1, 2, 0), (streams, path), present.transpose(1, 2, 0))
    grads[:, index] = shares
    return costs, grads


def _paths(sequences: list[Index], blank: int) -> tuple[Index, Index]:
    """Return each sequence with blanks around every label, filled up with blanks, and the sizes."""
    sizes = np.array([2 * len(labels) + 1 for labels in sequences])
    path = np.full((len(sequences), sizes.max()), blank)
    for row, labels in zip(path, sequences, strict=True):
        row[1 : 2 * len(labels) : 2] = labels
    return path, sizes


def _along(x: Doubles, index: Index) -> Doubles:
    """Return the places of each step's row, (T, N, S), in another order."""
    ordered: Doubles = np.take_along_axis(x, index[None], 2)
    return ordered


def _sums(logs: Doubles, path: Index) -> Doubles:
    """Return the logarithm of the sum over all ways to each place of the paths at each step.

    A way goes on to the same place or the next; or over a blank, between two labels that differ.
    """
    skips = np.zeros(path.shape, bool)
    skips[:, 2:] = path[:, 2:] != path[:, :-2]  # two blanks are equal
    sums = np.full(logs.shape, -np.inf)
    sums[0, :, :2] = logs[0, :, :2]
    for before, now, own in zip(sums[:-1], sums[1:], logs[1:], strict=True):
        now[...] = before
        now[:, 1:] = np.logaddexp(now[:, 1:], before[:, :-1])
        now[:, 2:] = np.where(skips[:, 2:], np.logaddexp(now[:, 2:], before[:, :-2]), now[:, 2:])
        now += own
    return sums


class _CTC(Layer):
    """A loss of scores (T, N, classes) before a softmax, and of labels (N, at most L)."""

    blocked = (1,)
    evaluates = True
    approximate = True  # see each

    def forward(self, x: Array, y: Array) -> Array:
        loss, _ = self.forward_keeping(x, y)
        return np.asarray(loss, np.float32)

    def _sequences(self, y: Array, classes: int, blank: int) -> list[Index]:
        """Return each stream's labels, which blanks fill up."""
        rows = y.reshape(len(y), -1).astype(np.int64)
        wrong = rows[(rows < 0) | (rows >= classes)]
        if wrong.size:
            raise ShapeError(f"label {wrong[0]} is outside the {classes} classes")
        return [row[row != blank] for row in rows]

    def _check(self, x: Shape, y: Shape) -> None:
        if len(x) < 3 or prod(x[3:]) != 1:
            raise ShapeError(f"needs a bottom (steps, streams, classes), and has {x}")
        if len(y) < 2 or y[0] != x[1] or prod(y[2:]) != 1:
            raise ShapeError(f"needs labels ({x[1]}, at most L), and has {y}")


@layer(param="ctc_loss_param", bottoms=2, loss=True)
class CtcLoss(_CTC):
    """The mean of the costs of N streams; the gradient is that of their sum, as in the fork.

    Of the bottom's steps the first time_step count.

    From: jolibrain/caffe, src/caffe/layers/ctc_loss_layer.cpp, with warp-ctc
    From: yuqj1991/caffe_train: the same, by warpctc_loss_param
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if proto.HasField("warpctc_loss_param"):
            self.p = proto.warpctc_loss_param

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        self._check(x, y)
        if self.p.alphabet_size != x[2] or not 0 < self.p.time_step <= x[0]:
            raise ShapeError(
                f"alphabet_size {self.p.alphabet_size} and time_step {self.p.time_step} do not fit "
                f"a bottom (steps, streams, classes) {x}"
            )
        return [()]

    def _results(self, x: Array, y: Array) -> tuple[Doubles, Array]:
        scores, blank = x.reshape(x.shape[:3]), self.p.blank_label
        sequences = self._sequences(y, x.shape[2], blank)
        if not any(map(len, sequences)):
            raise ShapeError("no label but blanks in the whole batch")
        costs, grads = _costs(scores[: self.p.time_step], sequences, blank)
        rest = np.zeros_like(scores[self.p.time_step :])
        return costs, np.concatenate([grads, rest]).reshape(x.shape)

    def forward_keeping(self, x: Array, y: Array) -> tuple[Array, dict[str, Array]]:
        costs, grads = self._results(x, y)
        return np.asarray(costs.mean(), np.float32), {"grads": grads}

    def backward(
        self, dy: Array, x: Array, y: Array, grads: Array | None = None
    ) -> tuple[Array, None]:
        return np.float32(dy) * (self._results(x, y)[1] if grads is None else grads), None


@layer(param="ctc_loss_param", bottoms=(2, 4), loss=True)
class WarpCTCLoss(_CTC):
    """The mean of the finite costs; the gradient is that of their sum, whatever the loss weight is.

    From: senlinuc/caffe_ocr, src/caffe/layers/warp_ctc_loss_layer.cpp, with warp-ctc
    Refused: 3 or 4 bottoms, with indicators or lengths.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if len(proto.bottom) > 2:
            raise UnsupportedError(
                f"supports 2 bottoms, scores and labels, and has {len(proto.bottom)}"
            )

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        self._check(x, y)
        return [()]

    def _results(self, x: Array, y: Array) -> tuple[Doubles, Array]:
        blank = self.p.blank_index
        sequences = self._sequences(y, x.shape[2], blank)
        costs, grads = _costs(x.reshape(x.shape[:3]), sequences, blank)
        return costs, grads.reshape(x.shape)

    def forward_keeping(self, x: Array, y: Array) -> tuple[Array, dict[str, Array]]:
        costs, grads = self._results(x, y)
        return np.asarray(costs[np.isfinite(costs)].mean(), np.float32), {"grads": grads}

    def backward(
        self, dy: Array, x: Array, y: Array, grads: Array | None = None
    ) -> tuple[Array, None]:
        return self._results(x, y)[1] if grads is None else grads, None
