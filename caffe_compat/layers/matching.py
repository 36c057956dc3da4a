"""Ground truth of boxes, its match with default boxes, and hard negatives (bbox_util.cpp)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..caffe_pb2 import MultiBoxLossParameter, PriorBoxParameter
from ..errors import ShapeError
from ..types import Array
from . import boxes as bx

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Truth(NamedTuple):
    """The ground truth's boxes in their order.

    Attributes:
        image: the index of each box's image.
        label: its class.
        box: its corners, (N, 4).
        difficult: whether it is hard to see.
    """

    image: Index
    label: Index
    box: Array
    difficult: Mask

    def of(self, chosen: Mask) -> Truth:
        """Return some of the boxes."""
        return Truth(
            self.image[chosen], self.label[chosen], self.box[chosen], self.difficult[chosen]
        )


def read_truth(rows: Array, background: int) -> Truth:
    """Return the rows image, label, instance, xmin, ymin, xmax, ymax, difficult, but those of -1.

    Raises:
        ShapeError: a box is of the background.
    """
    rows = rows.reshape(-1, 8)
    rows = rows[rows[:, 0].astype(np.int64) != -1]
    image, label = rows[:, :2].astype(np.int64).T
    if background in label:
        raise ShapeError(f"a box of the ground truth has the background's label {background}")
    return Truth(image, label, rows[:, 3:7], rows[:, 7].astype(np.int64) != 0)


def match(boxes: Array, truth: Array, p: MultiBoxLossParameter) -> tuple[Index, Array]:
    """Return the index of each box's match, and its largest overlap, that of the match if any.

    The index is -1 where there is none, and -2 where the box is left out of the loss.

    Args:
        boxes: (P, 4).
        truth: (G, 4), G at least 1.
        p: the matching's parameters.
    """
    index = np.full(len(boxes), -1)
    if p.ignore_cross_boundary_bbox:
        index[np.any((boxes < 0) | (boxes > 1), axis=1)] = -2
    # A row a box. Overlaps of at most 1e-6 (a double in Caffe) are none.
    shared = np.stack([bx.overlaps(box, boxes) for box in truth], axis=1)
    shared = np.where((shared.astype(np.float64) > 1e-6) & (index == -1)[:, None], shared, 0)
    best = shared.max(axis=1)
    pool = shared.copy()
    for _ in truth:
        row, column = np.unravel_index(np.argmax(pool), pool.shape)
        if pool[row, column] == 0:
            break
        index[row], best[row] = column, pool[row, column]
        pool[row], pool[:, column] = 0, 0
    if p.match_type == MultiBoxLossParameter.PER_PREDICTION:
        near = (index == -1) & (best > 0) & (best >= np.float32(p.overlap_threshold))
        index[near] = shared[near].argmax(axis=1)
    return index, best


def mine(index: Index, best: Array, loss: Array, p: MultiBoxLossParameter) -> tuple[Index, Index]:
    """Return the matched boxes and the negatives that count in an image, each in rising order.

    Equal losses are in the order of the boxes, which C++'s sort leaves open.
    """
    positive = index > -1
    if p.mining_type == MultiBoxLossParameter.HARD_EXAMPLE:
        hardest = np.zeros(len(index), bool)
        hardest[np.argsort(-loss, kind="stable")[: p.sample_size]] = True
        return np.flatnonzero(positive & hardest), np.flatnonzero((index == -1) & hardest)
    candidates = np.flatnonzero((index == -1) & (best < np.float32(p.neg_overlap)))
    count = int(np.float32(positive.sum()) * np.float32(p.neg_pos_ratio))
    order = np.argsort(-loss[candidates], kind="stable")[:count]
    return np.flatnonzero(positive), np.sort(candidates[order])


def encode(boxes: Array, priors: Array, variances: Array | None, code: int) -> Array:
    """Return the predictions that `boxes.decode` makes these boxes of.

    Raises:
        ShapeError: a box has no extent, of which the logarithm is taken.
    """
    least, most = priors[:, :2], priors[:, 2:]
    extent = most - least
    if code == PriorBoxParameter.CENTER_SIZE:
        size = boxes[:, 2:] - boxes[:, :2]
        if not np.all(size > 0):
            bad = boxes[np.argmin(np.all(size > 0, axis=1))]
            raise ShapeError(f"a box of the ground truth has no width or height: {bad.tolist()}")
        half = np.float32(2)
        centre = (boxes[:, :2] + boxes[:, 2:]) / half - (least + most) / half
        values: Array = np.concatenate([centre / extent, np.log(size / extent)], axis=1)
    else:
        values = boxes - priors
        if code == PriorBoxParameter.CORNER_SIZE:
            values = np.asarray(values / np.tile(extent, 2), np.float32)
    return values if variances is None else np.asarray(values / variances, np.float32)
