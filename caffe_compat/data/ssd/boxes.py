"""Boxes of an image and what a cut makes of them, in float32 (bbox_util.cpp, im_transforms.cpp).

Boxes are normalised, xmin, ymin, xmax, ymax, 0 to 1 from edge to edge of the image.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...caffe_pb2 import AnnotatedDatum, EmitConstraint, NormalizedBBox, ResizeParameter
from ...errors import ShapeError
from ...types import Array, Size

UNIT = np.array([0, 0, 1, 1], np.float32)
"""The box of the whole image."""


class Boxes(NamedTuple):
    """An image's boxes, one a row of each array.

    Attributes:
        corners: (n, 4) float32.
        sizes: the areas as the database or an earlier cut states them, NaN where nobody does.
            The SSD branch believes them, even where the corners have changed since.
        labels: of the group.
        instances: the number in the group.
        difficult: whether they are marked so.
    """

    corners: Array
    sizes: Array
    labels: NDArray[np.int64]
    instances: NDArray[np.int64]
    difficult: NDArray[np.bool_]

    def only(self, keep: NDArray[np.bool_]) -> Boxes:
        """Return the boxes for which `keep` is true."""
        return Boxes(
            self.corners[keep],
            self.sizes[keep],
            self.labels[keep],
            self.instances[keep],
            self.difficult[keep],
        )


def read_boxes(datum: AnnotatedDatum) -> Boxes:
    """Return a record's boxes, group by group."""
    pairs = [(group, a) for group in datum.annotation_group for a in group.annotation]
    boxes: list[NormalizedBBox] = [a.bbox for _, a in pairs]
    corners = [(b.xmin, b.ymin, b.xmax, b.ymax) for b in boxes]
    sizes = [b.size if b.HasField("size") else np.nan for b in boxes]
    return Boxes(
        np.array(corners, np.float32).reshape(-1, 4),
        np.array(sizes, np.float32),
        np.array([group.group_label for group, _ in pairs], np.int64),
        np.array([a.instance_id for _, a in pairs], np.int64),
        np.array([b.difficult for b in boxes], bool),
    )


def areas(corners: Array, sizes: Array | None = None) -> Array:
    """Return the areas of boxes (..., 4): 0 where turned inside out, else `sizes`, else theirs."""
    extent = corners[..., 2:] - corners[..., :2]
    area = extent[..., 0] * extent[..., 1]
    if sizes is not None:
        area = np.where(np.isnan(sizes), area, sizes)
    inside_out = (extent < 0).any(-1)
    return np.where(inside_out, np.float32(0), area).astype(np.float32)


def _common(cuts: Array, boxes: Boxes) -> Array:
    """Return the parts (cuts, boxes, 4) of each box in each cut; (0, 0, 0, 0) where none."""
    cuts, corners = cuts[:, np.newaxis], boxes.corners[np.newaxis]
    starts = np.maximum(cuts[..., :2], corners[..., :2])
    ends = np.minimum(cuts[..., 2:], corners[..., 2:])
    apart = (corners[..., :2] > cuts[..., 2:]) | (corners[..., 2:] < cuts[..., :2])
    parts: Array = np.concatenate([starts, ends], axis=-1)
    parts[apart.any(-1)] = 0
    return parts


def jaccard(cuts: Array, boxes: Boxes) -> Array:
    """Return how much each cut and each box overlap: intersection over union.

    Args:
        cuts: (m, 4).
        boxes: n of them.

    Returns:
        (m, n).
    """
    parts = _common(cuts, boxes)
    extent = parts[..., 2:] - parts[..., :2]
    common = extent[..., 0] * extent[..., 1]
    union = areas(cuts)[:, np.newaxis] + areas(boxes.corners, boxes.sizes) - common
    there = (extent > 0).all(-1)
    shares: Array = np.divide(common, union, out=np.zeros_like(common), where=there)
    return shares


def coverage(cuts: Array, boxes: Boxes, *, of: Literal["cut", "boxes"]) -> Array:
    """Return the share of each cut that lies in each box, or of each box in each cut.

    Args:
        cuts: (m, 4).
        boxes: n of them.
        of: whose share.

    Returns:
        (m, n).
    """
    common = areas(_common(cuts, boxes))
    whole = areas(cuts)[:, np.newaxis] if of == "cut" else areas(boxes.corners, boxes.sizes)
    whole = np.broadcast_to(whole, common.shape)
    shares: Array = np.divide(common, whole, out=np.zeros_like(common), where=common > 0)
    return shares


def _twice(pair: Array) -> Array:
    """Return x, y, x, y."""
    return np.concatenate([pair, pair])


def clip(box: Array) -> Array:
    """Return the part of a box within the image."""
    clipped: Array = np.clip(box, np.float32(0), np.float32(1))
    return clipped


def emitted(constraint: EmitConstraint, cut: Array, boxes: Boxes) -> NDArray[np.bool_]:
    """Return which boxes an emit_constraint lets through a cut."""
    if constraint.emit_type == EmitConstraint.CENTER:
        center = (boxes.corners[:, :2] + boxes.corners[:, 2:]) / np.float32(2)
        return np.asarray(((center >= cut[:2]) & (center <= cut[2:])).all(1))
    share = coverage(cut[np.newaxis], boxes, of="boxes")[0]
    return np.asarray(share > np.float32(constraint.emit_overlap))


def project(cut: Array, boxes: Boxes) -> Boxes:
    """Return the boxes as the cut sees them, clipped; those outside are dropped."""
    starts, ends = boxes.corners[:, :2], boxes.corners[:, 2:]
    meets = np.all((starts < cut[2:]) & (ends > cut[:2]), axis=1)
    boxes = boxes.only(meets)
    seen: Array = (boxes.corners - _twice(cut[:2])) / _twice(cut[2:] - cut[:2])
    corners = clip(seen)
    sizes = areas(corners)
    return boxes._replace(corners=corners, sizes=sizes).only(sizes > 0)


def mirror(boxes: Boxes) -> Boxes:
    """Return the boxes of the image turned left to right."""
    corners = boxes.corners.copy()
    corners[:, 0], corners[:, 2] = 1 - boxes.corners[:, 2], 1 - boxes.corners[:, 0]
    return boxes._replace(corners=corners)


def resize(p: ResizeParameter, image: Size, boxes: Boxes) -> Boxes:
    """Return the boxes of an image that resize_param resizes, padding included.

    Args:
        p: the parameter.
        image: (height, width) before.
        boxes: its boxes.

    Raises:
        ShapeError: the image's size is not known: the Datum does not give it.
    """
    if 0 in image:
        raise ShapeError("the Datum gives no height and width, which its boxes need")
    new, padding = _new_size(p, image)
    old: Array = np.array([image[1], image[0]], np.float32)
    corners: Array = boxes.corners * _twice(old)
    # Where the image is padded it takes less than the new size, and its place is shifted.
    inner = new - np.float32(2) * padding
    corners = corners * _twice(inner) / _twice(old)
    corners = np.concatenate(
        [
            padding + np.maximum(np.float32(0), corners[:, :2]),
            padding + np.minimum(new, corners[:, 2:]),
        ],
        axis=1,
    )
    return boxes._replace(corners=corners / _twice(new))


def _new_size(p: ResizeParameter, image: Size) -> tuple[Array, Array]:
    """Return (width, height) as resize_param makes them, and the padding on either side."""
    width, height = np.float32(p.width), np.float32(p.height)
    aspect = np.float32(image[1]) / np.float32(image[0])
    wide = aspect > width / height
    padding = np.zeros(2, np.float32)
    if p.resize_mode == ResizeParameter.FIT_LARGE_SIZE_AND_PAD:
        if wide:
            padding[1] = (height - width / aspect) / np.float32(2)
        else:
            padding[0] = (width - aspect * height) / np.float32(2)
    elif p.resize_mode == ResizeParameter.FIT_SMALL_SIZE:
        if aspect < width / height:
            height = width / aspect
        else:
            width = aspect * height
    return np.array([width, height], np.float32), padding


def extrapolate(p: ResizeParameter, image: Size, cut: Array, boxes: Boxes) -> Boxes:
    """Return the boxes in units of height_scale and width_scale, for FIT_SMALL_SIZE.

    Raises:
        ShapeError: the cut is smaller than they are.
    """
    if not (p.height_scale and p.width_scale and p.resize_mode == ResizeParameter.FIT_SMALL_SIZE):
        return boxes
    size, _ = _new_size(p, image)
    scale = np.array([p.width_scale, p.height_scale], np.float32)
    cropped = size * (cut[2:] - cut[:2])
    if (cropped < scale).any():
        raise ShapeError(
            f"the image is cut to {cropped[1]:g}x{cropped[0]:g}, less than height_scale "
            f"{p.height_scale} and width_scale {p.width_scale}"
        )
    return boxes._replace(corners=boxes.corners * _twice(cropped) / _twice(scale))
