"""R-FCN's losses by instance, and the choice of the hardest (Shrivastava et al. 2016)."""

from __future__ import annotations

import numpy as np

from ...caffe_pb2 import LayerParameter, LossParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from .. import labels
from ..axes import canonical_axis
from ..layer import Arrays, Layer
from ..registry import layer
from .softmax import softmax

_TINY = np.float32(np.finfo(np.float32).tiny)


def _normalizer(p: LossParameter, size: int, valid: int, batch: int) -> np.float32:
    """Return the divisor of a summed loss: R-FCN's modes, of which the default is VALID."""
    how = p.normalization
    if not p.HasField("normalization") and p.HasField("normalize"):
        how = LossParameter.VALID if p.normalize else LossParameter.BATCH_SIZE
    divisors = {
        LossParameter.FULL: size,
        LossParameter.VALID: valid,
        LossParameter.BATCH_SIZE: batch,
        LossParameter.PRE_FIXED: p.pre_fixed_normalizer,
    }
    return np.float32(max(1, divisors.get(how, 1)))


@layer(param="loss_param", bottoms=2, tops=(1, 3), loss=True)
class SoftmaxWithLossOHEM(Layer):
    """SoftmaxWithLoss, with the probabilities and the loss of each position as further tops.

    From: intel/caffe, src/caffe/layers/softmax_loss_ohem_layer.cu, after daijifeng001/caffe-rfcn
    """

    evaluates = True
    unread = (1, 2)
    blocked = (1,)

    def _axis(self, rank: int) -> int:
        return canonical_axis(self.proto.softmax_param.axis, rank)

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        labels.check_same_batch(x, y)
        labels.check_one_label_each(x, y, self._axis(len(x)))
        tops: list[Shape | None] = [(), x, y]
        return tops[: len(self.proto.top)]

    def classes(self, x: Shape, y: Shape) -> dict[int, int]:
        return {1: x[self._axis(len(x))]}

    def _divisor(self, counts: labels.Mask, axis: int) -> np.float32:
        batch = int(np.prod(counts.shape[:axis]))
        return _normalizer(self.p, counts.size, int(counts.sum()), batch)

    def forward(self, x: Array, y: Array) -> Arrays:
        axis = self._axis(x.ndim)
        probs = softmax(x, axis)
        label, counts = labels.read(y, x.shape, axis, labels.ignored(self.p))
        losses = -np.log(np.maximum(np.take_along_axis(probs, label, axis), _TINY)) * counts
        loss = np.asarray(losses.sum() / self._divisor(counts, axis), np.float32)
        return (loss, probs, losses.reshape(y.shape))[: len(self.proto.top)]

    def backward(self, dy: Arrays, x: Array, y: Array) -> tuple[Array, None]:
        axis = self._axis(x.ndim)
        label, counts = labels.read(y, x.shape, axis, labels.ignored(self.p))
        dx = softmax(x, axis)
        np.put_along_axis(dx, label, np.take_along_axis(dx, label, axis) - 1, axis)
        weight = dy[0] if isinstance(dy, tuple) else dy
        return np.asarray(dx * counts * (weight / self._divisor(counts, axis)), np.float32), None


@layer(param="loss_param", bottoms=(2, 3), tops=(1, 2), loss=True)
class SmoothL1LossOHEM(Layer):
    """sum f(w (a - b)), f that of SmoothL1Loss with sigma 1, and its sum over the channels.

    From: intel/caffe, src/caffe/layers/smooth_L1_loss_ohem_layer.cu, after daijifeng001/caffe-rfcn.
        The gradient is not multiplied by w again.
    """

    evaluates = True
    unread = (1,)

    @property
    def approximate(self) -> bool:
        return len(self.proto.bottom) == 3

    def shapes(self, *x: Shape) -> list[Shape | None]:
        if any((*x[0], 1, 1)[:4] != (*other, 1, 1)[:4] for other in x[1:]):
            raise ShapeError(f"inputs must have the same dimension: {' and '.join(map(str, x))}")
        n, _, height, width = (*x[0], 1, 1)[:4]
        tops: list[Shape | None] = [(), (n, 1, height, width)]
        return tops[: len(self.proto.top)]

    def _difference(self, *x: Array) -> Array:
        d = x[0] - x[1].reshape(x[0].shape)
        return x[2].reshape(d.shape) * d if len(x) > 2 else d

    def _divisor(self, x: Array) -> np.float32:
        places = len(x) * int(np.prod(x.shape[2:]))
        return _normalizer(self.p, places, places, len(x))

    def forward(self, *x: Array) -> Arrays:
        d = self._difference(*x)
        size = np.abs(d)
        errors = np.where(size < 1, d * d / 2, size - np.float32(0.5))
        loss = np.asarray(errors.sum() / self._divisor(x[0]), np.float32)
        each = errors.sum(axis=1, keepdims=True)
        each = each.reshape(*each.shape, *(1,) * (4 - each.ndim))
        return (loss, each)[: len(self.proto.top)]

    def backward(self, dy: Arrays, *x: Array) -> tuple[Array | None, ...]:
        weight = dy[0] if isinstance(dy, tuple) else dy
        d = np.clip(self._difference(*x), -1, 1) * np.float32(weight / self._divisor(x[0]))
        return (d, -d.reshape(x[1].shape), *(None for _ in x[2:]))


@layer(param="box_annotator_ohem_param", bottoms=4, tops=2)
class BoxAnnotatorOHEM(Layer):
    """The labels and box weights of the roi_per_img rows of largest loss; others are left out.

    Bottoms: rows (image, box), losses, labels and box weights. A row left out has ignore_label and
    weights of 0. Equal losses keep their order, which the fork's sort leaves open.

    From: intel/caffe, src/caffe/layers/box_annotator_ohem_layer.cpp, after daijifeng001/caffe-rfcn
    """

    blocked = (0, 1, 2, 3)
    prepares = True

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if self.p.roi_per_img < 1:
            raise ShapeError(f"roi_per_img must be positive, and is {self.p.roi_per_img}")

    def shapes(self, rows: Shape, loss: Shape, label: Shape, weights: Shape) -> list[Shape | None]:
        if rows[1:2] != (5,) or {loss[:1], label[:1], weights[:1]} != {rows[:1]}:
            raise ShapeError(f"needs R rows of 5, losses, labels, weights: {rows}, {loss}, {label}")
        if any(n != 1 for n in (*rows[2:], *loss[1:], *label[1:])):
            raise UnsupportedError(f"needs one position a row, and has {rows} and {loss}")
        return [label, weights]

    def forward(self, rows: Array, loss: Array, label: Array, weights: Array) -> Arrays:
        images = rows.reshape(len(rows), -1)[:, 0].astype(int)
        left = np.full(images.max(initial=-1) + 1, self.p.roi_per_img)
        keep = np.zeros(len(rows), bool)
        for row in np.argsort(-loss.ravel(), kind="stable"):
            keep[row] = left[images[row]] > 0
            left[images[row]] -= keep[row]
        chosen = label.copy()
        chosen[~keep] = self.p.ignore_label
        return chosen, weights * keep.reshape(-1, *(1,) * (weights.ndim - 1))

    def backward(self, dy: Arrays, *x: Array) -> tuple[None, ...]:
        return (None,) * 4
