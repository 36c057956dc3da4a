"""Operators that look through a sliding window, and the change of an image's size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import UnsupportedError
from .movement import Pad
from .whole import whole

Sizes: TypeAlias = tuple[int, ...]
_MAX = (F.max_pool1d, F.max_pool2d, F.max_pool3d)
_MEAN = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)
_GLOBAL_MAX = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)
_GLOBAL_MEAN = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)


def rounding(
    size: Sequence[int | None],
    kernel: Sizes,
    strides: Sizes,
    pads: Sizes,
    ceil_mode: int = 0,
) -> bool | None:
    """Return the ceil_mode with which torch's pooling has ONNX's windows.

    Args:
        size: the image's sizes, None where one may vary.
        kernel: the window's sizes.
        strides: from one window to the next.
        pads: before each axis, then behind each: torch has the first ones alone.
        ceil_mode: ONNX's.

    Returns:
        None where torch has these windows in neither mode.
    """
    begins, ends = pads[: len(kernel)], pads[len(kernel) :]
    if any(2 * b > k for b, k in zip(begins, kernel, strict=True)):
        return None  # torch refuses such a pad
    if len(kernel) == 3 and any(
        n is None or n < k for n, k in zip(size, kernel, strict=True)
    ):
        return None  # and such an image in three dimensions
    if tuple(begins) == tuple(ends):
        return bool(ceil_mode)
    floor, ceil, wanted = [], [], []
    for n, k, s, b, e in zip(size, kernel, strides, begins, ends, strict=True):
        if n is None or ceil_mode:
            return None
        wanted.append((n + b + e - k) // s + 1)
        floor.append((n + 2 * b - k) // s + 1)
        up = -(-(n + 2 * b - k) // s) + 1
        ceil.append(up - ((up - 1) * s >= n + b))  # none starts behind the image
    return False if wanted == floor else True if wanted == ceil else None


@whole
def AveragePool(
    x: Tensor,
    kernel_shape: Sizes,
    strides: Sizes | None = None,
    pads: Sizes | None = None,
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> Tensor:
    rank = len(kernel_shape)
    strides, pads = strides or (1,) * rank, pads or (0,) * 2 * rank
    pool, counts = _MEAN[rank - 1], bool(count_include_pad)
    up = rounding(x.shape[2:], kernel_shape, strides, pads, ceil_mode)
    if up is not None and (counts or not any(pads[:rank])):
        return pool(x, kernel_shape, strides, pads[:rank], up, counts)
    ends = _overhang(x.shape[2:], kernel_shape, strides, pads, ceil_mode)
    inside = _pad(torch.ones_like(x[:1, :1]), pads, 1.0 if counts else 0.0)
    total, number = (
        pool(_pad(part, (*(0,) * rank, *ends)), kernel_shape, strides)
        for part in (_pad(x, pads), inside)
    )
    return total / number


def _pad(x: Tensor, pads: Sizes, value: float = 0.0) -> Tensor:
    return Pad(x, pads, value, tuple(range(2, x.ndim)))


def _overhang(
    size: Sizes, kernel: Sizes, strides: Sizes, pads: Sizes, ceil_mode: int
) -> tuple[int, ...]:
    """How far the last window ends behind the pad of each axis."""
    ends = []
    for n, k, s, b, e in zip(
        size, kernel, strides, pads[: len(size)], pads[len(size) :], strict=True
    ):
        last = (n + b + e - k + (s - 1) * ceil_mode) // s
        last -= last * s >= n + b  # none starts behind the image
        ends.append(max(0, last * s + k - n - b - e))
    return tuple(ends)


@whole
def GlobalAveragePool(x: Tensor) -> Tensor:
    return _GLOBAL_MEAN[x.ndim - 3](x, 1)


@whole
def GlobalMaxPool(x: Tensor) -> Tensor:
    return _GLOBAL_MAX[x.ndim - 3](x, 1)


@whole
def MaxPool(
    x: Tensor,
    kernel_shape: Sizes,
    strides: Sizes | None = None,
    pads: Sizes | None = None,
    ceil_mode: int = 0,
    outputs: int = 1,
) -> Tensor | tuple[Tensor, Tensor]:
    """ONNX's places count from the tensor's start, torch's from each image's."""
    rank, size = len(kernel_shape), x.shape[2:]
    strides, pads = strides or (1,) * rank, pads or (0,) * 2 * rank
    pool, begins = _MAX[rank - 1], pads[:rank]
    up = rounding(size, kernel_shape, strides, pads, ceil_mode)
    padded = up is None
    if up is None:
        ends = _overhang(size, kernel_shape, strides, pads, ceil_mode)
        pads = (*begins, *(p + e for p, e in zip(pads[rank:], ends, strict=True)))
        x, up, begins = _pad(x, pads, -torch.inf), False, (0,) * rank
    if outputs == 1:
        return pool(x, kernel_shape, strides, begins, ceil_mode=up)
    y, place = pool(x, kernel_shape, strides, begins, ceil_mode=up, return_indices=True)
    if padded:
        place = _in_image(place, x.shape[2:], pads, size)
    planes = torch.arange(x.shape[0] * x.shape[1], device=x.device) * math.prod(size)
    return y, place + planes.reshape(*x.shape[:2], *(1,) * rank)


def _in_image(place: Tensor, padded: Sizes, pads: Sizes, size: Sizes) -> Tensor:
    """Return places in padded images as places in the images."""
    inner, step = torch.zeros_like(place), 1
    for axis in reversed(range(len(size))):
        inner += (place % padded[axis] - pads[axis]) * step
        place, step = place // padded[axis], step * size[axis]
    return inner


@whole
def Resize(
    x: Tensor,
    roi: None = None,
    scales: Sequence[float] | None = None,
    sizes: Sizes | None = None,
    *,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    axes: Sizes | None = None,
) -> Tensor:
    """Return images interpolated to sizes by corners or by centres, or each pixel repeated.

    Raises:
        UnsupportedError: another way to resize.
    """
    how = (mode, coordinate_transformation_mode, nearest_mode)
    if how[:2] == ("linear", "align_corners") and sizes is not None:
        return F.interpolate(x, tuple(sizes)[-2:], mode="bilinear", align_corners=True)
    if how[:2] == ("linear", "half_pixel") and sizes is not None:
        return F.interpolate(x, tuple(sizes)[-2:], mode="bilinear", align_corners=False)
    if how == ("nearest", "asymmetric", "floor") and scales is not None:
        return F.interpolate(x, scale_factor=tuple(scales)[-2:], mode="nearest")
    raise UnsupportedError(f"Resize by {', '.join(how)} has no torch form")
