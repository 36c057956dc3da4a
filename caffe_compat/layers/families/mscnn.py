"""Proposals and detections of MS-CNN and Cascade R-CNN (Cai et al. 2016; Cai and Vasconcelos 2018).

A box is xmin, ymin, xmax, ymax in pixels of the input.
"""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Dims, Shape
from ..boxes import lower_flat, suppress_sorted
from ..builder import FLOAT, Builder, Operand, int64
from ..layer import Arrays, Layer
from ..registry import layer


class _Proposals(Layer):
    """Rows (image, box), and (image, box, score), of the boxes of maps; a subclass decodes these.

    Without any box there is one row, (0, 1, 1, 10, 10), and its second top is all 0.
    """

    varies = (0,)
    _pixel = 1  # added to a box's sides

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if self.p.nms_type not in ("IOU", ""):
            raise UnsupportedError(f"nms_type {self.p.nms_type!r} is not supported; only IOU")

    def _decode(self, *x: Array) -> tuple[Array, Array]:
        """Return boxes (images, boxes, 4) and scores (images, boxes), best of equal ones first."""
        raise NotImplementedError

    def _lower_decode(self, g: Builder, *x: str) -> tuple[str, str]:
        raise NotImplementedError

    def _lower_deltas(self, g: Builder, deltas: str, axis: int) -> tuple[str, str]:
        scales = moments(self.proto)
        if scales is not None:
            deltas = g.Add(g.Mul(deltas, scales[0]), scales[1])
        moves, growths = g.Split(deltas, int64(2, 2), axis=axis, outputs=2)
        most_move, most_growth = bounds(self.p)
        return g.Clip(moves, -most_move, most_move), g.Clip(growths, -most_growth, most_growth)

    def _rows(self) -> list[Shape | None]:
        tops: list[Shape | None] = [(1, 5, 1, 1), (1, 6, 1, 1)]
        return tops[: len(self.proto.top)]

    def forward(self, *x: Array) -> Arrays:
        boxes, scores = self._decode(*x)
        large = np.all(boxes[..., 2:] - boxes[..., :2] + self._pixel >= self.p.min_size, axis=2)
        scores = np.where(large & (scores >= np.float32(self.p.fg_thr)), scores, -np.inf)
        rows = []
        for image, (box, score) in enumerate(zip(boxes, scores, strict=True)):
            order = np.argsort(-score, kind="stable")[: self.p.max_nms_num or None]
            order = order[score[order] > -np.inf]
            most = self.p.max_post_nms_num or None
            order = order[suppress_sorted(box[order], self.p.iou_thr, most, self._pixel)]
            first = np.full(len(order), image)
            rows.append(np.column_stack([first, box[order], score[order]]))
        found = np.concatenate(rows).astype(np.float32)[:, :, None, None]
        tops = (found[:, :5], found) if len(found) else _NONE
        return tops[: len(self.proto.top)]

    def lower(self, g: Builder, *x: str) -> tuple[str, ...]:
        boxes, scores = self._lower_decode(g, *x)
        first, last = g.Split(boxes, int64(2, 2), axis=2, outputs=2)
        side = g.ReduceMin(g.Sub(last, first), int64(2), keepdims=0)
        fits = g.GreaterOrEqual(side, np.float32(self.p.min_size - self._pixel))
        fits = g.And(fits, g.GreaterOrEqual(scores, np.float32(self.p.fg_thr)))
        scores = g.Where(fits, scores, np.float32(-np.inf))
        if 0 < self.p.max_nms_num < self._count(*(g.dims(name) for name in x)):
            scores, order = g.TopK(scores, int64(self.p.max_nms_num), axis=1, outputs=2)
            boxes = g.GatherND(boxes, g.Unsqueeze(order, int64(2)), batch_dims=1)
        most: Operand = np.int64(self.p.max_post_nms_num)
        if not self.p.max_post_nms_num:
            most = g.Squeeze(g.Shape(scores, start=1))
        indices = g.NonMaxSuppression(
            lower_flat(g, boxes, self._pixel),
            g.Unsqueeze(scores, int64(1)),
            most,
            np.float32(self.p.iou_thr),
            np.finfo(np.float32).min,
        )
        places = g.Gather(indices, int64(0, 2), axis=1)
        image = g.Cast(g.Slice(places, int64(0), int64(1), int64(1)), to=FLOAT)
        score = g.Unsqueeze(g.GatherND(scores, places), int64(1))
        rows = g.Concat(image, g.GatherND(boxes, places), score, axis=1)
        rows = g.Unsqueeze(rows, int64(2, 3))
        empty = g.Cast(g.Equal(g.Shape(rows, end=1), int64(0)), to=7)
        tops = (g.Slice(rows, int64(0), int64(5), int64(1)), rows)[: len(self.proto.top)]
        return tuple(
            g.Concat(top, g.Slice(none, int64(0), empty, int64(0)), axis=0)
            for top, none in zip(tops, _NONE, strict=False)
        )

    def _count(self, *x: Dims) -> int:
        """Return the number of boxes of an image."""
        raise NotImplementedError


_NONE = (
    np.array([0, 1, 1, 10, 10], np.float32).reshape(1, 5, 1, 1),
    np.zeros((1, 6, 1, 1), np.float32),
)


@layer(param="box_output_param", bottoms=(1, None), tops=(1, 2))
class BoxOutput(_Proposals):
    """MS-CNN's proposals: of each map one field, with scores and 4 corrections a position.

    From: zhaoweicai/mscnn, src/caffe/layers/box_output_layer.cpp
    Refused: a varying height or width; an nms_type other than IOU.
    """

    _pixel = 0

    def shapes(self, *x: Shape) -> list[Shape | None]:
        counts = [len(f) for f in (self.p.field_h, self.p.field_w, self.p.downsample_rate)]
        if set(counts) != {len(x)}:
            raise ShapeError(f"has {len(x)} maps, and {counts} field_h, field_w, downsample_rate")
        if any(len(shape) != 4 or shape[1] != x[0][1] or shape[1] < 6 for shape in x):
            raise ShapeError(f"needs maps of the same 6 channels or more, and has {x}")
        return self._rows()

    def _count(self, *x: Dims) -> int:
        return sum((dims[2] or 0) * (dims[3] or 0) for dims in x)

    def _decode(self, *x: Array) -> tuple[Array, Array]:
        boxes, scores = [], []
        for i, map_ in enumerate(x):
            n, _, height, width = map_.shape
            flat = map_.reshape(n, -1, height * width)
            centre, size = self._field(i, height, width)
            moves, growths = bounded(self.proto, self.p, flat[:, -4:])
            sides = np.exp(growths) * size
            low = np.maximum(moves * size + centre - sides / np.float32(2), 0)
            rate = np.float32(self.p.downsample_rate[i])
            most = np.array([[width], [height]], np.float32) * rate
            high = low + np.minimum(sides, most - low)
            boxes.append(np.concatenate([low, high], axis=1).transpose(0, 2, 1))
            scores.append(flat[:, 1:-4].max(axis=1) - flat[:, 0])
        # The fork's sort has the last of equal scores first.
        return np.concatenate(boxes, axis=1)[:, ::-1], np.concatenate(scores, axis=1)[:, ::-1]

    def _lower_decode(self, g: Builder, *x: str) -> tuple[str, str]:
        boxes, scores = [], []
        for i, map_ in enumerate(x):
            channels, height, width = (g.fixed(map_, axis) for axis in (1, 2, 3))
            flat = g.Reshape(map_, int64(0, channels, height * width))
            centre, size = self._field(i, height, width)
            parts = int64(1, channels - 5, 4)
            first, rest, deltas = g.Split(flat, parts, axis=1, outputs=3)
            moves, growths = self._lower_deltas(g, deltas, axis=1)
            sides = g.Mul(g.Exp(growths), size)
            middle = g.Add(g.Mul(moves, size), centre)
            low = g.Relu(g.Sub(middle, g.Mul(sides, np.float32(0.5))))
            rate = np.float32(self.p.downsample_rate[i])
            most = np.array([[width], [height]], np.float32) * rate
            high = g.Add(low, g.Min(sides, g.Sub(most, low)))
            boxes.append(g.Transpose(g.Concat(low, high, axis=1), perm=[0, 2, 1]))
            best = g.ReduceMax(rest, int64(1), keepdims=0)
            scores.append(g.Sub(best, g.Squeeze(first, int64(1))))
        both = (g.Concat(*parts, axis=1) for parts in (boxes, scores))
        last = int64(np.iinfo(np.int64).min)
        joined = [g.Slice(part, int64(-1), last, int64(1), int64(-1)) for part in both]
        return joined[0], joined[1]

    def _field(self, i: int, height: int, width: int) -> tuple[Array, Array]:
        """Return the centres (2, positions) and the size (2, 1) of a map's field."""
        size = np.array([[self.p.field_w[i]], [self.p.field_h[i]]], np.float32)
        return centres(height, width) * np.float32(self.p.downsample_rate[i]), size


@layer(param="box_group_output_param", bottoms=(2, None), tops=(1, 2))
class BoxGroupOutput(_Proposals):
    """Cascade R-CNN's proposals: pairs of scores and corrections, each of a group of fields.

    The fields of an image stand one after another along the first axis of a pair.

    From: zhaoweicai/cascade-rcnn, src/caffe/layers/box_group_output_layer.cpp
    Refused: a varying height or width; an nms_type other than IOU.
    Not exact: two boxes that meet in a single row of pixels, which the fork does not count.
    """

    def shapes(self, *x: Shape) -> list[Shape | None]:
        groups = self.p.box_group_param
        if len(x) != 2 * len(groups):
            raise ShapeError(f"has {len(x)} bottoms and {len(groups)} box_group_param; two each")
        for score, delta, group in zip(x[::2], x[1::2], groups, strict=True):
            count = len(group.field_h)
            if len(group.field_w) != count or not count or score[0] % count:
                raise ShapeError(f"{count} field_h, {len(group.field_w)} field_w for {score}")
            if len(score) != 4 or delta != (score[0], 4, *score[2:]):
                raise ShapeError(f"needs scores and 4 corrections, and has {score} and {delta}")
        return self._rows()

    def _count(self, *x: Dims) -> int:
        pairs = zip(x[::2], self.p.box_group_param, strict=True)
        return sum(len(group.field_h) * (d[2] or 0) * (d[3] or 0) for d, group in pairs)

    def _decode(self, *x: Array) -> tuple[Array, Array]:
        boxes, scores = [], []
        for score, delta, group in zip(x[::2], x[1::2], self.p.box_group_param, strict=True):
            height, width = score.shape[2:]
            fields, centre, most = _group(group, height, width)
            parts = delta.reshape(-1, len(fields), 4, height * width)
            moves, growths = bounded(self.proto, self.p, parts)
            sides = np.exp(growths) * fields
            low = moves * fields + centre - sides / np.float32(2)
            high = np.minimum(low + sides - np.float32(1), most)
            box = np.concatenate([np.maximum(low, 0), high], axis=2).transpose(0, 1, 3, 2)
            boxes.append(box.reshape(len(box), -1, 4))
            scores.append(1 - score[:, 0].reshape(len(box), -1))
        return np.concatenate(boxes, axis=1), np.concatenate(scores, axis=1)

    def _lower_decode(self, g: Builder, *x: str) -> tuple[str, str]:
        boxes, scores = [], []
        for score, delta, group in zip(x[::2], x[1::2], self.p.box_group_param, strict=True):
            height, width = g.fixed(score, 2), g.fixed(score, 3)
            fields, centre, most = _group(group, height, width)
            parts = g.Reshape(delta, int64(-1, len(fields), 4, height * width))
            moves, growths = self._lower_deltas(g, parts, axis=2)
            sides = g.Mul(g.Exp(growths), fields)
            middle = g.Add(g.Mul(moves, fields), centre)
            low = g.Sub(middle, g.Mul(sides, np.float32(0.5)))
            high = g.Min(g.Sub(g.Add(low, sides), np.float32(1)), most)
            box = g.Transpose(g.Concat(g.Relu(low), high, axis=2), perm=[0, 1, 3, 2])
            boxes.append(g.Reshape(box, int64(-1, len(fields) * height * width, 4)))
            none = g.Slice(score, int64(0), int64(1), int64(1))
            flat = g.Reshape(none, int64(-1, len(fields) * height * width))
            scores.append(g.Sub(np.float32(1), flat))
        both = [p[0] if len(p) == 1 else g.Concat(*p, axis=1) for p in (boxes, scores)]
        return both[0], both[1]


def _group(group: Any, height: int, width: int) -> tuple[Array, Array, Array]:
    """Return a group's fields (fields, 2, 1), their centres, and the image's far corner."""
    fields = np.array([group.field_w, group.field_h], np.float32).T[..., None]
    most = np.array([[width], [height]], np.float32) * np.float32(group.stride)
    return fields, centres(height, width) * np.float32(group.stride), most


def centres(height: int, width: int) -> Array:
    """Return the middle of each position, (2, positions)."""
    rows, columns = np.indices((height, width), np.float32) + np.float32(0.5)
    return np.stack([columns.ravel(), rows.ravel()])


def moments(proto: LayerParameter) -> tuple[Array, Array] | None:
    """Return the std and the mean of the four corrections, (4, 1); None for 1 and 0."""
    p = proto.bbox_reg_param
    if not (p.bbox_mean and p.bbox_std):
        return None
    if (len(p.bbox_mean), len(p.bbox_std)) != (4, 4):
        raise ShapeError("bbox_reg_param needs 4 bbox_mean and 4 bbox_std")
    return np.array(p.bbox_std, np.float32)[:, None], np.array(p.bbox_mean, np.float32)[:, None]


def unscaled(proto: LayerParameter, deltas: Array) -> Array:
    """Return corrections (..., 4, positions) times their std, plus their mean."""
    scales = moments(proto)
    return deltas if scales is None else deltas * scales[0] + scales[1]


def bounds(p: Any) -> tuple[np.float32, np.float32]:
    """Return the largest move, and the largest logarithm of a growth."""
    return np.float32(1 / p.field_xyr), np.float32(log(p.field_whr))


def bounded(proto: LayerParameter, p: Any, deltas: Array) -> tuple[Array, Array]:
    """Return moves and logarithms of growths, of corrections (..., 4, positions)."""
    moves, growths = np.split(unscaled(proto, deltas), 2, axis=-2)
    move, growth = bounds(p)
    return np.clip(moves, -move, move), np.clip(growths, -growth, growth)
