"""How near a net of face attributes is to the ground truth."""

from __future__ import annotations

import numpy as np

from ...caffe_pb2 import FaceEvaluateParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..layer import Layer
from ..registry import layer


@layer(param="face_evaluate_param", bottoms=2)
class FaceAttriEvaluate(Layer):
    """Errors of 5 landmarks, gender and glasses right, cosines of 3 angles' errors, an image.

    Rows: 5 x, 5 y, 3 angles in degrees, and 2 scores each of gender and glasses; beside the same
    places, gender, glasses, and the image's width and height, of which the diagonal is the unit of
    errors. Gender and glasses stay right from the first image on that is, as in the fork.

    From: yuqj1991/caffe_train, src/caffe/layers/faceEvaluateLayer.cpp
    Refused: a facetype other than FACEATTRIBUTE.
    """

    evaluates = True

    def check_forward(self) -> None:
        if self.p.facetype != FaceEvaluateParameter.FACEATTRIBUTE:
            raise UnsupportedError("supports facetype FACEATTRIBUTE alone")

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        if np.prod(x[1:]) != 17 or np.prod(y) < 17 * x[0]:
            raise ShapeError(f"needs rows of 17 and of 17, and has {x} and {y}")
        return [(1, 1, x[0], 10)]

    def forward(self, x: Array, y: Array) -> Array:
        self.check_forward()
        own, wanted = x.reshape(-1, 17), y.ravel()[: 17 * len(x)].reshape(-1, 17)
        size = wanted[:, 15:17, None].astype(np.float64)
        d = (own[:, :10] - wanted[:, :10]).reshape(-1, 2, 5)
        errors = np.hypot(*(size * d).swapaxes(0, 1)) / np.hypot(size[:, 0], size[:, 1])
        # The first score above 0 and above the ones before it, or else the first.
        best = np.maximum(own[:, 13:], 0).reshape(-1, 2, 2).argmax(axis=2)
        right = np.logical_or.accumulate(best == wanted[:, 13:15].astype(np.int64), axis=0)
        cosines = np.cos((own[:, 10:13] - wanted[:, 10:13]) / 180 * np.pi)
        return np.hstack([errors, right, cosines]).astype(np.float32)[None, None]
