"""How right MS-CNN's and Cascade R-CNN's scores and boxes are, in training."""

from __future__ import annotations

import numpy as np

from ...errors import ShapeError
from ...types import Array, Shape
from .. import labels
from ..layer import Arrays, Layer
from ..registry import layer
from ..sampling import Index
from .mscnn import bounded, centres, unscaled
from .mscnn_loss import Fields, check_maps


def overlaps(a: Array, b: Array, *, pixel: bool) -> Array:
    """Return the intersection over union of boxes x, y, width, height along the last axis.

    With `pixel` a part that is shared counts from a whole pixel on, as in Cascade R-CNN.
    """
    least = np.maximum(a[..., :2], b[..., :2])
    extent = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - least
    shared = extent.prod(axis=-1) * np.all(extent >= 1 if pixel else extent > 0, axis=-1)
    real = np.all(a[..., 2:] > 0, axis=-1) & np.all(b[..., 2:] > 0, axis=-1)
    union = a[..., 2:].prod(axis=-1) + b[..., 2:].prod(axis=-1) - shared
    ratio: Array = np.divide(shared, union, out=np.zeros_like(shared), where=real)
    return ratio


def _mean(values: Array) -> float:
    """Return the mean; -1 of nothing."""
    return float(values.mean()) if values.size else -1


class _DetectionAccuracy(Layer):
    """The share of fields whose class is right, of all and of those with an object; mean overlap.

    -1 where there is no such field.
    """

    evaluates = True
    _pixel = False

    def _tops(self) -> list[Shape | None]:
        tops: list[Shape | None] = [(1, 1, 1, 2), (1, 1, 1, 1)]
        return tops[: len(self.proto.top)]

    def _ranks(self, scores: Array, label: Index) -> Array:
        """Return how many classes stand before the label."""
        raise NotImplementedError

    def _measure(
        self, scores: Array, deltas: Array, fields: Fields, size: Array, stride: int
    ) -> Arrays:
        """Return the tops, of scores and corrections (N, classes or 4, positions)."""
        raw, height, width = fields.label, *fields.box.shape[2:]
        label = np.minimum(raw, 1) if self.p.objectness else raw
        ignore = labels.ignored(self.proto.loss_param)
        counts = (label != 0) | (fields.overlap < np.float32(self.p.bg_threshold))
        counts &= True if ignore is None else label != ignore
        known = (label >= 0) & (label < scores.shape[1])
        ranks = self._ranks(scores, np.where(known, label, 0))
        right = known & (ranks < getattr(self.p, "top_k", 1))
        shares = [_mean(right[counts]), _mean(right[counts & (label != 0)])]
        moves, growths = bounded(self.proto, self.p, deltas)
        middle = moves * size + centres(height, width) * np.float32(stride)
        box = _corners(np.concatenate([middle, size * np.exp(growths)], axis=1))
        truth = _corners(fields.box.reshape(len(raw), 4, -1))
        near = (raw != 0) & (True if ignore is None else raw != ignore)
        overlap = overlaps(box[near], truth[near], pixel=self._pixel)
        tops = [shares, [_mean(overlap)]][: len(self.proto.top)]
        return tuple(np.array(top, np.float32).reshape(1, 1, 1, -1) for top in tops)


def _corners(box: Array) -> Array:
    """Return boxes (N, 4, positions) of centre and size as x, y, width, height, last."""
    first = box[:, :2] - box[:, 2:] / np.float32(2)
    return np.concatenate([first, box[:, 2:]], axis=1).transpose(0, 2, 1)


@layer(param="detection_accuracy_param", bottoms=2, tops=(1, 2))
class DetectionAccuracy(_DetectionAccuracy):
    """Of MS-CNN's fields the shares whose class is among the best top_k, and the boxes' overlap.

    The bottoms are those of DetectionLoss. Of equal scores the last class is the better one.

    From: zhaoweicai/mscnn, src/caffe/layers/detection_accuracy_layer.cpp
    """

    def shapes(self, x: Shape, truth: Shape) -> list[Shape | None]:
        if self.p.coord_num != 4 or x[1:2] != (self.p.cls_num + 4,):
            raise ShapeError(f"needs coord_num 4 and cls_num + 4 channels, and has {x}")
        scores = (x[0], self.p.cls_num, *x[2:])
        check_maps(self.p.cls_num, self.p.objectness, scores, (x[0], 4, *x[2:]), truth)
        return self._tops()

    def forward(self, x: Array, truth: Array) -> Arrays:
        flat, classes = x.reshape(len(x), x.shape[1], -1), self.p.cls_num
        size = np.array([[self.p.field_w], [self.p.field_h]], np.float32)
        scores, deltas = flat[:, :classes], flat[:, classes:]
        return self._measure(scores, deltas, Fields.of(truth), size, self.p.downsample_rate)

    def _ranks(self, scores: Array, label: Index) -> Array:
        own = np.take_along_axis(scores, label[:, None], 1)
        behind = np.arange(scores.shape[1])[:, None] > label[:, None]
        ahead = (scores > own) | ((scores == own) & behind)
        return np.asarray(ahead.sum(axis=1))


@layer(param="detection_group_accuracy_param", bottoms=3, tops=(1, 2))
class DetectionGroupAccuracy(_DetectionAccuracy):
    """Of Cascade R-CNN's fields the shares whose class is the best, and the boxes' mean overlap.

    The bottoms are those of DetectionGroupLoss. Of equal scores the first class is the better one.

    From: zhaoweicai/cascade-rcnn, src/caffe/layers/detection_group_accuracy_layer.cpp
    """

    _pixel = True

    def shapes(self, *x: Shape) -> list[Shape | None]:
        counts = len(self.p.field_h), len(self.p.field_w)
        if counts[0] != counts[1] or not counts[0] or x[0][0] % counts[0]:
            raise ShapeError(f"{counts[0]} field_h, {counts[1]} field_w for {x[0]}")
        check_maps(self.p.cls_num, self.p.objectness, *x)
        return self._tops()

    def forward(self, *x: Array) -> Arrays:
        scores, deltas = (part.reshape(*part.shape[:2], -1) for part in x[:2])
        size = np.array([self.p.field_w, self.p.field_h], np.float32).T[..., None]
        size = np.tile(size, (len(scores) // len(size), 1, 1))
        return self._measure(scores, deltas, Fields.of(x[2]), size, self.p.stride)

    def _ranks(self, scores: Array, label: Index) -> Array:
        return np.asarray(scores.argmax(axis=1) != label, np.int64)


class _BboxAccuracy(Layer):
    """The mean overlap of rows' boxes with their objects', after the corrections and before.

    Bottoms: corrections (R, 4 a class), rows (image, box), and truth (label, box, overlap). Rows of
    no object, or with an overlap above 0.975, do not count; -1 where none does.
    """

    evaluates = True
    _pixel: bool

    def shapes(self, deltas: Shape, rows: Shape, truth: Shape) -> list[Shape | None]:
        if {rows[0], truth[0]} != {deltas[0]} or (rows[1], truth[1]) != (5, 6) or deltas[1] % 4:
            raise ShapeError(f"needs R rows of 4 a class, 5 and 6: {deltas}, {rows} and {truth}")
        return [(1, 1, 1, 1)] * len(self.proto.top)

    def _class(self, label: Index) -> Index:
        return label

    def forward(self, deltas: Array, rows: Array, truth: Array) -> Arrays:
        truth = truth.reshape(len(truth), 6)
        counts = (truth[:, 0] > 0) & ~(truth[:, 5] > 0.975)
        truth, label = truth[counts], self._class(truth[counts, 0].astype(np.int64))
        if np.any(4 * label >= deltas.shape[1]):
            raise ShapeError(f"label {label.max()} is outside corrections {deltas.shape}")
        row = _sides(rows.reshape(len(rows), 5)[counts])
        own = deltas.reshape(len(deltas), -1, 4)[counts][np.arange(len(label)), label]
        own = unscaled(self.proto, own[..., None])[..., 0]
        size = row[:, 2:] * np.exp(own[:, 2:])
        middle = own[:, :2] * row[:, 2:] + row[:, :2] + np.float32(0.5) * row[:, 2:]
        box = np.concatenate([middle - size / np.float32(2), size], axis=1)
        means = [_mean(overlaps(each, _sides(truth), pixel=self._pixel)) for each in (box, row)]
        tops = tuple(np.array(mean, np.float32).reshape(1, 1, 1, 1) for mean in means)
        return tops[: len(self.proto.top)]


def _sides(rows: Array) -> Array:
    """Return the x, y, width and height of rows (.., xmin, ymin, xmax, ymax, ..)."""
    return np.concatenate([rows[:, 1:3], rows[:, 3:5] - rows[:, 1:3] + 1], axis=1)


@layer("BboxAccuracy", fork="mscnn", param="bbox_reg_param", bottoms=3, tops=(1, 2))
class MscnnBboxAccuracy(_BboxAccuracy):
    """The mean overlap of boxes with their objects'; parts of pixels count.

    From: zhaoweicai/mscnn, src/caffe/layers/bbox_accuracy_layer.cpp
    """

    _pixel = False


@layer("BboxAccuracy", fork="cascade-rcnn", param="bbox_reg_param", bottoms=3, tops=(1, 2))
class CascadeBboxAccuracy(_BboxAccuracy):
    """The mean overlap of boxes with their objects', of all classes with cls_aware: false.

    Parts count from a whole pixel on.

    From: zhaoweicai/cascade-rcnn, src/caffe/layers/bbox_accuracy_layer.cpp
    """

    _pixel = True

    def _class(self, label: Index) -> Index:
        return label if self.p.cls_aware else np.minimum(label, 1)
