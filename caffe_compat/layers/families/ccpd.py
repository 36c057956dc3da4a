"""The characters of a licence plate, of CCPD's nets, and how many plates are right."""

from __future__ import annotations

import numpy as np

from ...errors import ShapeError
from ...types import Array, Shape
from ..builder import FLOAT, Builder, int64
from ..layer import Layer
from ..registry import layer


@layer(param="lp_det_param", bottoms=7)
class DetectionCcpdOutput(Layer):
    """The class of each of 7 characters, (1, 1, images, 7): the first largest score above 0, or 0.

    From: yuqj1991/caffe_train, src/caffe/layers/detection_ccpd_output_layer.cpp
    """

    def shapes(self, *x: Shape) -> list[Shape | None]:
        for field in ("num_chinese", "num_english", "num_letter"):
            if not getattr(self.p, field):
                raise ShapeError(f"must specify {field}")
        letters = [self.p.num_letter] * 5
        for shape, classes in zip(
            x, (self.p.num_chinese, self.p.num_english, *letters), strict=True
        ):
            if shape[:1] != x[0][:1] or np.prod(shape[1:]) != classes:
                raise ShapeError(f"needs scores of {classes} classes an image, and has {shape}")
        return [(1, 1, x[0][0], 7)]

    def forward(self, *x: Array) -> Array:
        scores = (bottom.reshape(len(bottom), -1) for bottom in x)
        labels = [np.argmax(np.fmax(score, 0), axis=1) for score in scores]
        return np.stack(labels, axis=1).astype(np.float32)[None, None]

    def lower(self, g: Builder, *x: str) -> str:
        labels = [g.ArgMax(g.Relu(g.rows(bottom)), axis=1) for bottom in x]
        return g.Unsqueeze(g.Cast(g.Concat(*labels, axis=1), to=FLOAT), int64(0, 1))


@layer(param="lp_evaluate_param", bottoms=2)
class LpEvaluate(Layer):
    """1 for each image from the first on whose 7 characters are all right, (1, 1, images, 1).

    From: yuqj1991/caffe_train, src/caffe/layers/ccpdlp_evaluate_layer.cpp, which does not reset it
    """

    evaluates = True

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        # The rows of DetectionCcpdOutput, of which the fork reads the first axis alone.
        if np.prod(x) < 7 * x[0] or np.prod(y) < 7 * x[0]:
            raise ShapeError(f"needs 7 characters an image, and has {x} and {y}")
        return [(1, 1, x[0], 1)]

    def forward(self, x: Array, y: Array) -> Array:
        rows = (each.ravel()[: 7 * len(x)].reshape(-1, 7) for each in (x, y))
        right = np.all(np.equal(*rows), axis=1)
        return np.logical_or.accumulate(right).astype(np.float32).reshape(1, 1, -1, 1)
