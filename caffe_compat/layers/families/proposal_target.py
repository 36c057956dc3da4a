"""The proposals that the second stage of MS-CNN and of Cascade R-CNN learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...errors import ShapeError
from ...fillers.rng import Rng
from ...types import Array, Shape
from ..layer import Layer
from ..registry import layer
from ..sampling import Index, draw_seed, generator, sample
from .mscnn import moments
from .mscnn_accuracy import overlaps

_MARGIN = 32  # the least side of a random box


class _Pairs(NamedTuple):
    """Boxes of proposals beside the ground truth.

    Attributes:
        box: image, x, y, width, height.
        match: the index of the nearest of the ground truth, -1 for none.
        overlap: with it.
    """

    box: Array
    match: Index
    overlap: Array


def _sides(rows: Array) -> Array:
    """Return image, x, y, width and height of rows (image, xmin, ymin, xmax, ymax, ...)."""
    return np.concatenate([rows[:, :3], rows[:, 3:5] - rows[:, 1:3] + 1], axis=1)


class _ProposalTarget(Layer):
    """Rois, labels, corrections, their inside and outside weights, matches, and sample weights.

    Bottoms: rows (image, box), and the ground truth: rows (image, box, label, ignored). Of the
    rows, and of the ground truth with them, fg_fraction of batch_size overlap an object by fg_thr.
    """

    varies = (0,)
    blocked = (0, 1)
    prepares = True
    _pixel: bool

    def shapes(self, rows: Shape, truth: Shape) -> list[Shape | None]:
        p, size = self.p, self.p.batch_size
        if rows[1:2] != (5,) or truth[1] < 7 or p.fg_thr < p.bg_thr_hg or size == 0 or size < -1:
            raise ShapeError(
                f"needs rows of 5 and of 7, fg_thr {p.fg_thr:g} of bg_thr_hg {p.bg_thr_hg:g} or "
                f"more, a batch_size {size} above 0 or -1: {rows} and {truth}"
            )
        count = max(rows[0], 1) if size < 0 else size
        return [(count, width, 1, 1) for width in self._widths]

    @property
    def _widths(self) -> tuple[int, ...]:
        """The numbers of a row of each top."""
        own = 4 * self.p.cls_num if self.proto.bbox_reg_param.cls_aware else 8
        return (5, 1, own, own, own, 6, 1)[: len(self.proto.top)]

    def draw(self, rng: Rng, *x: Shape) -> dict[str, Array]:
        return draw_seed(rng)

    def backward(self, dy: object, *x: Array, seed: Array | None = None) -> tuple[None, None]:
        return None, None

    def forward(self, rows: Array, truth: Array, seed: Array | None = None) -> tuple[Array, ...]:
        known = truth.reshape(len(truth), -1)
        known = known[known[:, 0] != -1]
        boxes = _sides(known)
        if np.any((known[:, :1] < 0) | (known[:, :1] >= self.p.num_img_per_batch)):
            raise ShapeError(f"an image is outside num_img_per_batch {self.p.num_img_per_batch}")
        pairs = self._pair(_sides(rows.reshape(len(rows), 5)), boxes)
        near = pairs.overlap >= np.float32(self.p.fg_thr)
        real = known[pairs.match, 5] > 0 if len(known) else near
        if np.any(near & ~real):
            raise ShapeError("a box of the ground truth has a label that is not positive")
        ignored = known[pairs.match, 6] != 0 if len(known) else near
        low, high = np.float32(self.p.bg_thr_lw), np.float32(self.p.bg_thr_hg)
        far = ~near & (pairs.overlap >= low) & (pairs.overlap < high)
        parts = [np.flatnonzero(part) for part in (near & ~ignored, far, ~near & ~far)]
        objects, others, pairs = self._choose(parts, pairs, boxes, seed)
        return self._tops(pairs, objects, others, known, boxes)

    def _pair(self, rows: Array, boxes: Array) -> _Pairs:
        """Return the boxes of rows, and of the ground truth, with what each is nearest to."""
        every = np.concatenate([rows, boxes]) if self._appends else rows
        if not len(boxes):
            return _Pairs(every, np.full(len(every), -1), np.zeros(len(every), np.float32))
        shared = overlaps(every[:, None, 1:], boxes[None, :, 1:], pixel=self._pixel)
        shared = np.where(every[:, None, 0] == boxes[None, :, 0], shared, -1)
        best = shared.max(axis=1)
        return _Pairs(every, np.where(best < 0, -1, shared.argmax(axis=1)), np.maximum(best, 0))

    @property
    def _appends(self) -> bool:
        return True

    @property
    def _refills(self) -> bool:
        """Whether boxes that are near nothing make up for too few others."""
        return True

    def _least(self, size: int) -> int:
        """Return the number of rois below which random boxes are added."""
        raise NotImplementedError

    def _choose(
        self, parts: Sequence[Index], pairs: _Pairs, boxes: Array, seed: Array | None
    ) -> tuple[Index, Index, _Pairs]:
        """Return the boxes that count, with and without an object, and random ones among all.

        `parts` are those near an object, farther ones, and the rest.
        """
        near, far, rest = parts
        size, quota = self.p.batch_size, int(self.p.fg_fraction * self.p.batch_size + 0.5)
        if size < 0:
            size, quota = len(near) + len(far), len(near)
        room = size - min(quota, len(near))
        rng = generator(seed) if len(near) > quota or len(far) > room else None
        if rng:
            near = sample(near, quota, rng)
        if len(far) > room and rng:
            far = sample(far, room, rng)
        elif self._refills:
            far = np.concatenate([far, rest[: room - len(far)]])
        missing = self._least(size) - len(near) - len(far)
        if missing > 0:
            added = self._random(missing, boxes, rng or generator(seed))
            far = np.concatenate([far, len(pairs.box) + np.arange(missing)])
            pairs = _Pairs(
                np.concatenate([pairs.box, added]),
                np.pad(pairs.match, (0, missing), constant_values=-1),
                np.pad(pairs.overlap, (0, missing)),
            )
        return near, far, pairs

    def _random(self, count: int, boxes: Array, rng: Rng) -> Array:
        """Return boxes in any image that are near no object."""
        width, height = self.p.img_width, self.p.img_height
        if min(width, height) <= _MARGIN:
            raise ShapeError(f"img_width {width} and img_height {height} must be above {_MARGIN}")
        added: list[Array] = []
        while len(added) < count:
            words = [int(word) for word in rng.u32(5)]
            x, y = words[1] % (width - _MARGIN), words[2] % (height - _MARGIN)
            sides = max(words[3] % (width - x), _MARGIN), max(words[4] % (height - y), _MARGIN)
            box = np.array([words[0] % self.p.num_img_per_batch, x, y, *sides], np.float32)
            own = boxes[boxes[:, 0] == box[0]]
            if np.all(overlaps(box[1:], own[:, 1:], pixel=self._pixel) < np.float32(self.p.fg_thr)):
                added.append(box)
        return np.array(added, np.float32)

    def _tops(
        self, pairs: _Pairs, objects: Index, others: Index, known: Array, boxes: Array
    ) -> tuple[Array, ...]:
        chosen = np.concatenate([objects, others])
        count, own = len(objects), pairs.match[objects]
        box = pairs.box[chosen]
        rois = np.concatenate([box[:, :3], box[:, 1:3] + box[:, 3:] - 1], axis=1)
        label = np.zeros(len(chosen), np.float32)
        label[:count] = known[own, 5].astype(np.int64)
        target, weight = np.zeros((2, len(chosen), self._widths[2] // 4, 4), np.float32)
        aware = self.proto.bbox_reg_param.cls_aware
        place = label[:count].astype(np.int64) if aware else np.ones(count, np.int64)
        if np.any(place >= target.shape[1]):
            raise ShapeError(f"label {place.max()} is outside cls_num {self.p.cls_num}")
        target[np.arange(count), place] = self._corrections(box[:count, 1:], boxes[own, 1:])
        weight[np.arange(count), place] = self._counts(pairs.overlap[objects])[:, None]
        match = np.zeros((len(chosen), 6), np.float32)
        ends = boxes[own, 1:3] + boxes[own, 3:] - 1
        overlap = pairs.overlap[objects]
        match[:count] = np.column_stack([label[:count], boxes[own, 1:3], ends, overlap])
        tops = (rois, label, target, weight, weight, match, self._weights(match, count))
        return tuple(
            np.asarray(top, np.float32).reshape(len(chosen), width, 1, 1)
            for top, width in zip(tops, self._widths, strict=False)
        )

    def _counts(self, overlap: Array) -> Array:
        """Return 1 for each box whose corrections count, else 0."""
        return np.ones_like(overlap)

    def _corrections(self, box: Array, truth: Array) -> Array:
        half = np.float32(0.5)
        middle, goal = (each[:, :2] + half * each[:, 2:] for each in (box, truth))
        growth = np.log(truth[:, 2:] / box[:, 2:])
        values = np.concatenate([(goal - middle) / box[:, 2:], growth], axis=1)
        scales = moments(self.proto)
        return values if scales is None else (values - scales[1].T) / scales[0].T

    def _weights(self, match: Array, count: int) -> Array:
        """Return the weights of the rois' scores: fg_fraction of all is that of objects."""
        weight = np.ones(len(match), np.float32)
        if self.p.iou_weighted:
            weight[:count] = match[:count, 5]
        if total := weight[:count].sum():
            weight[:count] *= self.p.fg_fraction * len(match) / total
            weight[count:] *= (1 - self.p.fg_fraction) * len(match) / max(1, len(match) - count)
        return weight


@layer("ProposalTarget", fork="mscnn", param="proposal_target_param", bottoms=2, tops=(6, 7))
class MscnnProposalTarget(_ProposalTarget):
    """Rois for MS-CNN's training, with their labels and corrections; random ones where too few.

    From: zhaoweicai/mscnn, src/caffe/layers/proposal_target_layer.cpp
    Not exact: the stream of the random samples, which have a seed of their own in each pass.
    """

    _pixel = False

    def _least(self, size: int) -> int:
        return size


@layer("ProposalTarget", fork="cascade-rcnn", param="proposal_target_param", bottoms=2, tops=(6, 7))
class CascadeProposalTarget(_ProposalTarget):
    """Rois for Cascade R-CNN's training, with their labels and corrections; one at least.

    From: zhaoweicai/cascade-rcnn, src/caffe/layers/proposal_target_layer.cpp
    Not exact: the stream of the random samples, which have a seed of their own in each pass.
    """

    _pixel = True

    @property
    def _appends(self) -> bool:
        return bool(self.p.append_gtbox)

    @property
    def _refills(self) -> bool:
        return bool(self.p.pickup_discard)

    def _least(self, size: int) -> int:
        return 1

    def _counts(self, overlap: Array) -> Array:
        low, high = np.float32(self.p.bbox_thr_lw), np.float32(self.p.bbox_thr_hg)
        return np.asarray((low <= overlap) & (overlap <= high), np.float32)
