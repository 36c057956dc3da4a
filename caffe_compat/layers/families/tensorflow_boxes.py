"""PriorBox in TensorFlow's order."""

from __future__ import annotations

import numpy as np

from ...errors import UnsupportedError
from ..registry import layer
from .prior_box import Double, PriorBox


@layer(
    "PriorBox",
    fork="synopsys-caffe",
    fields=("tf", "yx_order"),
    param="prior_box_param",
    bottoms=(1, 2),
)
class TensorFlowPriorBox(PriorBox):
    """SSD's boxes; with tf that of max_size is the last of its min_size, with yx_order y is first.

    With tf the square of min_size 60 is smaller by a twentieth of the image on each side.

    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe,
        src/caffe/layers/prior_box_layer.cpp
    Refused: fields of two forks.
    """

    def _place(self, offsets: list[tuple[float, float]], *, early: bool) -> None:
        if early or len(offsets) > 1:
            raise UnsupportedError("has tf or yx_order, synopsys-caffe's, and another fork's field")
        super()._place(offsets, early=early)
        if self.p.yx_order:
            self._order = (1, 0, 3, 2)
        if self.p.tf and self.p.max_size:
            groups = self._boxes.reshape(len(self.p.min_size), -1, 2)
            groups = np.concatenate([groups[:, :1], groups[:, 2:], groups[:, 1:2]], axis=1)
            self._boxes = groups.reshape(-1, 2)

    def _shifts(self) -> Double:
        shifts = super()._shifts().reshape(len(self.p.min_size), -1, 4)
        if self.p.tf:
            small = [int(size) == 60 for size in self.p.min_size]
            shifts[small, 0] = [0.05, 0.05, -0.05, -0.05]
        return shifts.reshape(-1, 4)
