"""Detections of boxes that each cell of a map predicts around its centre."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...caffe_pb2 import DetectionOutputParameter, LayerParameter
from ...errors import ShapeError
from ...types import Array, Shape
from ..boxes import lower_range
from ..builder import FLOAT, INT64, Builder, int64
from ..layer import Layer
from ..registry import layer
from .softmax import softmax

_Index = NDArray[np.int64]


def _suppress(boxes: Array, areas: Array, scores: Array, threshold: np.float32) -> _Index:
    """Return the boxes that no better one overlaps, the best first.

    As in the fork the shared part counts the pixels at both ends and the areas do not, so that
    small boxes may share more than they have.
    """
    picked: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        least = np.maximum(boxes[index, :2], boxes[picked, :2])
        most = np.minimum(boxes[index, 2:], boxes[picked, 2:])
        shared = np.maximum(most - least + 1, 0).prod(axis=1)
        if np.all(shared / (areas[index] + areas[picked] - shared) <= threshold):
            picked.append(index)
    return np.array(picked, np.int64)


class _Centers(Layer):
    """What both have in common: suppression in each image, and rows."""

    varies = (2,)

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if not self.p.HasField("num_classes"):
            raise ShapeError("must specify num_classes")
        explicit = self.p.HasField("confidence_threshold")
        least = self.p.confidence_threshold if explicit else np.finfo(np.float32).min
        self._least = np.float32(least)
        self._marks = 10 if self.p.has_lm else 0

    def _rows(self, images: list[tuple[Array, Array, Array]], scale: Array) -> Array:
        """Return the top.

        Args:
            images: of each image its label and score, its corners and landmarks, and its areas.
            scale: the divisors of the corners and landmarks.
        """
        rows = []
        for image, (heads, places, areas) in enumerate(images):
            picked = _suppress(places[:, :4], areas, heads[:, 1], np.float32(self.p.nms_thresh))
            picked = picked[: self.p.keep_top_k] if self.p.keep_top_k > 0 else picked
            number = np.full((len(picked), 1), image, np.float32)
            rows.append(np.hstack([number, heads[picked], places[picked] / scale]))
        every = np.vstack(rows)
        every = every if len(every) else self._nothing(len(images))
        return np.asarray(every[None, None], np.float32)

    def _nothing(self, images: int) -> Array:
        """Return the fork's rows for no detection in any image."""
        rows = np.full((images, 7 + self._marks), -1, np.float32)
        rows[:, 0] = np.arange(images)
        return rows

    def _lower_rows(self, g: Builder, valid: str, table: str, images: int, scale: Array) -> str:
        """Write the top.

        Args:
            g: the builder.
            valid: the mask of the candidates, (images, 1, candidates).
            table: label, score, corners, landmarks and area, (images, columns, candidates).
            images: their number.
            scale: the divisors of the corners and landmarks.
        """
        table, every = g.Transpose(table, perm=[0, 2, 1]), []
        for image in range(images):
            places = g.NonZero(g.Gather(valid, np.int64(image)))
            places = g.Squeeze(g.Slice(places, int64(1), int64(2), int64(0)), int64(0))
            rows = g.Gather(g.Gather(table, np.int64(image)), places)
            score = g.Squeeze(g.Slice(rows, int64(1), int64(2), int64(1)), int64(1))
            order = g.TopK(score, g.Shape(score), axis=0, outputs=2)[1]
            sizes = int64(2, 4 + self._marks, 1)
            heads, places, area = g.Split(g.Gather(rows, order), sizes, axis=1, outputs=3)
            picked = _lower_suppress(g, places, area, np.float32(self.p.nms_thresh))
            if self.p.keep_top_k > 0:
                picked = g.Slice(picked, int64(0), int64(self.p.keep_top_k), int64(0))
            head, place = g.Gather(heads, picked), g.Div(g.Gather(places, picked), scale)
            zeros = g.Mul(g.Slice(head, int64(0), int64(1), int64(1)), np.float32(0))
            every.append(g.Concat(g.Add(zeros, np.float32(image)), head, place, axis=1))
        rows = every[0] if images == 1 else g.Concat(*every, axis=0)
        empty = g.Cast(g.Equal(g.Shape(rows, end=1), int64(0)), to=INT64)
        nothing = g.Slice(self._nothing(images), int64(0), g.Mul(empty, int64(images)), int64(0))
        return g.Unsqueeze(g.Concat(rows, nothing, axis=0), int64(0, 1))


def _lower_suppress(g: Builder, places: str, areas: str, threshold: np.float32) -> str:
    """Write the indices of the boxes, the best first, that no better one overlaps.

    It is a Scan: NonMaxSuppression would compute the areas from the corners.

    Args:
        g: the builder.
        places: the corners, and what follows them, (boxes, 4 or more).
        areas: (boxes, 1).
        threshold: the largest overlap that is no reason to leave a box out.
    """
    zero, one = np.float32(0), np.float32(1)
    count = g.Shape(areas, end=1)
    # onnxruntime's Scan takes no empty sequence, so there is one more, the worst.
    places, areas = (g.Pad(rows, int64(0, 0, 1, 0), zero) for rows in (places, areas))
    low = g.Slice(places, int64(0), int64(2), int64(1))
    high = g.Slice(places, int64(2), int64(4), int64(1))
    area = g.Squeeze(areas, int64(1))
    numbers = g.Cast(lower_range(g, g.Shape(area)), to=FLOAT)

    def step(mask: str, least: str, most: str, own: str, number: str) -> tuple[str]:
        extent = g.Relu(g.Add(g.Sub(g.Min(most, high), g.Max(least, low)), one))
        shared = g.ReduceProd(extent, int64(1), keepdims=0)
        overlap = g.Div(shared, g.Sub(g.Add(own, area), shared))
        near = g.ReduceMax(g.Where(g.LessOrEqual(overlap, threshold), zero, mask), int64(0))
        here = g.And(g.Equal(numbers, number), g.Equal(near, zero))
        return (g.Where(here, one, mask),)

    mask = g.Scan(
        g.Mul(numbers, zero),
        low,
        high,
        area,
        numbers,
        body=g.graph(step, 5, ranks=(1,)),
        num_scan_inputs=4,
    )
    return g.Squeeze(g.NonZero(g.Slice(mask, int64(0), count, int64(0))), int64(0))


@layer(param="detection_output_param", bottoms=(3, None))
class CenterGridOutput(_Centers):
    """Detections of maps of 4 distances in bias_scale, 10 of landmarks with has_lm, and scores.

    Rows: image, label, score, xmin, ymin, xmax, ymax, landmarks, as fractions of net_width and
    net_height. Equal scores keep their order, which C++'s sort leaves open. The fork takes the y of
    landmarks from the column.

    From: yuqj1991/caffe_train, src/caffe/layers/CenterGridDetectionLayer.cpp and
        util/center_bbox_util.cpp
    Refused: in ONNX, a varying size or number of images.
    """

    def shapes(self, *x: Shape) -> list[Shape | None]:
        soft = self.p.class_type == DetectionOutputParameter.SOFTMAX
        wanted = 4 + self._marks + (2 if soft else 1)
        if self.p.num_classes != (2 if soft else 1) or (self._marks and not soft):
            raise ShapeError("takes 2 classes with SOFTMAX, or 1 with SIGMOID and no has_lm")
        if len(self.p.bias_scale) != len(x):
            raise ShapeError(f"has {len(self.p.bias_scale)} bias_scale for {len(x)} bottoms")
        for shape in x:
            if len(shape) != 4 or shape[:2] != (x[0][0], wanted) or shape[2] != shape[3]:
                raise ShapeError(f"needs square maps of {wanted} channels, and has {shape}")
        return [(1, 1, 1, 7 + self._marks)]

    def forward(self, *x: Array) -> Array:
        soft = self.p.class_type == DetectionOutputParameter.SOFTMAX
        scores, places = [], []
        for bottom, bias in zip(x, self.p.bias_scale, strict=True):
            ratio = np.float32(self.p.net_width / bottom.shape[3])
            tail = bottom[:, 4 + self._marks :]
            score = (softmax(tail, 1) if soft else 1 / (1 + np.exp(-tail)))[:, -1]
            distance = bottom[:, : 4 + self._marks] * np.float32(bias)
            distance = distance / np.float32(ratio if soft else 2 * ratio)
            row, column = np.indices(bottom.shape[2:])
            centre = np.stack([column, row, column, row, *[column] * self._marks]) + 0.5
            pixels = ((centre - distance.astype(np.float64)) * ratio).astype(np.float32)
            most = np.float32(ratio * bottom.shape[3])
            scores.append(score.reshape(len(bottom), -1))
            places.append(np.clip(pixels, 0, most).reshape(*pixels.shape[:2], -1))
        every, place = np.hstack(scores), np.concatenate(places, axis=2).transpose(0, 2, 1)
        size = place[..., 2:4] - place[..., :2]
        keep = np.all(size > 0, axis=2) & (every >= self._least)
        images = [
            (np.stack([np.ones_like(s), s], axis=1)[k], p[k], e[k].prod(axis=1))
            for s, p, e, k in zip(every, place, size, keep, strict=True)
        ]
        return self._rows(images, self._scale)

    @property
    def _scale(self) -> Array:
        scale = [self.p.net_width, self.p.net_height] * (2 + self._marks // 2)
        return np.array(scale, np.float32)

    def lower(self, g: Builder, *x: str) -> str:
        soft = self.p.class_type == DetectionOutputParameter.SOFTMAX
        scores, places = [], []
        for bottom, bias in zip(x, self.p.bias_scale, strict=True):
            images, channels, height, width = g.shape(bottom)
            ratio, marks = self.p.net_width / width, self._marks
            cells = g.Reshape(bottom, int64(images, channels, height * width))
            sizes = int64(4 + marks, channels - 4 - marks)
            distance, tail = g.Split(cells, sizes, axis=1, outputs=2)
            score = g.Softmax(tail, axis=1) if soft else g.Sigmoid(tail)
            scores.append(g.Slice(score, int64(1), int64(2), int64(1)) if soft else score)
            row, column = np.indices((height, width)).reshape(2, 1, -1)
            centre = np.concatenate([column, row, column, row, *[column] * marks]) + 0.5
            reach = np.float32(bias if soft else bias / 2)  # the map's ratio cancels
            pixels = g.Sub((centre * ratio).astype(np.float32), g.Mul(distance, reach))
            places.append(g.Clip(pixels, np.float32(0), np.float32(ratio * width)))
        score, place = (g.Concat(*parts, axis=2) for parts in (scores, places))
        first = g.Slice(place, int64(0), int64(2), int64(1))
        size = g.Sub(g.Slice(place, int64(2), int64(4), int64(1)), first)
        extent = g.Greater(g.ReduceMin(size, int64(1)), np.float32(0))
        valid = g.And(extent, g.GreaterOrEqual(score, self._least))
        label = g.Expand(np.ones(1, np.float32), g.Shape(score))
        table = g.Concat(label, score, place, g.ReduceProd(size, int64(1)), axis=1)
        return self._lower_rows(g, valid, table, images, self._scale)


@layer(param="detection_output_param", bottoms=2)
class CenternetDetectionOutput(_Centers):
    """Detections of a map of offsets and log sizes, 10 landmarks with has_lm, and one of scores.

    Rows: image, label, score, xmin, ymin, xmax, ymax as fractions, landmarks as the fork has them.
    A score of 1 is left out. Equal scores keep their order, which C++'s sort leaves open.

    From: yuqj1991/caffe_train, src/caffe/layers/detection_centernet_output_layer.cpp and
        util/center_bbox_util.cpp
    Refused: in ONNX, a varying size or number of images.
    """

    def shapes(self, loc: Shape, conf: Shape) -> list[Shape | None]:
        wanted = (4 + self._marks, self.p.num_classes - 1)
        if len(loc) != 4 or (loc[1], conf[1:2]) != (wanted[0], (wanted[1],)):
            raise ShapeError(f"needs {wanted[0]} and {wanted[1]} channels, and has {loc}, {conf}")
        if (loc[0], *loc[2:]) != (conf[0], *conf[2:]):
            raise ShapeError(f"needs maps of one size, and has {loc} and {conf}")
        return [(1, 1, 1, 7 + self._marks)]

    def forward(self, loc: Array, conf: Array) -> Array:
        most, images = self._most(loc.shape), []
        for deltas, scores in zip(loc, conf, strict=True):
            label, row, column = np.nonzero((scores > self._least) & (scores < 1))
            own = deltas[:, row, column].T
            centre = (np.stack([column, row], axis=1).astype(np.float32) + own[:, :2]) * 4
            size = np.exp(own[:, 2:4].astype(np.float64)).astype(np.float32) * 4
            least, end = (np.clip(centre + half, 0, most) for half in (-size / 2, size / 2))
            shift = own[:, 4:].reshape(len(own), self._marks // 2, 2) * (end - least)[:, None]
            marks = np.clip((centre[:, None] + shift) * 4, 0, most).reshape(len(own), self._marks)
            heads = np.stack([label + 1, scores[label, row, column]], axis=1)
            images.append((heads, np.hstack([least, end, marks]), size.prod(axis=1)))
        return self._rows(images, self._scale(most))

    @staticmethod
    def _most(loc: Shape) -> Array:
        """Return the image's width and height."""
        return np.array([4 * loc[3], 4 * loc[2]], np.float32)

    def _scale(self, most: Array) -> Array:
        return np.hstack([most, most, np.ones(self._marks, np.float32)])

    def lower(self, g: Builder, loc: str, conf: str) -> str:
        images, channels, height, width = shape = g.shape(loc)
        classes, cells, pairs = self.p.num_classes - 1, height * width, self._marks // 2
        sizes = int64(*[2] * (2 + pairs))
        deltas = g.Reshape(loc, int64(images, channels, cells))
        offset, growth, *marks = g.Split(deltas, sizes, axis=1, outputs=len(sizes))
        four, zero, most = np.float32(4), np.float32(0), self._most(shape)
        grid = np.indices((height, width), np.float32)[::-1].reshape(2, cells)
        centre, size = g.Mul(g.Add(offset, grid), four), g.Mul(g.Exp(growth), four)
        half = g.Mul(size, np.float32(0.5))

        def clip(pixels: str) -> str:
            return g.Min(g.Max(pixels, zero), most[:, None])

        least, end = clip(g.Sub(centre, half)), clip(g.Add(centre, half))
        span = g.Sub(end, least)
        shifts = (g.Add(centre, g.Mul(mark, span)) for mark in marks)
        shown = (clip(g.Mul(shift, four)) for shift in shifts)
        columns = g.Concat(least, end, *shown, g.ReduceProd(size, int64(1)), axis=1)
        columns = g.Tile(columns, int64(1, 1, classes))  # a candidate for each class
        score = g.Reshape(conf, int64(images, 1, classes * cells))
        label = np.repeat(np.arange(1, classes + 1, dtype=np.float32), cells)
        table = g.Concat(g.Expand(label, g.Shape(score)), score, columns, axis=1)
        valid = g.And(g.Greater(score, self._least), g.Less(score, np.float32(1)))
        return self._lower_rows(g, valid, table, images, self._scale(most))
