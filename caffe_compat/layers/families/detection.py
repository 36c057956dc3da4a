"""DetectionEvaluate: detections beside the ground truth."""

from __future__ import annotations

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from .. import boxes as bx
from ..layer import Layer
from ..matching import Mask, read_truth
from ..registry import layer


@layer(param="detection_evaluate_param", bottoms=(2, 3))
class DetectionEvaluate(Layer):
    """True and false positives of detections: rows image, label, score, true, false.

    From: weiliu89/caffe, branch ssd, detection_evaluate_layer.cpp
    From: zhaoweicai/cascade-rcnn: with the images' sizes as a third bottom, and rows of FrcnnOutput

    Before these, a row -1, label, number of boxes, -1, -1 for each class but the background.
    Bottoms: rows of DetectionOutput, and ground truth as for MultiBoxLoss. Equal scores keep their
    order, which C++'s sort leaves open.

    Refused: where it runs with name_size_file, after which boxes are compared in pixels.
    """

    varies = (2,)
    evaluates = True

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if not self.p.HasField("num_classes"):
            raise ShapeError("must provide num_classes")
        if self.p.overlap_threshold <= 0:
            raise ShapeError(f"overlap_threshold must be above 0: {self.p.overlap_threshold:g}")

    def check_forward(self) -> None:
        if self.p.name_size_file or len(self.proto.bottom) == 3:
            raise UnsupportedError(
                "compares boxes in pixels, after a file of a test set's image sizes "
                f"({self.p.name_size_file}); leave the layer out, and '{self.proto.bottom[0]}' is "
                "an output; without name_size_file it compares fractions",
                changes=[{"deploy": True}],
                remedies=("deploy", "leave_out"),
            )

    def shapes(self, detections: Shape, truth: Shape, *sizes: Shape) -> list[Shape | None]:
        if sizes:  # Cascade R-CNN's rows stand along the first axis
            if (detections[1:2], truth[1:2]) != ((7,), (8,)):
                raise ShapeError(f"needs rows of 7 and 8: {detections} and {truth}")
            return [(len(self._labels()) + detections[0], 5, 1, 1)]
        for shape, width in ((detections, 7), (truth, 8)):
            if len(shape) != 4 or shape[:2] != (1, 1) or shape[3] != width:
                raise ShapeError(f"needs rows of {width}, (1, 1, N, {width}), and has {shape}")
        return [(1, 1, len(self._labels()) + detections[2], 5)]

    def _labels(self) -> list[int]:
        return [c for c in range(self.p.num_classes) if c != self.p.background_label_id]

    def forward(self, detections: Array, truth: Array, *sizes: Array) -> Array:
        self.check_forward()
        rows = truth.reshape(-1, 8)
        ends = np.flatnonzero(rows[:, 0].astype(np.int64) == -1)
        known = read_truth(rows[: ends[0]] if len(ends) else rows, self.p.background_label_id)
        counted = known.label[~known.difficult | bool(self.p.evaluate_difficult_gt)]
        lines: list[list[float]] = [
            [-1, c, int(np.count_nonzero(counted == c)), -1, -1] for c in self._labels()
        ]
        given = detections.reshape(-1, 7)
        image, label = given[:, :2].astype(np.int64).T
        if self.p.background_label_id in label:
            raise ShapeError(f"a detection has the background's label {self.p.background_label_id}")
        total = len(lines) + np.count_nonzero(given[:, 1] != -1)
        usable = np.flatnonzero((image != -1) & (label != -1))
        for one, kind in sorted({(image[i], label[i]) for i in usable}):
            boxes = given[usable[(image[usable] == one) & (label[usable] == kind)]]
            own = known.of((known.image == one) & (known.label == kind))
            if len(own.box):
                boxes = boxes[np.argsort(-boxes[:, 2], kind="stable")]
            verdicts = self._verdicts(boxes[:, 3:], own.box, own.difficult)
            lines += [
                [one, kind, float(box[2]), *v] for box, v in zip(boxes, verdicts, strict=True)
            ]
        lines += [[0.0] * 5] * (total - len(lines))
        return np.array(lines, np.float32).reshape(1, 1, -1, 5)

    def _verdicts(self, boxes: Array, truth: Array, difficult: Mask) -> list[tuple[int, int]]:
        """Return (true, false) of an image's boxes of a class, by falling score."""
        verdicts, visited = [], set[int]()
        for box in boxes:
            shared = bx.overlaps(box, truth) if len(truth) else np.zeros(1, np.float32)
            best = int(np.argmax(shared))
            if shared[best] < np.float32(self.p.overlap_threshold):
                verdicts.append((0, 1))
            elif difficult[best] and not self.p.evaluate_difficult_gt:
                verdicts.append((0, 0))
            else:
                verdicts.append((0, 1) if best in visited else (1, 0))
                visited.add(best)
        return verdicts
