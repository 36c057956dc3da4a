"""The losses of MS-CNN's and Cascade R-CNN's proposals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...fillers.rng import Rng
from ...types import Array, Shape
from .. import labels
from ..layer import Layer
from ..registry import layer
from ..sampling import Index, draw_seed, generator, sample
from .mscnn import bounds, centres, moments
from .softmax import softmax

_TINY = np.float32(np.finfo(np.float32).tiny)


class Fields(NamedTuple):
    """What is known of each field: one a position of an image, or of a map of several.

    Attributes:
        label: its class, 0 for none, (N, positions).
        box: the centre and size of its object, (N, 4, height, width).
        overlap: with its object, (N, positions).
    """

    label: Index
    box: Array
    overlap: Array

    @classmethod
    def of(cls, truth: Array) -> Fields:
        """Return the fields of maps (N, 6, height, width)."""
        flat = truth.reshape(len(truth), 6, -1)
        return cls(flat[:, 0].astype(np.int64), truth[:, 1:5], flat[:, 5])


def check_maps(classes: int, objectness: bool, scores: Shape, *others: Shape) -> None:
    """Raise ShapeError unless maps have `classes` scores, 4 corrections and a truth of 6."""
    if objectness and classes != 2:
        raise ShapeError(f"objectness needs cls_num 2, and has {classes}")
    wanted = [(scores[0], channels, *scores[2:]) for channels in (classes, 4, 6)]
    if len(scores) != 4 or [scores, *others] != wanted:
        raise ShapeError(f"needs maps of {classes}, 4 and 6 channels: {scores} and {others}")


class _DetectionLoss(Layer):
    """The mean loss of a softmax plus lambda times that of the corrections, and the latter alone.

    Only the gradient at the first number counts. Corrections are bounded; their gradient is not.
    """

    evaluates = True
    approximate = True

    def shapes(self, *x: Shape) -> list[Shape | None]:
        return [(1, 1, 1, 2)]

    def forward(self, *x: Array, seed: Array | None = None) -> Array:
        return self._results(*x, seed=seed)[0]

    def backward(self, dy: Array, *x: Array, seed: Array | None = None) -> tuple[Array | None, ...]:
        _, *slopes = self._results(*x, seed=seed)
        return (*(np.float32(dy.flat[0]) * slope for slope in slopes), None)

    def _results(self, *x: Array, seed: Array | None) -> tuple[Array, ...]:
        """Return the top, and the gradient of its first number at each bottom but the last."""
        raise NotImplementedError

    def _ignored(self, label: Index) -> labels.Mask:
        ignore = labels.ignored(self.proto.loss_param)
        return np.zeros(label.shape, bool) if ignore is None else label == ignore

    def _class(self, label: Index) -> Index:
        return np.minimum(label, 1) if self.p.objectness else label

    def _losses(
        self, scores: Array, label: Index, counts: labels.Mask, weight: Array
    ) -> tuple[Array, Array]:
        """Return the loss of each row, 0 where it does not count; and the mean's gradient."""
        probs = softmax(scores, 1)
        bad = label[counts & ((label < 0) | (label >= scores.shape[1]))]
        if bad.size:
            raise ShapeError(f"label {bad[0]} is outside the {scores.shape[1]} classes")
        own = np.where(counts, label, 0)[:, None]
        chosen = np.take_along_axis(probs, own, 1)[:, 0]
        losses = -np.log(np.maximum(chosen, _TINY)) * np.where(counts, weight, 0)
        np.put_along_axis(probs, own, np.take_along_axis(probs, own, 1) - 1, 1)
        number = np.float32(max(1, counts.sum()))
        slope = probs * counts[:, None] * weight[:, None] / number
        return np.asarray(losses.sum() / number, np.float32), slope

    def _distances(self, d: Array, near: labels.Mask, smooth: bool) -> tuple[Array, Array]:
        """Return lambda times the mean loss of differences (N, 4, positions), and its gradient."""
        d = np.where(near[:, None], d, np.float32(0))
        size = np.abs(d)
        straight = smooth & (size >= 1)
        errors = np.where(straight, size - np.float32(0.5), np.float32(0.5) * d * d)
        factor = np.float32(getattr(self.p, "lambda") / max(1, 4 * near.sum()))
        return factor * errors.sum(), factor * (np.clip(d, -1, 1) if smooth else d)


def _encode(proto: LayerParameter, box: Array, field: Array, stride: int) -> Array:
    """Return the corrections of fields (.., 2, 1) that are boxes (N, 4, height, width)."""
    places = centres(*box.shape[2:]) * np.float32(stride)
    middle, size = np.split(box.reshape(*box.shape[:2], -1), 2, axis=1)
    growth = np.log(np.maximum(size, 2) / field)
    values = np.concatenate([(middle - places) / field, growth], axis=1)
    scales = moments(proto)
    return values if scales is None else (values - scales[1]) / scales[0]


def _bound(layer: Layer, deltas: Array) -> Array:
    """Return corrections (.., 4, positions) inside their bounds, those of x and y alike."""
    std, mean = moments(layer.proto) or (np.ones((4, 1)), np.zeros((4, 1)))
    most = np.repeat(np.array(bounds(layer.p)), 2)[:, None]
    middle = np.repeat(mean.reshape(2, 2).mean(axis=1), 2)[:, None]
    spread = np.repeat(np.sqrt(std.reshape(2, 2).prod(axis=1)), 2)[:, None]
    low, high = ((sign * most - middle) / spread for sign in (-1, 1))
    return np.clip(deltas, low.astype(np.float32), high.astype(np.float32))


@layer(param="detection_loss_param", bottoms=2, loss=True)
class DetectionLoss(_DetectionLoss):
    """MS-CNN's loss of a map of fields: scores, then 4 corrections, and truth beside them.

    The truth is a label, a centre, a size and an overlap. Positives count, and negatives drawn at
    random or of the best scores (Cai et al. 2016, section 3.2).

    From: zhaoweicai/mscnn, src/caffe/layers/detection_loss_layer.cpp
    Refused: coord_num other than 4.
    Not exact: the stream of the random negatives, which have a seed of their own in each pass.
    """

    blocked = (1,)

    def shapes(self, x: Shape, truth: Shape) -> list[Shape | None]:
        if self.p.coord_num != 4 or x[1:2] != (self.p.cls_num + 4,):
            raise ShapeError(f"needs coord_num 4 and cls_num + 4 channels, and has {x}")
        scores = (x[0], self.p.cls_num, *x[2:])
        check_maps(self.p.cls_num, self.p.objectness, scores, (x[0], 4, *x[2:]), truth)
        return super().shapes(x, truth)

    def draw(self, rng: Rng, *x: Shape) -> dict[str, Array]:
        return draw_seed(rng) if self.p.sample_mode in ("random", "mixture") else {}

    def _results(self, x: Array, truth: Array, *, seed: Array | None) -> tuple[Array, ...]:
        fields, classes = Fields.of(truth), self.p.cls_num
        flat = x.reshape(len(x), x.shape[1], -1)
        label, positive = self._class(fields.label), fields.label != 0
        able = ~positive & (fields.overlap < np.float32(self.p.bg_threshold))
        keep = self._negatives(flat, label, able, seed)
        weight = self._weights(positive, keep, fields.overlap)
        counts = (positive | keep) & ~self._ignored(label)
        conf, dconf = self._losses(flat[:, :classes], label, counts, weight)
        size = np.array([[self.p.field_w], [self.p.field_h]], np.float32)
        target = _encode(self.proto, fields.box, size, self.p.downsample_rate)
        near = positive & ~self._ignored(fields.label)
        d = _bound(self, flat[:, classes:]) - target
        place, dplace = self._distances(d, near, self.p.bb_smooth)
        top = np.array([conf + place, place], np.float32).reshape(1, 1, 1, 2)
        return top, np.concatenate([dconf, dplace], axis=1).reshape(x.shape)

    def _negatives(
        self, scores: Array, label: Index, able: labels.Mask, seed: Array | None
    ) -> labels.Mask:
        """Return which fields without an object count, of those that can."""
        mode, most = self.p.sample_mode, np.float32(self.p.bg_multiple)
        if mode not in ("random", "bootstrap", "mixture"):
            return able
        most = most / 2 if mode == "mixture" else most
        rng = None if mode == "bootstrap" else generator(seed)
        keep = np.zeros_like(able)
        for image, places in enumerate(map(np.flatnonzero, able)):
            if rng:
                count = int(np.count_nonzero(label[image]) * most)
                drawn = rng.u32(max(count, 4 * (self.p.cls_num - 1))) % able.shape[1]
                keep[image, drawn] = able[image, drawn]
            for k in range(1, self.p.cls_num if mode != "random" else 1):
                order = np.lexsort((-places, -scores[image, k, places]))
                count = int(np.count_nonzero(label[image] == k) * most)
                keep[image, places[order[: max(4, count)]]] = True
        return keep

    def _weights(self, positive: labels.Mask, keep: labels.Mask, overlap: Array) -> Array:
        weight = np.where(positive & self.p.iou_weighted, overlap, np.float32(1))
        total = weight[positive].sum()
        if not self.p.pos_neg_weighted or total == 0:
            return weight
        count, share = positive.sum() + keep.sum(), 1 / (1 + self.p.bg_multiple)
        rest = np.divide((1 - share) * count, weight[keep].sum())
        return np.asarray(weight * np.where(positive, share * count / total, rest), np.float32)


@layer(param="detection_group_loss_param", bottoms=3, loss=True)
class DetectionGroupLoss(_DetectionLoss):
    """Cascade R-CNN's loss of groups of fields: scores, 4 corrections, truth as of DetectionLoss.

    The fields of an image stand one after another along the first axis. Of an image batch_size
    fields count, or all with an object and bg_multiple times as many without one.

    From: zhaoweicai/cascade-rcnn, src/caffe/layers/detection_group_loss_layer.cpp, which bounds
        the corrections in their own blob too
    Not exact: the stream of the random samples, which have a seed of their own in each pass.
    """

    blocked = (2,)

    def shapes(self, *x: Shape) -> list[Shape | None]:
        p = self.p
        if len(p.field_h) != len(p.field_w) or not p.field_h or x[0][0] % len(p.field_h):
            raise ShapeError(f"{len(p.field_h)} field_h, {len(p.field_w)} field_w for {x[0]}")
        check_maps(p.cls_num, p.objectness, *x)
        if p.batch_size == 0 or p.batch_size < -1:
            raise ShapeError(f"batch_size must be positive or -1, and is {p.batch_size}")
        return super().shapes(*x)

    def check_forward(self) -> None:
        kinds = (self.p.neg_mining_type, self.p.neg_ranking_type, self.p.bbox_loss_type)
        for kind, known in zip(kinds, _KINDS, strict=True):
            if kind not in known:
                raise UnsupportedError(f"'{kind}' is none of {', '.join(known)}")

    def draw(self, rng: Rng, *x: Shape) -> dict[str, Array]:
        return draw_seed(rng)

    def _results(self, *x: Array, seed: Array | None) -> tuple[Array, ...]:
        self.check_forward()
        scores, deltas = (part.reshape(*part.shape[:2], -1) for part in x[:2])
        fields = Fields.of(x[2])
        label, groups = self._class(fields.label), len(self.p.field_h)
        keep = self._keep(scores, fields, label, seed)
        weight = self._weights(fields.label > 0, keep)
        conf, dconf = self._losses(scores, label, keep & ~self._ignored(label), weight)
        size = np.array([self.p.field_w, self.p.field_h], np.float32).T[..., None]
        size = np.tile(size, (len(scores) // groups, 1, 1))
        if self.p.HasField("field_xyr") and self.p.HasField("field_whr"):
            deltas = _bound(self, deltas)
        d = deltas - _encode(self.proto, fields.box, size, self.p.stride)
        near = keep & (fields.label != 0) & ~self._ignored(fields.label)
        place, dplace = self._distances(d, near, self.p.bbox_loss_type == "Smooth_L1")
        top = np.array([conf + place, place], np.float32).reshape(1, 1, 1, 2)
        return top, dconf.reshape(x[0].shape), dplace.reshape(x[1].shape)

    def _keep(self, scores: Array, fields: Fields, label: Index, seed: Array | None) -> labels.Mask:
        """Return which fields count."""
        images = len(label) // len(self.p.field_h)
        able = (fields.label == 0) & (fields.overlap < np.float32(self.p.bg_threshold))
        rank = self._rank(scores, label).reshape(images, -1)
        keep = np.zeros(rank.shape, bool)
        rows = zip(fields.label.reshape(images, -1) > 0, able.reshape(images, -1), strict=True)
        rng = None
        for image, (positives, negatives) in enumerate(map(np.flatnonzero, row) for row in rows):
            wanted, rest = self._counts(len(positives), len(negatives))
            if len(positives) > wanted or (len(negatives) > rest and self._draws):
                rng = rng or generator(seed)
            if rng and len(positives) > wanted:
                positives = sample(positives, wanted, rng)
            if len(negatives) > rest:
                hard = {"random": 0.0, "bootstrap": rest}.get(self.p.neg_mining_type, rest * 0.5)
                order = np.lexsort((-negatives, -rank[image, negatives]))
                hardest = negatives[order[: int(hard + 0.5)]]
                others = np.setdiff1d(negatives, hardest)
                left = rest - len(hardest)
                drawn = sample(others, left, rng) if rng and left else others[:0]
                negatives = np.concatenate([hardest, drawn])
            keep[image, positives] = keep[image, negatives] = True
        return keep.reshape(label.shape)

    @property
    def _draws(self) -> bool:
        return bool(self.p.neg_mining_type != "bootstrap")

    def _rank(self, scores: Array, label: Index) -> Array:
        """Return how hard each field is."""
        probs = softmax(scores, 1)
        if self.p.neg_ranking_type == "conf_prob":
            return np.asarray(1 - probs[:, 0], np.float32)
        own = np.take_along_axis(probs, np.clip(label, 0, scores.shape[1] - 1)[:, None], 1)[:, 0]
        return np.asarray(-np.log(np.maximum(own, _TINY)))

    def _counts(self, positives: int, negatives: int) -> tuple[int, int]:
        """Return how many fields of an image count: with an object, and without one."""
        if self.p.batch_size < 0:
            wanted = max(positives * self.p.bg_multiple, self.p.min_num_neg)
            return positives, min(wanted, negatives)
        share = min(int(self.p.batch_size / (1 + self.p.bg_multiple) + 0.5), positives)
        return share, min(self.p.batch_size - share, negatives)

    def _weights(self, positive: labels.Mask, keep: labels.Mask) -> Array:
        if not self.p.pos_neg_weighted:
            return np.ones(positive.shape, np.float32)
        share, count = 1 / (1 + self.p.bg_multiple), keep.sum()
        sums = (keep & positive).sum(), (keep & ~positive).sum()
        weights = [
            part * count / total if total else 1
            for part, total in zip((share, 1 - share), sums, strict=True)
        ]
        return np.where(positive, np.float32(weights[0]), np.float32(weights[1]))


_KINDS = (
    ("random", "bootstrap", "mixture"),
    ("conf_loss", "conf_prob"),
    ("Smooth_L1", "Euclidean_L2"),
)
