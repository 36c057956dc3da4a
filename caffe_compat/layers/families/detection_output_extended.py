"""DetectionOutput with the cell and the anchor of each detection."""

from __future__ import annotations

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..registry import layer
from .detection_output import DetectionOutput, Size


@layer(param="detection_output_param", bottoms=3)
class DetectionOutputExtended(DetectionOutput):
    """Detections of class 1 of 2: DetectionOutput's rows, and the anchor, column and row of each.

    The locations are (N, H, W, 4 anchors); background_label_id and clip are not read.

    From: openvinotoolkit/training_toolbox_caffe,
        caffe/src/caffe/layers/detection_output_extended_layer.cpp
    Refused: share_location: false, with which the fork counts twice the anchors.
    """

    _columns = 10

    def __init__(self, proto: LayerParameter) -> None:
        own = LayerParameter()
        own.CopyFrom(proto)
        own.detection_output_param.background_label_id = 0
        own.detection_output_param.clip = False
        super().__init__(own)
        if self.p.num_classes != 2 or not self.p.share_location:
            raise ShapeError("needs num_classes 2 and share_location: true")

    def shapes(self, *x: Shape) -> list[Shape | None]:
        if len(x[0]) != 4 or x[0][3] % 4:
            raise ShapeError(f"needs locations (N, H, W, 4 anchors), and has {x[0]}")
        return super().shapes(*x)

    @staticmethod
    def _cells(loc: Shape) -> Array:
        """Return anchor, column and row of each prior, (priors, 3)."""
        rows, columns, anchors = np.indices((*loc[1:3], loc[3] // 4), np.float32).reshape(3, -1)
        return np.stack([anchors, columns, rows], axis=1)

    def _decoded(self, loc: Array, prior: Array) -> Array:
        boxes = super()._decoded(loc, prior)
        cells = np.broadcast_to(self._cells(loc.shape)[:, None], (*boxes.shape[:3], 3))
        return np.concatenate([boxes, cells], axis=3)

    def _lower_decoded(self, g: Builder, loc: str, prior: str) -> str:
        boxes, cells = super()._lower_decoded(g, loc, prior), self._cells((1, *g.shape(loc)[1:]))
        images = g.Concat(g.Shape(boxes, end=1), int64(*cells.shape), axis=0)
        return g.Concat(boxes, g.Expand(cells, images), axis=2)

    def _lower_suppressed(
        self, g: Builder, boxes: str, scores: str, images: int | None, count: Size
    ) -> str:
        corners = g.Slice(boxes, int64(0), int64(4), int64(3))
        return super()._lower_suppressed(g, corners, scores, images, count)
