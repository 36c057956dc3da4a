"""Detections of YOLO's maps (Redmon and Farhadi 2017 and 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..boxes import suppress_sorted
from ..builder import FLOAT, Builder, Operand, int64
from ..layer import Layer
from ..registry import layer
from .activation import sigmoid


class _Yolo(Layer):
    """Rows image, label, score, xmin, ymin, xmax, ymax of boxes that overlap no better one.

    A subclass decodes each map. Labels count from 1, corners are shares of the image, and boxes of
    all labels suppress each other.
    """

    varies = (2,)
    _closed = False  # whether a score of the threshold itself is a detection

    def _maps(self, count: int) -> Sequence[tuple[Array, int]]:
        """Return for each bottom its anchors (A, 2), and the size that they are shares of."""
        raise NotImplementedError

    def shapes(self, *x: Shape) -> list[Shape | None]:
        for shape, (anchors, _) in zip(x, self._maps(len(x)), strict=True):
            channels = len(anchors) * (5 + self.p.num_classes)
            if len(shape) != 4 or shape[1] != channels:
                raise ShapeError(f"needs maps of {channels} channels, and has {shape}")
            if shape[0] != 1:
                raise UnsupportedError(f"mixes the boxes of several images; has maps of {shape}")
        return [(1, 1, 1, 7)]

    def forward(self, *x: Array) -> Array:
        decoded = [
            self._decode(image[0], anchors, unit)
            for image, (anchors, unit) in zip(x, self._maps(len(x)), strict=True)
        ]
        boxes, scores, labels = (np.concatenate(parts) for parts in zip(*decoded, strict=True))
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] > self._least]
        order = order[suppress_sorted(boxes[order], float(self._limit), pixel=0)]
        rows = np.column_stack([np.zeros(len(order)), labels[order], scores[order], boxes[order]])
        return rows.astype(np.float32)[None, None] if len(rows) else _NOTHING

    # A box goes at an overlap of the threshold itself, where ONNX's operator leaves it.

    @property
    def _limit(self) -> np.float32:
        return np.float32(np.nextafter(np.float32(self._threshold), np.float32(-1)))

    @property
    def _threshold(self) -> float:
        return float(self.p.nms_threshold)

    @property
    def _least(self) -> np.float32:
        least = np.float32(self.p.confidence_threshold)
        return np.float32(np.nextafter(least, np.float32(-np.inf))) if self._closed else least

    def _decode(self, x: Array, anchors: Array, unit: int) -> tuple[Array, Array, Array]:
        """Return boxes, scores and labels of a map (A (5 + classes), H, W)."""
        height, width = x.shape[1:]
        parts = x.reshape(len(anchors), -1, height * width)
        grid = _grid(height, width)
        centre = (sigmoid(parts[:, :2]) + grid) / np.reshape([width, height], (2, 1))
        share = (anchors / np.array([unit * width, unit * height]))[..., None]
        half = np.exp(parts[:, 2:4]) * share.astype(np.float32) / np.float32(2)
        corners = np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)
        scores, labels = self._score(sigmoid(parts[:, 4:5]), parts[:, 5:])
        boxes = np.broadcast_to(corners.transpose(0, 2, 1)[:, None], (*scores.shape, 4))
        return boxes.reshape(-1, 4), scores.reshape(-1), labels.reshape(-1)

    def _score(self, objects: Array, classes: Array) -> tuple[Array, Array]:
        """Return scores and labels, (A, classes or 1, H W)."""
        raise NotImplementedError

    def _lower_score(self, g: Builder, objects: str, classes: str) -> tuple[str, Operand]:
        raise NotImplementedError

    def lower(self, g: Builder, *x: str) -> str:
        decoded = [
            self._lower_decode(g, image, anchors, unit)
            for image, (anchors, unit) in zip(x, self._maps(len(x)), strict=True)
        ]
        boxes, scores, labels = (
            parts[0] if len(parts) == 1 else g.Concat(*parts, axis=0)
            for parts in zip(*decoded, strict=True)
        )
        count = g.Squeeze(g.Shape(scores, end=1))
        indices = g.NonMaxSuppression(
            g.Unsqueeze(boxes, int64(0)),
            g.Unsqueeze(scores, int64(0, 1)),
            count,
            self._limit,
            self._least,
        )
        places = g.Squeeze(g.Slice(indices, int64(2), int64(3), int64(1)), int64(1))
        columns = [g.Unsqueeze(g.Gather(part, places), int64(1)) for part in (labels, scores)]
        image = g.Mul(columns[1], np.float32(0))
        rows = g.Concat(image, *columns, g.Gather(boxes, places), axis=1)
        rows = g.Unsqueeze(rows, int64(0, 1))
        empty = g.Cast(g.Equal(g.Shape(rows, start=2, end=3), int64(0)), to=7)
        return g.Concat(rows, g.Slice(_NOTHING, int64(0), empty, int64(2)), axis=2)

    def _lower_decode(
        self, g: Builder, x: str, anchors: Array, unit: int
    ) -> tuple[str, str, Operand]:
        height, width = g.fixed(x, 2), g.fixed(x, 3)
        parts = g.Reshape(x, int64(len(anchors), -1, height * width))
        sizes = int64(2, 2, 1, self.p.num_classes)
        place, size, objects, classes = g.Split(parts, sizes, axis=1, outputs=4)
        whole = np.array([[width], [height]], np.float32)
        centre = g.Div(g.Add(g.Sigmoid(place), _grid(height, width)), whole)
        share = (anchors / np.array([unit * width, unit * height]))[..., None].astype(np.float32)
        half = g.Mul(g.Mul(g.Exp(size), share), np.float32(0.5))
        corners = g.Concat(g.Sub(centre, half), g.Add(centre, half), axis=1)
        scores, labels = self._lower_score(g, g.Sigmoid(objects), classes)
        corners = g.Unsqueeze(g.Transpose(corners, perm=[0, 2, 1]), int64(1))
        boxes = g.Expand(corners, g.Concat(g.Shape(scores), int64(4), axis=0))
        flat = g.Reshape(scores, int64(-1))
        if isinstance(labels, str):
            return g.Reshape(boxes, int64(-1, 4)), flat, g.Reshape(labels, int64(-1))
        if labels is not None:
            labels = np.broadcast_to(labels, (len(anchors), self.p.num_classes, height * width))
            labels = labels.reshape(-1).astype(np.float32)
        return g.Reshape(boxes, int64(-1, 4)), flat, labels


_NOTHING = np.array([0, *[-1] * 6], np.float32).reshape(1, 1, 1, 7)


def _check_square(shapes: Sequence[Shape]) -> None:
    if any(shape[2:3] != shape[3:4] for shape in shapes):
        raise UnsupportedError(f"needs square maps, and has {tuple(shapes)}")


def _grid(height: int, width: int) -> Array:
    """Return each cell's column and row, (2, H W)."""
    rows, columns = np.indices((height, width), np.float32)
    return np.stack([columns.ravel(), rows.ravel()])


@layer(param="yolov3_detection_output_param", bottoms=(1, None))
class Yolov3DetectionOutput(_Yolo):
    """YOLO v3's detections, each class a score of its own, of maps with anchors `mask` each.

    From: eric612/MobileNet-YOLO, src/caffe/layers/yolov3_detection_output_layer.cpp
    Refused: several images, which the fork suppresses as one; gaussian_box; a varying size.
    """

    def _maps(self, count: int) -> Sequence[tuple[Array, int]]:
        p, anchors = self.p, np.reshape(self.p.biases, (-1, 2))
        if p.gaussian_box:
            raise UnsupportedError("gaussian_box is not supported")
        each = len(p.mask) // p.mask_group_num if p.mask_group_num else 0
        if not count == p.mask_group_num == len(p.anchors_scale):
            raise ShapeError(
                f"has {count} maps, mask_group_num {p.mask_group_num} and "
                f"{len(p.anchors_scale)} anchors_scale; must be alike"
            )
        masks = [list(p.mask[i * each :][: p.num_box]) for i in range(count)]
        if any(len(m) < p.num_box or max(m, default=0) >= len(anchors) for m in masks):
            raise ShapeError(f"mask {list(p.mask)} does not give {p.num_box} anchors to each map")
        return [(anchors[m], scale) for m, scale in zip(masks, p.anchors_scale, strict=True)]

    def _score(self, objects: Array, classes: Array) -> tuple[Array, Array]:
        scores = sigmoid(classes) * objects
        labels = np.arange(1, classes.shape[1] + 1, dtype=np.float32)[:, None]
        return scores, np.broadcast_to(labels, scores.shape)

    def _lower_score(self, g: Builder, objects: str, classes: str) -> tuple[str, Operand]:
        labels = np.arange(1, self.p.num_classes + 1, dtype=np.float32)[:, None]
        return g.Mul(g.Sigmoid(classes), objects), labels


@layer(param="yolov3_detection_output_param", bottoms=(1, None))
class Yolov3Detection(Yolov3DetectionOutput):
    """Yolov3DetectionOutput of square maps, with nms_threshold 0.4 unless it is stated.

    From: yuqj1991/caffe_train, src/caffe/layers/Yolov3DetectionLayer.cpp
    Refused: several images, which the fork suppresses as one; maps that are not square, which the
        fork walks as if they were; a varying size.
    """

    def shapes(self, *x: Shape) -> list[Shape | None]:
        _check_square(x)
        return super().shapes(*x)

    @property
    def _threshold(self) -> float:
        return super()._threshold if self.p.HasField("nms_threshold") else 0.4  # its own default


@layer(param="yolo_detection_output_param", bottoms=(1, 2))
class YoloDetectionOutput(_Yolo):
    """YOLO v2's detections: the best class of each box, by a softmax.

    From: eric612/MobileNet-YOLO, src/caffe/layers/yolo_detection_output_layer.cpp
    Refused: several images, which the fork suppresses as one; coords other than 4; maps that are
        not square, which the fork walks as if they were; a varying size.
    """

    _closed = True

    def shapes(self, *x: Shape) -> list[Shape | None]:
        if self.p.coords != 4:
            raise UnsupportedError(f"coords is {self.p.coords}; only 4 is supported")
        _check_square(x)
        return super().shapes(*x)

    def _maps(self, count: int) -> Sequence[tuple[Array, int]]:
        if len(self.p.biases) < 2 * self.p.num_box:
            raise ShapeError(f"has {len(self.p.biases)} biases for {self.p.num_box} boxes")
        anchors = np.reshape(self.p.biases[: 2 * self.p.num_box], (-1, 2))
        return [(anchors, 1)] * count

    def _score(self, objects: Array, classes: Array) -> tuple[Array, Array]:
        shares = np.exp(classes - classes.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        labels = shares.argmax(axis=1)[:, None] + 1
        return shares.max(axis=1, keepdims=True) * objects, labels.astype(np.float32)

    def _lower_score(self, g: Builder, objects: str, classes: str) -> tuple[str, Operand]:
        shares = g.Softmax(classes, axis=1)
        labels = g.Add(g.Cast(g.ArgMax(shares, axis=1), to=FLOAT), np.float32(1))
        return g.Mul(g.ReduceMax(shares, int64(1)), objects), labels
