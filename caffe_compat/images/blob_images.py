"""Images to blobs as cv2.dnn.blobFromImage does it, with its resize, and its NMSBoxes.

Facts: opencv/modules/dnn/src/dnn_utils.cpp and imgproc/src/resize.cpp, 4.14. Pixels of uint8
are bit for bit OpenCV's; those of float32 within the rounding of a sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ShapeError
from ..types import Array

_ONE = 2048  # the weights of a uint8 resize are integers of 11 bits


def blobFromImage(
    image: ArrayLike,
    scalefactor: float = 1.0,
    size: Sequence[int] | None = None,
    mean: float | Sequence[float] | None = None,
    swapRB: bool | None = None,
    crop: bool | None = None,
    ddepth: int | None = None,
) -> NDArray[Any]:
    """Return the blob of one image, (1, C, H, W): (resized - mean) * scalefactor.

    Args:
        image: (H, W, C) or (H, W), of uint8 or float32.
        scalefactor: multiplies after the mean is subtracted.
        size: (width, height) of the blob; None or (0, 0): the image's own.
        mean: for each channel of the blob, in its order (after the swap).
        swapRB: exchange the first channel with the third.
        crop: keep the image's proportions, and cut out the middle.
        ddepth: CV_32F, 5, or CV_8U, 0, which allows neither mean nor scale.

    Raises:
        ShapeError: the array is no image, or of another dtype.
    """
    return blobFromImages([image], scalefactor, size, mean, swapRB, crop, ddepth)


def blobFromImages(
    images: Sequence[ArrayLike],
    scalefactor: float = 1.0,
    size: Sequence[int] | None = None,
    mean: float | Sequence[float] | None = None,
    swapRB: bool | None = None,
    crop: bool | None = None,
    ddepth: int | None = None,
) -> NDArray[Any]:
    """Return the blob of several images, (N, C, H, W); arguments as for blobFromImage."""
    if ddepth not in (None, -1, 0, 5):
        raise ShapeError(f"ddepth is {ddepth}; it is CV_32F (5) or CV_8U (0)")
    arrays = [_image(image) for image in images]
    if not arrays:
        raise ShapeError("images is empty; a blob needs at least one")
    own = (arrays[0].shape[1], arrays[0].shape[0])
    wanted = tuple(int(n) for n in size) if size is not None and any(size) else own
    resized = [_fit(array, wanted, bool(crop)) for array in arrays]
    channels = {array.shape[2] for array in resized}
    if len(channels) > 1:
        raise ShapeError(f"the images have {sorted(channels)} channels; all must have the same")
    x = np.stack(resized)
    if swapRB and x.shape[3] > 2:
        x = x[..., [2, 1, 0, *range(3, x.shape[3])]]
    x = x.transpose(0, 3, 1, 2)
    shift = per_channel(mean, x.shape[1])
    if ddepth == 0:
        if x.dtype != np.uint8 or np.any(shift != 0) or scalefactor != 1:
            raise ShapeError("ddepth CV_8U takes uint8 images, and neither mean nor scalefactor")
        return np.ascontiguousarray(x)
    x = np.ascontiguousarray(x, np.float32)
    if np.any(shift != 0):
        x = x - shift
    return x * np.float32(scalefactor) if scalefactor != 1 else x


def per_channel(mean: float | Sequence[float] | None, channels: int) -> Array:
    """Return a mean as (C, 1, 1); channels without a value get 0, as in a cv::Scalar."""
    values = [] if mean is None else [float(n) for n in np.atleast_1d(np.asarray(mean))]
    return np.array((values + [0.0] * channels)[:channels], np.float32).reshape(-1, 1, 1)


def _image(image: ArrayLike) -> NDArray[Any]:
    x = np.asarray(image)
    if x.ndim == 2:
        x = x[..., np.newaxis]
    if x.ndim != 3 or not 1 <= x.shape[2] <= 4 or 0 in x.shape:
        raise ShapeError(f"an image is height x width x 1 to 4 channels, and this is {x.shape}")
    if x.dtype not in (np.uint8, np.float32):
        raise ShapeError(f"an image is of uint8 or float32, and this is {x.dtype}")
    return x


def _fit(x: NDArray[Any], size: tuple[int, ...], crop: bool) -> NDArray[Any]:
    width, height = size
    rows, columns = x.shape[:2]
    if (columns, rows) == (width, height):
        return x
    if not crop:
        return resize(x, (height, width), (rows / height, columns / width))
    # OpenCV keeps the factor in float32.
    factor = float(
        max(np.float32(width) / np.float32(columns), np.float32(height) / np.float32(rows))
    )
    larger = (int(np.rint(rows * factor)), int(np.rint(columns * factor)))
    x = resize(x, larger, (1 / factor, 1 / factor))
    top, left = int((larger[0] - height) * 0.5), int((larger[1] - width) * 0.5)
    return x[top : top + height, left : left + width]


def resize(
    x: NDArray[Any], size: tuple[int, int], steps: tuple[float, float] | None = None
) -> NDArray[Any]:
    """Return what cv2.resize does with INTER_LINEAR.

    Args:
        x: (H, W, C), uint8 or float32.
        size: (height, width).
        steps: the distance of two new rows, and of two columns, in old ones; by default the
            ratios of the sizes.
    """
    if x.shape[:2] == size:
        return x.copy()
    # OpenCV inverts twice; so the last bits are the same.
    down, right = (
        (1 / (1 / s) for s in steps)
        if steps
        else (1 / (new / old) for new, old in zip(size, x.shape, strict=False))
    )
    if (down, right) == (2, 2):
        return _halve(x, size)
    # Its own code has positions in float32; IPP, which it calls for float32 pixels, does not.
    kind = np.dtype(np.float32 if x.dtype == np.uint8 else np.float64)
    columns, next_column, share = _taps(size[1], right, kind)
    # Beyond the border it drops the columns' weight and not the rows'; that rounds differently.
    share[(columns < 0) | (next_column >= x.shape[1])] = 0
    rows, next_row, below = _taps(size[0], down, kind)
    rows, next_row = (np.clip(at, 0, x.shape[0] - 1) for at in (rows, next_row))
    columns = np.clip(columns, 0, x.shape[1] - 1)
    next_column = np.minimum(columns + 1, x.shape[1] - 1)
    if x.dtype != np.uint8:
        across = x[:, columns] * (1 - share)[:, None] + x[:, next_column] * share[:, None]
        return np.asarray(
            across[rows] * (1 - below)[:, None, None] + across[next_row] * below[:, None, None],
            np.float32,
        )
    a0, a1 = _fixed(1 - share)[:, None], _fixed(share)[:, None]
    b0, b1 = _fixed(1 - below)[:, None, None], _fixed(below)[:, None, None]
    wide = x[:, columns].astype(np.int32) * a0 + x[:, next_column].astype(np.int32) * a1
    wide >>= 4
    total = ((wide[rows] * b0) >> 16) + ((wide[next_row] * b1) >> 16)
    return np.asarray(np.clip((total + 2) >> 2, 0, 255), np.uint8)


def _halve(x: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Return what OpenCV does at exactly half the size: the mean of four pixels.

    If a crop's size was rounded up, the last row or column has two or one of them.
    """
    parts = [x[i::2, j::2][: size[0], : size[1]] for i in (0, 1) for j in (0, 1)]
    total = np.zeros((*size, x.shape[2]), np.float32)
    count = np.zeros((*size, 1), np.float32)
    for part in parts:
        total[: part.shape[0], : part.shape[1]] += part
        count[: part.shape[0], : part.shape[1]] += 1
    mean = total / count
    if x.dtype != np.uint8:
        return mean
    # Four are rounded half up, fewer half to even.
    whole = np.where(count == 4, np.floor(mean + np.float32(0.5)), np.rint(mean))
    return np.asarray(whole, np.uint8)


def _taps(
    count: int, step: float, kind: np.dtype[Any]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return for each new position the old ones before and after it, and the latter's weight."""
    at = ((np.arange(count) + 0.5) * step - 0.5).astype(kind)
    low = np.floor(at)
    before = low.astype(np.intp)
    return before, before + 1, np.asarray(at - low, np.float32)


def _fixed(weight: NDArray[np.float32]) -> NDArray[np.int32]:
    return np.asarray(np.rint(weight * np.float32(_ONE)), np.int32)


def NMSBoxes(
    bboxes: Sequence[Sequence[float]],
    scores: Sequence[float],
    score_threshold: float,
    nms_threshold: float,
    eta: float = 1.0,
    top_k: int = 0,
) -> NDArray[np.int32] | tuple[()]:
    """Return the indices of the boxes that remain, by falling score; an empty tuple if none does.

    Args:
        bboxes: (x, y, width, height) each.
        scores: one each.
        score_threshold: a box must score more.
        nms_threshold: the max overlap with a better box, intersection over union.
        eta: multiplies the threshold after each box that remains, while above 0.5.
        top_k: the number of best boxes to look at; 0: all.
    """
    boxes = np.asarray(bboxes, np.float64).reshape(-1, 4)
    values = np.asarray(scores, np.float32).reshape(-1)
    if len(boxes) != len(values):
        raise ShapeError(f"{len(boxes)} boxes and {len(values)} scores")
    order = np.argsort(-values, kind="stable")
    order = order[values[order] > np.float32(score_threshold)]
    order = order[:top_k] if top_k > 0 else order
    left_top, right_bottom = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    areas = boxes[:, 2] * boxes[:, 3]
    indices: list[int] = []
    threshold = float(nms_threshold)
    for index in order:
        if indices:
            common = np.minimum(right_bottom[indices], right_bottom[index])
            common = np.clip(common - np.maximum(left_top[indices], left_top[index]), 0, None)
            shared = common.prod(1)
            union = areas[indices] + areas[index] - shared
            empty = areas[indices] + areas[index] <= np.finfo(np.float64).eps
            overlap = np.where(empty, 1, shared / np.where(union == 0, 1, union))
            if np.any(overlap.astype(np.float32) > threshold):
                continue
        indices.append(int(index))
        if eta < 1 and threshold > 0.5:
            threshold *= eta
    return np.array(indices, np.int32) if indices else ()
