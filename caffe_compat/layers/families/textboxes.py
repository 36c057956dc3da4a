"""TextBoxes' own PriorBox and DetectionOutput, with the fields of SSD's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import UnsupportedError
from ...types import Array, Shape
from ..builder import Builder
from ..registry import layer
from .detection_output import DetectionOutput
from .prior_box import PriorBox


@layer("PriorBox", fork="textboxes", param="prior_box_param", bottoms=2)
class TextBoxesPriorBox(PriorBox):
    """Every box twice: at its cell's centre, and half a cell below (Liao et al. 2017).

    From: MhLiao/TextBoxes, src/caffe/layers/prior_box_layer.cpp

    Sizes are not cut to whole pixels, and clip is the default. It is chosen by name only.

    Refused: later layers' fields: several sizes, img_size, step, offset.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        read = {"min_size", "max_size", "aspect_ratio", "flip", "clip", "variance"}
        later = [field.name for field, _ in self.p.ListFields() if field.name not in read]
        later += [
            f"several {name}" for name in ("min_size", "max_size") if len(getattr(self.p, name)) > 1
        ]
        if later:
            raise UnsupportedError(f"gives {', '.join(later)}, which TextBoxes' does not have")
        self._place([(0.5, 0.5), (1.0, 0.5)], early=True)

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        return False


@layer("DetectionOutput", fork="textboxes", param="detection_output_param", bottoms=(3, 4))
class TextBoxesDetectionOutput(DetectionOutput):
    """SSD's, with the boxes in its rows cut at the image's edge after the suppression.

    From: MhLiao/TextBoxes, src/caffe/layers/detection_output_layer.cpp

    If no image has a detection, there is one row of -1. It is chosen by name only.
    """

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        return False

    def _show(self, box: Array) -> Array:
        return np.clip(box, 0, 1)

    def _lower_show(self, g: Builder, boxes: str) -> str:
        return g.Clip(boxes, np.float32(0), np.float32(1))

    def _nothing(self, images: int) -> Array:
        return np.full((1, 1, 1, 7), -1, np.float32)

    def _lower_nothing(self, g: Builder, conf: str) -> str:
        return g.constant(self._nothing(1))
