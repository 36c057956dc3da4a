"""Detections of boxes that each cell of a map predicts around its centre."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...caffe_pb2 import DetectionOutputParameter, LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder
from ..layer import Layer, layer
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
        found = np.vstack(rows)
        if not len(found):
            found = np.full((len(images), 7 + self._marks), -1, np.float32)
            found[:, 0] = np.arange(len(images))
        return np.asarray(found[None, None], np.float32)

    def lower(self, g: Builder, *x: str) -> str:
        raise UnsupportedError(
            "has no ONNX form: it compares boxes by an overlap that counts the pixels at both ends "
            "and areas that do not, which NonMaxSuppression cannot; leave the layer out, and its "
            "bottoms are outputs",
            remedies=("leave_out",),
            changes=[{"leave_out": (self.name,)}],
        )


@layer(param="detection_output_param", bottoms=(3, None))
class CenterGridOutput(_Centers):
    """Detections of maps of 4 distances in bias_scale, 10 of landmarks with has_lm, and scores.

    Rows: image, label, score, xmin, ymin, xmax, ymax, landmarks, as fractions of net_width and
    net_height. Equal scores keep their order, which C++'s sort leaves open. The fork takes the y of
    landmarks from the column.

    From: yuqj1991/caffe_train, src/caffe/layers/CenterGridDetectionLayer.cpp and
        util/center_bbox_util.cpp (by reading alone)
    Refused: in ONNX: its overlap is not that of NonMaxSuppression.
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
        scale = np.tile([self.p.net_width, self.p.net_height], 2 + self._marks // 2)
        return self._rows(images, scale.astype(np.float32))


@layer(param="detection_output_param", bottoms=2)
class CenternetDetectionOutput(_Centers):
    """Detections of a map of offsets and log sizes, 10 landmarks with has_lm, and one of scores.

    Rows: image, label, score, xmin, ymin, xmax, ymax as fractions, landmarks as the fork has them.
    A score of 1 is left out. Equal scores keep their order, which C++'s sort leaves open.

    From: yuqj1991/caffe_train, src/caffe/layers/detection_centernet_output_layer.cpp and
        util/center_bbox_util.cpp (by reading alone)
    Refused: in ONNX: its overlap is not that of NonMaxSuppression.
    """

    def shapes(self, loc: Shape, conf: Shape) -> list[Shape | None]:
        wanted = (4 + self._marks, self.p.num_classes - 1)
        if len(loc) != 4 or (loc[1], conf[1:2]) != (wanted[0], (wanted[1],)):
            raise ShapeError(f"needs {wanted[0]} and {wanted[1]} channels, and has {loc}, {conf}")
        if (loc[0], *loc[2:]) != (conf[0], *conf[2:]):
            raise ShapeError(f"needs maps of one size, and has {loc} and {conf}")
        return [(1, 1, 1, 7 + self._marks)]

    def forward(self, loc: Array, conf: Array) -> Array:
        most = np.float32(4) * np.array(loc.shape[:1:-1], np.float32)
        images = []
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
        return self._rows(images, np.hstack([most, most, np.ones(self._marks, np.float32)]))
