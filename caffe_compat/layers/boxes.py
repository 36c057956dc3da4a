"""SSD's boxes: decoded from predictions, compared, suppressed (bbox_util.cpp).

A box is xmin, ymin, xmax, ymax along the last axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..caffe_pb2 import PriorBoxParameter
from ..errors import ShapeError
from ..types import Array
from .builder import BOOL, FLOAT, Builder, int64

Index = NDArray[np.int64]


def check_priors(priors: Array, code: int) -> None:
    """Raise ShapeError where a prior has no extent to scale a prediction by."""
    extent = priors[:, 2:] - priors[:, :2]
    if code != PriorBoxParameter.CORNER and not np.all(extent > 0):
        bad = int(np.argmin(np.all(extent > 0, axis=1)))
        raise ShapeError(f"prior {bad} has no width or height: {priors[bad].tolist()}")


def decode(predictions: Array, priors: Array, variances: Array | None, code: int) -> Array:
    """Return the boxes of predictions.

    Args:
        predictions: (..., 4), relative to the priors.
        priors: boxes, 4 numbers along the last axis.
        variances: factors of the predictions; None where these need none.
        code: CORNER, CENTER_SIZE or CORNER_SIZE.
    """
    scaled = predictions if variances is None else variances * predictions
    if code == PriorBoxParameter.CORNER:
        return priors + scaled
    least, most = priors[..., :2], priors[..., 2:]
    extent = most - least
    if code == PriorBoxParameter.CORNER_SIZE:
        both: Array = np.concatenate([extent, extent], axis=-1)
        return priors + scaled * both
    centre = scaled[..., :2] * extent + (least + most) / np.float32(2)
    # C++'s exp for floats rounds once.
    half = _exp(scaled[..., 2:]) * extent / np.float32(2)
    return np.concatenate([centre - half, centre + half], axis=-1)


def _exp(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.exp(x.astype(np.float64)).astype(np.float32)


def lower_decode(
    g: Builder, predictions: str, priors: str, variances: str | None, code: int
) -> str:
    """Write `decode` in ONNX."""
    scaled = predictions if variances is None else g.Mul(predictions, variances)
    if code == PriorBoxParameter.CORNER:
        return g.Add(scaled, priors)
    low, high = _lower_corners(g, priors)
    extent = g.Sub(high, low)
    if code == PriorBoxParameter.CORNER_SIZE:
        return g.Add(g.Mul(scaled, g.Concat(extent, extent, axis=-1)), priors)
    half = np.float32(0.5)
    middle = g.Mul(g.Add(low, high), half)
    place, size = g.Split(scaled, axis=-1, num_outputs=2, outputs=2)
    centre = g.Add(g.Mul(place, extent), middle)
    reach = g.Mul(g.Mul(g.Exp(size), extent), half)
    return g.Concat(g.Sub(centre, reach), g.Add(centre, reach), axis=-1)


def _lower_corners(g: Builder, boxes: str) -> tuple[str, ...]:
    """Write the min and the max corners."""
    return g.Split(boxes, axis=-1, num_outputs=2, outputs=2)


def overlaps(box: Array, boxes: Array) -> Array:
    """Return intersection over union of a box with each of several; 0 if one is inside out."""
    extent = np.maximum(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0)
    shared = extent[:, 0] * extent[:, 1]
    union = _area(box) + _area(boxes) - shared
    ratio: Array = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return ratio


def _area(boxes: Array) -> Array:
    extent = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    area: Array = extent[..., 0] * extent[..., 1]
    return area


def suppress(boxes: Array, scores: Array, least: float, p: Any) -> Index:
    """Return the indices of the boxes that overlap no better one by more than the threshold.

    The best one is first.

    Args:
        boxes: (N, 4).
        scores: (N,); boxes of equal score stand in their order.
        least: the score that a box must exceed.
        p: NonMaximumSuppressionParameter.
    """
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > np.float32(least)]
    if p.HasField("top_k") and p.top_k > -1:
        order = order[: p.top_k]
    threshold, eta = np.float32(p.nms_threshold), np.float32(p.eta)
    indices: list[int] = []
    for index in order:
        if np.all(overlaps(boxes[index], boxes[indices]) <= threshold):
            indices.append(index)
            if eta < 1 and threshold > 0.5:
                threshold *= eta
    return np.array(indices, np.int64)


def suppress_sorted(boxes: Array, limit: float, most: int | None = None, pixel: int = 1) -> Index:
    """Return the indices of the boxes, best first, that no better one overlaps beyond `limit`.

    Args:
        boxes: (N, 4), the best first.
        limit: the intersection over union above which the lesser goes.
        most: stop at so many.
        pixel: added to each side: 1 where the last pixel counts with its whole width, else 0.
    """
    alive = np.ones(len(boxes), bool)
    sizes = boxes[:, 2:] - boxes[:, :2] + pixel
    area = sizes[:, 0] * sizes[:, 1]
    best: list[int] = []
    for i, box in enumerate(boxes):
        if not alive[i]:
            continue
        best.append(i)
        if len(best) == most:
            break
        first, last = np.maximum(boxes[:, :2], box[:2]), np.minimum(boxes[:, 2:], box[2:])
        common = np.prod(np.maximum(last - first + pixel, 0), axis=1)
        common = common * np.all(first <= last, axis=1)
        alive &= ~(common / (area[i] + area - common) > np.float32(limit))
    return np.array(best, np.int64)


def lower_flat(g: Builder, boxes: str, pixel: int = 0) -> str:
    """Write boxes, `pixel` longer; those inside out are flat: in Caffe they overlap nothing."""
    least, most = _lower_corners(g, boxes)
    if not pixel:
        return g.Concat(least, g.Max(least, most), axis=-1)
    ends = g.Where(g.Less(most, least), least, g.Add(most, np.float32(pixel)))
    return g.Concat(least, ends, axis=-1)


def lower_suppress_adaptively(g: Builder, boxes: str, scores: str, least: float, p: Any) -> str:
    """Write `suppress` with eta as a Scan: NonMaxSuppression has one threshold for all.

    Args:
        g: the builder.
        boxes: (images, labels, candidates, 4), by falling score and none inside out.
        scores: (images, labels, candidates).
        least: the score that a box must exceed.
        p: NonMaximumSuppressionParameter.

    Returns:
        The mask of the remaining candidates.
    """
    last, pair = int64(2), int64(3)
    areas = _lower_area(g, boxes)
    threshold, half, zero, one, eta = (np.float32(n) for n in (p.nms_threshold, 0.5, 0, 1, p.eta))
    bound = np.float32(least)
    start = g.ConstantOfShape(g.Shape(scores))
    places = g.Cast(lower_range(g, g.Shape(scores, start=2)), to=FLOAT)

    def step(limit: str, mask: str, box: str, score: str, place: str) -> tuple[str, str]:
        low, high = _lower_corners(g, boxes)
        own_low, own_high = _lower_corners(g, g.Unsqueeze(box, last))
        extent = g.Relu(g.Sub(g.Min(own_high, high), g.Max(own_low, low)))
        shared = g.ReduceProd(extent, pair, keepdims=0)
        own = g.Unsqueeze(_lower_area(g, box), last)
        overlap = g.Div(shared, g.Sub(g.Add(own, areas), shared))
        overlap = g.Where(g.Greater(shared, zero), overlap, zero)
        near = g.ReduceMax(g.Mul(mask, overlap), last)
        stays = g.And(g.LessOrEqual(near, limit), g.Greater(g.Unsqueeze(score, last), bound))
        here = g.And(stays, g.Equal(places, place))
        lower = g.And(stays, g.Greater(limit, half))
        return (g.Where(lower, g.Mul(limit, eta), limit), g.Where(here, one, mask))

    limits = g.Add(g.ReduceMax(start, last), threshold)
    body = g.graph(step, 5, ranks=(3, 3))
    _, mask = g.Scan(
        limits,
        start,
        boxes,
        scores,
        places,
        body=body,
        num_scan_inputs=3,
        scan_input_axes=[2, 2, 0],
        outputs=2,
    )
    return g.Cast(mask, to=BOOL)


def _lower_area(g: Builder, boxes: str) -> str:
    low, high = _lower_corners(g, boxes)
    return g.ReduceProd(g.Sub(high, low), int64(-1), keepdims=0)


def lower_range(g: Builder, count: str) -> str:
    """Write 0 to count - 1 as int64, the only type in which onnxruntime counts up to a size."""
    return g.Range(np.int64(0), g.Squeeze(count), np.int64(1))
