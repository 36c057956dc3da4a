"""The loss of boxes that each cell of a map predicts around its centre."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ...caffe_pb2 import CenterObjectLossParameter, LayerParameter, LossParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..layer import Layer
from ..registry import layer
from .activation import sigmoid
from .softmax import softmax

_TINY = np.float32(np.finfo(np.float32).tiny)
_NEGATIVE, _IGNORED, _POSITIVE = 0, -1, 1


class _Batch(NamedTuple):
    """What the boxes of a batch ask of the cells.

    Attributes:
        goal: the distances, in bias_scale, (N, 4 or 14, height, width).
        boxes: the cells whose distances count, (N, height, width).
        landmarks: those whose landmarks count, likewise.
        label: 0 for none, 1 for an object and -1 for a cell that does not count, likewise.
        faces: the number of boxes with landmarks, matched or not.
    """

    goal: Array
    boxes: Array
    landmarks: Array
    label: Array
    faces: int


@layer(param="center_object_loss_param", bottoms=2, loss=True)
class CenterGridLoss(Layer):
    """Smooth L1 losses of distances and landmarks, a tenth of the latter, and a focal loss.

    The bottoms are a map of 4 distances, 10 of landmarks with has_lm, and scores; and rows of 8,
    with has_lm of 19, for each image: (N, 1, boxes, 8). A box counts in its cells if its larger
    side has low_bbox_scale to up_bbox_scale pixels. Without a box in the batch there is no loss.

    From: yuqj1991/caffe_train, src/caffe/layers/CenterGridLossLayer.cpp, util/center_bbox_util.cpp
        and util/center_util.cpp, where the gradient of landmarks has the loss weight twice
    """

    evaluates = True
    approximate = True
    blocked = (1,)

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        self._soft = self.p.class_type == CenterObjectLossParameter.SOFTMAX
        if len(self.p.bias_scale) != 1 or self.p.bias_num != 1 or not self.p.share_location:
            raise ShapeError("needs one bias_scale, bias_num 1 and share_location")
        self._reach = int(self.p.bias_scale[0])  # the fork cuts it
        self._places = 14 if self.p.has_lm else 4
        self._row = 19 if self.p.has_lm else 8

    def check_forward(self) -> None:
        if self.p.num_class != 1 + self._soft or (self.p.has_lm and not self._soft):
            raise UnsupportedError("takes 2 classes with SOFTMAX, or 1 with SIGMOID and no has_lm")

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        channels = self._places + self.p.num_class
        if len(x) != 4 or x[1] != channels or self._reach < 1:
            raise ShapeError(f"needs a map of {channels} channels and a bias_scale: {x}")
        return [()]

    def forward(self, x: Array, y: Array) -> Array:
        return np.asarray(self._results(x, y, np.float32(1))[0], np.float32)

    def backward(self, dy: Array, x: Array, y: Array) -> tuple[Array, None]:
        return self._results(x, y, np.float32(dy))[1], None

    def _results(self, x: Array, y: Array, weight: np.float32) -> tuple[np.float32, Array]:
        """Return the loss, and the gradient of it times `weight`."""
        self.check_forward()
        if y.size % (len(x) * self._row):
            raise ShapeError(f"needs rows of {self._row} for {len(x)} images, and has {y.shape}")
        rows = y.reshape(len(x), -1, self._row)
        if np.all(rows[..., 0].astype(np.int64) == -1):
            return np.float32(0), np.zeros_like(x)
        batch = self._match(x, rows)
        d = x[:, : self._places] - batch.goal
        d[:, :4] *= batch.boxes[:, None]
        d[:, 4:] *= batch.landmarks[:, None]
        size = np.abs(d)
        errors = np.where(size < 1, np.float32(0.5) * d * d, size - np.float32(0.5))
        divisor = self._divisor(len(x), int(batch.boxes.sum()))
        score, slope = self._focal(x[:, self._places :], batch.label, rows)
        loss = (errors[:, :4].sum() + score) / divisor
        flow = np.concatenate([np.clip(d, -1, 1), slope], axis=1) * (weight / divisor)
        if batch.faces:
            other = self._divisor(len(x), int(batch.landmarks.sum()))
            loss += np.float32(0.1) * errors[:, 4:].sum() / other
            flow[:, 4:14] *= np.float32(0.1) * weight * divisor / other
        return loss, flow.astype(np.float32)

    def _divisor(self, images: int, valid: int) -> np.float32:
        own = self.proto.loss_param
        how = own.normalization
        if not own.HasField("normalization") and own.HasField("normalize"):
            how = LossParameter.VALID if own.normalize else LossParameter.BATCH_SIZE
        number = (valid or images) if how == LossParameter.VALID else images
        return np.float32(1 if how == LossParameter.NONE else number)

    def _match(self, x: Array, rows: Array) -> _Batch:
        height, width = x.shape[2:]
        goal = np.zeros((len(x), self._places, height, width), np.float32)
        boxes, landmarks = np.zeros((2, len(x), height, width), bool)
        label = np.full(boxes.shape, _NEGATIVE)
        size = np.array([width, height], np.float32)
        ratio = np.float32(self.p.net_height / height)
        faces = 0
        for image, row in _boxes(rows):
            corner = (row[3:7].reshape(2, 2) * size).ravel()
            left, top, right, bottom = (int(edge) for edge in corner)
            face = self.p.has_lm and row[8] > 0 and bool(np.all(row[9:19] > 0))
            faces += bool(face)
            if np.any(corner[:2] < 0) or right > width or bottom > height:
                raise ShapeError(f"a box of the ground truth leaves the image: {row[3:7].tolist()}")
            if self._soft and np.any(corner[2:] <= corner[:2]):
                continue
            area = (image, slice(top, bottom), slice(left, right))
            label[area] = _IGNORED
            side = ((corner[2:] - corner[:2]) * ratio).astype(np.int64).max()
            if not self.p.low_bbox_scale <= side < self.p.up_bbox_scale:
                continue
            new = ~boxes[area]
            label[area][new] = _POSITIVE
            boxes[area] = True
            points = np.concatenate([corner, np.tile(size, 5) * row[9:19] if face else row[:0]])
            distances = self._distances(points, (top, bottom), (left, right), ratio)
            goal[image, : len(points), top:bottom, left:right][:, new] = distances[:, new]
            landmarks[area][new] = face
        return _Batch(goal, boxes, landmarks, label, faces)

    def _distances(
        self, points: Array, lines: tuple[int, int], columns: tuple[int, int], ratio: np.float32
    ) -> Array:
        """Return how far x, y, x, ... are from the cells of an area, (points, lines, columns)."""
        row, column = np.mgrid[slice(*lines), slice(*columns)] + 0.5
        centres = np.stack([column, row] * (len(points) // 2))
        scale = ratio if self._soft else 2 * ratio
        return np.asarray((centres - points[:, None, None]) * scale / self._reach, np.float32)

    def _focal(self, scores: Array, label: Array, rows: Array) -> tuple[np.float32, Array]:
        """Return the sum of focal losses, and its gradient."""
        positive, counts = label == _POSITIVE, label != _IGNORED
        if self._soft:
            alpha, gamma, shares = 0.25, 2, softmax(scores, 1)
            own = np.where(positive, shares[:, 1], shares[:, 0])
        else:  # of images with a box
            counts &= np.any(rows[..., 0].astype(np.int64) != -1, axis=1)[:, None, None]
            alpha, gamma, shares = 2, 4, sigmoid(scores)
            own = np.where(positive, shares[:, 0], 1 - shares[:, 0])
        rest, logs = 1 - own, np.log(np.maximum(own, _TINY))
        factor = np.float32(alpha) * rest**gamma * counts
        slope = factor * (gamma * own * logs - rest)
        signed = np.where(positive, slope, -slope)[:, None]
        flow = np.concatenate([-signed, signed], axis=1) if self._soft else signed
        return np.float32(-(factor * logs).sum()), flow


def _boxes(rows: Array) -> Iterator[tuple[int, Array]]:
    """Yield the image and the row of each box.

    Raises:
        ShapeError: a row is of another image than it stands with.
    """
    for image, own in enumerate(rows):
        for row in own:
            if int(row[0]) not in (-1, image):
                raise ShapeError(f"a box of image {int(row[0])} stands with image {image}")
            if int(row[0]) == image:
                yield image, row
