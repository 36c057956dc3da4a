"""The second stage of MS-CNN and Cascade R-CNN: boxes moved, chosen and detected.

A row is (image, xmin, ymin, xmax, ymax) in pixels of the input.
"""

from __future__ import annotations

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..boxes import lower_flat, suppress_sorted
from ..builder import FLOAT, Builder, int64
from ..layer import Layer
from ..registry import layer
from .mscnn import moments, unscaled


@layer(param="bbox_reg_param", bottoms=(2, 3))
class DecodeBBox(Layer):
    """Rows (image, box) moved by the second four of 8 corrections, those of the objects.

    TRAIN leaves out boxes inside out and, of a third bottom (label, box, overlap), those whose
    overlap with the ground truth was gt_iou_thr or more before.

    From: zhaoweicai/mscnn and zhaoweicai/cascade-rcnn, src/caffe/layers/decode_bbox_layer.cpp
    Refused: TRAIN in ONNX, and where no box is left.
    """

    blocked = (0, 1, 2)

    @property
    def varies(self) -> tuple[int, ...]:
        return (0,) if self.train else ()

    def shapes(self, *x: Shape) -> list[Shape | None]:
        deltas, rows = x[:2]
        if len(x) > 2 and not self.train:
            raise ShapeError("takes a third bottom in TRAIN alone")
        count = rows[0]
        if deltas[:2] != (count, 8) or rows[:2] != (count, 5) or x[-1][0] != count:
            raise ShapeError(f"needs (R, 8) and (R, 5), and has {' and '.join(map(str, x))}")
        return [(count, 5, 1, 1)]

    def forward(self, deltas: Array, rows: Array, *truth: Array) -> Array:
        rows = rows.reshape(len(rows), 5)
        boxes = _moved(self.proto, deltas.reshape(len(rows), 2, 4)[:, 1:], rows)[:, 0]
        y = np.column_stack([rows[:, :1], boxes])[:, :, None, None]
        if not self.train:
            return y
        keep = ~np.any(boxes[:, :2] > boxes[:, 2:], axis=1)
        for each in truth:
            overlap = each.reshape(len(rows), -1)[:, -1]
            keep &= overlap < np.float32(self.proto.decode_bbox_param.gt_iou_thr)
        if not keep.any():
            raise ShapeError("no box is left")
        left: Array = y[keep]
        return left

    def backward(self, dy: Array, *x: Array) -> tuple[None, ...]:
        return (None,) * len(x)

    def lower(self, g: Builder, deltas: str, rows: str, *truth: str) -> str:
        if self.train:
            raise UnsupportedError("leaves out boxes in TRAIN, which has no ONNX form")
        rows, deltas = (g.Reshape(part, int64(*to)) for part, to in _row_shapes(rows, deltas))
        deltas = g.Slice(deltas, int64(1), int64(2), int64(1))
        boxes = g.Squeeze(_lower_moved(self.proto, g, deltas, rows), int64(1))
        image = g.Slice(rows, int64(0), int64(1), int64(1))
        return g.Unsqueeze(g.Concat(image, boxes, axis=1), int64(2, 3))


def _row_shapes(rows: str, deltas: str) -> tuple[tuple[str, Shape], tuple[str, Shape]]:
    return (rows, (-1, 5)), (deltas, (-1, 2, 4))


def _moved(proto: LayerParameter, deltas: Array, rows: Array) -> Array:
    """Return (R, classes, 4): the boxes of rows (image, box), moved by (R, classes, 4)."""
    low, high = rows[:, None, 1:3], rows[:, None, 3:5]
    size, centre = high - low + 1, np.float32(0.5) * (high + low)
    deltas = unscaled(proto, deltas.swapaxes(1, 2)).swapaxes(1, 2)
    sides = size * np.exp(deltas[..., 2:])
    first = deltas[..., :2] * size + centre - (sides - 1) / np.float32(2)
    return np.concatenate([first, first + sides - 1], axis=2)


def _lower_moved(proto: LayerParameter, g: Builder, deltas: str, rows: str) -> str:
    one, half = np.float32(1), np.float32(0.5)
    rows = g.Unsqueeze(g.Slice(rows, int64(1), int64(5), int64(1)), int64(1))
    low, high = g.Split(rows, int64(2, 2), axis=2, outputs=2)
    size, centre = g.Add(g.Sub(high, low), one), g.Mul(g.Add(high, low), half)
    scales = moments(proto)
    if scales is not None:
        deltas = g.Add(g.Mul(deltas, scales[0].ravel()), scales[1].ravel())
    moves, growths = g.Split(deltas, int64(2, 2), axis=2, outputs=2)
    sides = g.Mul(size, g.Exp(growths))
    first = g.Sub(g.Add(g.Mul(moves, size), centre), g.Mul(g.Sub(sides, one), half))
    return g.Concat(first, g.Sub(g.Add(first, sides), one), axis=2)


@layer(param="frcnn_output_param", bottoms=4)
class FrcnnOutput(Layer):
    """Detections: rows image, box, label, score, behind a row of -1 after the image.

    The bottoms are the scores of each row (R, classes), its corrections (4 a class, or 8), its
    boxes (R, 5 or 6) and the input's size (height, width). Classes are suppressed one by one; the
    max_det_num best remain. Files of detections are not written.

    From: zhaoweicai/cascade-rcnn, src/caffe/layers/frcnn_output_layer.cpp
    Refused: an nms_type other than IOU. Not exact: as BoxGroupOutput.
    """

    varies = (0,)

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if self.p.nms_type not in ("IOU", ""):
            raise UnsupportedError(f"nms_type {self.p.nms_type!r} is not supported; only IOU")
        self._aware: bool = proto.bbox_reg_param.cls_aware

    def shapes(self, *x: Shape) -> list[Shape | None]:
        scores, deltas, rows, size = x
        wanted = 4 * scores[1] if self._aware else 8
        if deltas[:2] != (scores[0], wanted) or rows[0] != scores[0] or rows[1] not in (5, 6):
            raise ShapeError(f"needs R rows of {wanted} and 5 numbers, has {deltas} and {rows}")
        if size[:2] != (1, 2):
            raise ShapeError(f"needs a size of (1, 2), and has {size}")
        return [(1, 7, 1, 1)]

    def forward(self, scores: Array, deltas: Array, rows: Array, size: Array) -> Array:
        count = len(scores)
        scores, rows = scores.reshape(count, -1), rows.reshape(count, -1)
        boxes = _moved(self.proto, deltas.reshape(count, -1, 4), rows)
        most = size.ravel()[::-1]
        boxes = np.concatenate(
            [np.maximum(boxes[..., :2], 0), np.minimum(boxes[..., 2:], most)], axis=2
        )
        found: list[tuple[float, int, int]] = []
        for label in range(1, scores.shape[1]):
            order = np.argsort(-scores[:, label], kind="stable")
            order = order[scores[order, label] >= np.float32(self.p.conf_thr)]
            own = boxes[order, label if self._aware else 1]
            kept = order[suppress_sorted(own, self.p.iou_thr)]
            found += [(float(scores[row, label]), label, int(row)) for row in kept]
        best = sorted(range(len(found)), key=lambda i: -found[i][0])[: self.p.max_det_num or None]
        lines = [[0.0, *[-1.0] * 6]]
        for score, label, row in (found[i] for i in sorted(best)):
            lines.append([0, *boxes[row, label if self._aware else 1].tolist(), label, score])
        return np.array(lines, np.float32)[:, :, None, None]

    def lower(self, g: Builder, scores: str, deltas: str, rows: str, size: str) -> str:
        classes = g.fixed(scores, 1)
        wide = int64(-1, g.fixed(rows, 1))
        boxes = g.Reshape(deltas, int64(-1, classes if self._aware else 2, 4))
        boxes = _lower_moved(self.proto, g, boxes, g.Reshape(rows, wide))
        first, last = g.Split(boxes, int64(2, 2), axis=2, outputs=2)
        most = g.Gather(g.Reshape(size, int64(-1)), int64(1, 0))
        boxes = g.Concat(g.Relu(first), g.Min(last, most), axis=2)
        # (batches, classes, R): one batch a class where each class has boxes of its own.
        boxes = g.Transpose(g.Slice(boxes, int64(1), int64(classes), int64(1)), perm=[1, 0, 2])
        each = g.Transpose(g.Reshape(scores, int64(-1, classes)), perm=[1, 0])
        each = g.Slice(each, int64(1), int64(classes), int64(0))
        batches = g.Unsqueeze(each, int64(1 if self._aware else 0))
        indices = g.NonMaxSuppression(
            lower_flat(g, boxes, 1),
            batches,
            g.Squeeze(g.Shape(each, start=1)),
            np.float32(self.p.iou_thr),
            np.nextafter(np.float32(self.p.conf_thr), np.float32(-np.inf)),
        )
        score = g.GatherND(batches, indices)
        if self.p.max_det_num:
            most = g.Min(g.Shape(score), int64(self.p.max_det_num))
            _, best = g.TopK(score, most, axis=0, outputs=2)
            order, _ = g.TopK(best, most, axis=0, largest=0, outputs=2)
            indices, score = g.Gather(indices, order), g.Gather(score, order)
        label = g.Gather(indices, int64(0 if self._aware else 1), axis=1)
        label = g.Add(g.Cast(label, to=FLOAT), np.float32(1))
        box = g.GatherND(boxes, g.Gather(indices, int64(0, 2), axis=1))
        score = g.Unsqueeze(score, int64(1))
        lines = g.Concat(g.Mul(label, np.float32(0)), box, label, score, axis=1)
        lines = g.Concat(np.array([[0, *[-1] * 6]], np.float32), lines, axis=0)
        return g.Unsqueeze(lines, int64(2, 3))


@layer(param="scale_route_param", bottoms=(1, None), tops=(1, None))
class ScaleRoute(Layer):
    """The rows of every bottom whose box, in the first one, has a scale in low_scale..high_scale.

    The scale is the root of the area. If there is none, the row nearest to their middle remains.

    From: zhaoweicai/cascade-rcnn, src/caffe/layers/scale_route_layer.cpp
    """

    varies = (0,)

    def shapes(self, *x: Shape) -> list[Shape | None]:
        if len(self.proto.top) != len(x) or x[0][1:2] != (5,):
            raise ShapeError(f"needs (R, 5) first and a top for each bottom, and has {x}")
        if any(shape[0] != x[0][0] for shape in x):
            raise ShapeError(f"needs bottoms of as many rows, and has {x}")
        return [(*shape, *self._ones(len(shape))) for shape in x]

    @staticmethod
    def _ones(rank: int) -> tuple[int, ...]:
        """Return the sizes that the fork adds, whose tops have four axes at least."""
        return (1,) * (4 - rank)

    def _limits(self) -> tuple[np.float32, np.float32, np.float32]:
        low, high = self.p.low_scale, self.p.high_scale
        bounds = [n for n, f in ((low, "low_scale"), (high, "high_scale")) if self.p.HasField(f)]
        middle = np.prod(bounds) ** (1 / len(bounds)) if bounds else 256
        highest = high if self.p.HasField("high_scale") else np.finfo(np.float32).max
        return np.float32(low), np.float32(highest), np.float32(middle)

    def forward(self, *x: Array) -> tuple[Array, ...]:
        low, high, middle = self._limits()
        rows = x[0].reshape(len(x[0]), 5)
        sides = rows[:, 3:] - rows[:, 1:3]
        scale = np.sqrt(np.prod(sides + 1, axis=1) * np.all(sides >= 0, axis=1))
        mask = (scale >= low) & (scale < high)
        if not mask.any():
            with np.errstate(divide="ignore"):
                mask = np.arange(len(rows)) == np.argmin(np.abs(np.log2(scale / middle)))
        return tuple(b[mask].reshape(-1, *b.shape[1:], *self._ones(b.ndim)) for b in x)

    def lower(self, g: Builder, *x: str) -> tuple[str, ...]:
        low, high, middle = self._limits()
        rows = g.Reshape(x[0], int64(-1, 5))
        _, first, last = g.Split(rows, int64(1, 2, 2), axis=1, outputs=3)
        sides = g.Sub(last, first)
        area = g.ReduceProd(g.Add(sides, np.float32(1)), int64(1), keepdims=0)
        flat = g.Less(g.ReduceMin(sides, int64(1), keepdims=0), np.float32(0))
        scale = g.Sqrt(g.Where(flat, np.float32(0), area))
        mask = g.And(g.GreaterOrEqual(scale, low), g.Less(scale, high))
        distance = g.Abs(g.Log(g.Div(scale, middle)))
        nearest = g.ArgMax(g.Mul(distance, np.float32(-1)), axis=0)
        places = g.Range(np.int64(0), g.Squeeze(g.Shape(scale)), np.int64(1))
        inside = g.Cast(mask, to=FLOAT)
        none = g.Equal(g.ReduceMax(inside, keepdims=1), np.float32(0))
        alone = g.Cast(g.And(none, g.Equal(places, nearest)), to=FLOAT)
        mask = g.Greater(g.Max(inside, alone), np.float32(0))
        tops = [g.Compress(bottom, mask, axis=0) for bottom in x]
        return tuple(
            g.Unsqueeze(top, int64(*range(rank, 4))) if (rank := len(g.dims(bottom))) < 4 else top
            for top, bottom in zip(tops, x, strict=True)
        )
