"""YOLO v2's detections beside the ground truth."""

from __future__ import annotations

import numpy as np

from ...caffe_pb2 import EvalDetectionParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..layer import Layer
from ..registry import layer
from .activation import sigmoid
from .softmax import softmax
from .yolo_loss import annotated, overlaps

_LEAST = np.float32(0.005)  # Darknet's


@layer(param="eval_detection_param", bottoms=(2, 3))
class EvalDetection(Layer):
    """Of each image the number of objects a class, and (label, score, true, false) a detection.

    The bottoms are a map of 5 + num_class channels for each of 5 anchors, and rows as of
    MultiBoxLoss; a third one is not read. Boxes of all labels suppress each other. A detection is
    neither true nor false if the image has its label and no object is near.

    From: intel/caffe, src/caffe/layers/eval_detection_layer.cpp
    Refused: num_object other than 5; maps of another size than side.
    """

    evaluates = True

    def check_forward(self) -> None:
        if self.p.num_object != 5 or len(self.p.biases) < 10:
            raise UnsupportedError(f"needs 5 anchors, num_object 5, and has {self.p.num_object}")

    def shapes(self, x: Shape, y: Shape, *data: Shape) -> list[Shape | None]:
        side, channels = self.p.side, self.p.num_object * (5 + self.p.num_class)
        if x[1:] != (channels, side, side) or np.prod(y) % 8:
            raise ShapeError(f"needs maps of {channels} x {side} x {side} and rows of 8: {x}, {y}")
        return [(x[0], self.p.num_class + 4 * self.p.num_object * side * side)]

    def forward(self, x: Array, y: Array, *data: Array) -> Array:
        self.check_forward()
        classes = self.p.num_class
        top = np.zeros((len(x), classes + 20 * self.p.side**2), np.float32)
        for image, known in enumerate(annotated(y, len(x))):
            label = known[:, 0].astype(np.int64)
            if np.any((label < 0) | (label >= classes)):
                raise ShapeError(f"a label of the ground truth is outside {classes} classes")
            top[image, :classes] = np.bincount(label, minlength=classes)
            lines = self._lines(known, *self._detect(x[image]))
            top[image, classes : classes + 4 * len(lines)] = np.ravel(lines)
        return top

    def _lines(self, known: Array, boxes: Array, scores: Array, labels: Array) -> list[list[float]]:
        """Return the rows of detections, by their labels and then by falling score."""
        lines, found = list[list[float]](), set[tuple[int, int]]()
        for index in np.argsort(labels, kind="stable"):
            kind = int(labels[index])
            own = known[known[:, 0].astype(np.int64) == kind, 1:]
            true, false = 0, int(not len(own))
            if len(own):
                shared = overlaps(own, boxes[index])
                best = int(shared.argmax())
                if shared[best] >= np.float32(self.p.threshold):
                    true, false = int((kind, best) not in found), int((kind, best) in found)
                    found.add((kind, best))
            lines.append([kind, float(scores[index]), true, false])
        return lines

    def _detect(self, x: Array) -> tuple[Array, Array, Array]:
        """Return the boxes, scores and labels that no better one suppresses, the best first."""
        side = self.p.side
        cells = x.reshape(5, -1, side, side).transpose(2, 3, 0, 1).reshape(-1, 5 + self.p.num_class)
        row, column, anchor = np.indices((side, side, 5)).reshape(3, -1)
        anchors = np.array(self.p.biases[:10], np.float32).reshape(5, 2)[anchor]
        middle = (sigmoid(cells[:, :2]) + np.stack([column, row], axis=1)) / np.float32(side)
        boxes = np.hstack([middle, np.exp(cells[:, 2:4]) * anchors / np.float32(side)])
        shares, known = softmax(cells[:, 5:], 1), sigmoid(cells[:, 4])
        best = shares.max(axis=1)
        kinds = EvalDetectionParameter
        scores = {kinds.OBJ: known, kinds.PROB: best}.get(self.p.score_type, known * best)
        order, kept = np.argsort(-scores, kind="stable"), list[int]()
        for index in order if self.p.nms >= 0 else order[:0]:
            if np.all(overlaps(boxes[kept], boxes[index]) < np.float32(self.p.nms)):
                kept.append(index)
        kept = [index for index in kept if scores[index] >= _LEAST]
        return boxes[kept].astype(np.float32), scores[kept], shares[kept].argmax(axis=1)
