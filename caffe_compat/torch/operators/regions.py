"""Operators on boxes: which of them stay, and what an image shows in each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .whole import whole


@whole
def NonMaxSuppression(
    boxes: Tensor,
    scores: Tensor,
    max_output: int | Sequence[int],
    iou_threshold: float = 0.0,
    score_threshold: float = -torch.inf,
) -> Tensor:
    """Return the (image, class, box) that overlap no better one of their class that stays.

    Args:
        boxes: (images, boxes, 4), xmin, ymin, xmax, ymax or the like.
        scores: (images, classes, boxes).
        max_output: how many of each image and class stay at most.
        iou_threshold: the intersection over union above which the worse box goes.
        score_threshold: a box must score more.
    """
    scores, order = torch.sort(scores, dim=-1, descending=True, stable=True)
    images = torch.arange(boxes.shape[0], device=boxes.device).reshape(-1, 1, 1)
    corners = boxes[images, order].unflatten(-1, (2, 2))
    low, high = corners.amin(-2), corners.amax(-2)
    extent = torch.minimum(high.unsqueeze(3), high.unsqueeze(2))
    extent = torch.clamp(
        extent - torch.maximum(low.unsqueeze(3), low.unsqueeze(2)), min=0
    )
    shared, area = extent.prod(-1), (high - low).prod(-1)
    union = area.unsqueeze(3) + area.unsqueeze(2) - shared
    near = torch.where(shared > 0, shared / union, 0.0) > iou_threshold
    near = near.triu(1).to(boxes.dtype)
    stays = scores > score_threshold

    def step(now: Tensor) -> Tensor:
        return stays & (
            torch.matmul(now.to(near.dtype).unsqueeze(2), near).squeeze(2) == 0
        )

    stays = _settle(step, stays)
    most = max_output if isinstance(max_output, int) else max_output[0]
    stays = stays & (stays.cumsum(-1) <= most)
    image, label, place = torch.nonzero(stays).unbind(1)
    return torch.stack((image, label, order[image, label, place]), 1)


def _settle(step: Callable[[Tensor], Tensor], start: Tensor) -> Tensor:
    """Repeat a step until it changes nothing; tracing wants the loop as an operator."""
    now, before = step(start), start
    if torch.compiler.is_compiling():
        settled: Tensor = torch.while_loop(
            lambda now, before: (now != before).any(),
            lambda now, before: (step(now), now.clone()),
            (now, before.clone()),
        )[0]
        return settled
    while not torch.equal(now, before):
        now, before = step(now), now
    return now


@whole
def RoiAlign(
    x: Tensor,
    rois: Tensor,
    images: Tensor,
    *,
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
    coordinate_transformation_mode: str = "half_pixel",
) -> Tensor:
    """Return the means of bilinear samples in each bin: (regions, channels, height, width).

    A mean of bilinear samples on a grid is a product of a matrix for the rows, the image and a
    matrix for the columns.
    """
    whole_pixels = coordinate_transformation_mode == "output_half_pixel"
    ends = rois * spatial_scale - (0.0 if whole_pixels else 0.5)
    count, channels, height, width = x.shape
    rows, columns = (
        _shares(ends[:, i], ends[:, i + 2], bins, size, sampling_ratio, whole_pixels)
        for i, bins, size in ((1, output_height, height), (0, output_width, width))
    )
    # The images one below the other, so that each region reads rows of its own image alone.
    own = (images.unsqueeze(1) == torch.arange(count, device=x.device)).to(x.dtype)
    rows = (rows.unsqueeze(2) * own[:, None, :, None]).flatten(2)
    stack = x.transpose(0, 1).reshape(channels, count * height, width)
    across = torch.einsum("rph,chw->rcpw", rows, stack)
    return torch.einsum("rcpw,rqw->rcpq", across, columns)


def _shares(
    start: Tensor, end: Tensor, bins: int, size: int, samples: int, whole_pixels: bool
) -> Tensor:
    """Return the share of each of `size` pixels in each of `bins` bins: (regions, bins, size)."""
    extent = torch.clamp(end - start, min=1) if whole_pixels else end - start
    bin_size = (extent / bins)[:, None, None]
    if samples > 0:
        counts, most = torch.full_like(bin_size, samples), samples
    else:
        counts = torch.ceil(bin_size)
        most = int(counts.max()) if len(counts) else 0
    steps = torch.arange(most, device=start.device, dtype=start.dtype)
    first = torch.arange(bins, device=start.device, dtype=start.dtype)[:, None]
    place = start[:, None, None] + (first + (steps + 0.5) / counts) * bin_size
    counted = (steps < counts) & (place >= -1) & (place <= size)
    pixels = torch.arange(size, device=start.device, dtype=start.dtype)
    near = torch.clamp(
        1 - torch.abs(place.clamp(0, size - 1).unsqueeze(3) - pixels), min=0
    )
    return (near * counted.unsqueeze(3)).sum(2) / counts


@whole
def MaxRoiPool(
    x: Tensor, rois: Tensor, *, pooled_shape: Sequence[int], spatial_scale: float = 1.0
) -> Tensor:
    """Return the maximum of each bin, 0 of an empty one: (regions, channels, height, width).

    The maximum of a run of rows is that of two runs of a power of two, which may overlap.
    """
    image = rois[:, 0].long()[:, None, None]
    corners = rois[:, 1:] * spatial_scale
    corners = torch.sign(corners) * torch.floor(torch.abs(corners) + 0.5)
    rows, columns = (
        _runs(corners[:, i], corners[:, i + 2], pooled_shape[axis], x.shape[2 + axis])
        for axis, i in enumerate((1, 0))
    )
    maxima = _maxima(_maxima(x, 2), 4)
    powers = (columns[0].unsqueeze(1), rows[0].unsqueeze(2))
    y, *others = (
        maxima[(*powers, image, slice(None), row.unsqueeze(2), column.unsqueeze(1))]
        for row in rows[1:3]
        for column in columns[1:3]
    )
    for other in others:
        y = torch.where(other > y, other, y)
    empty = rows[3].unsqueeze(2) | columns[3].unsqueeze(1)
    return torch.where(empty.unsqueeze(3), 0.0, y).permute(0, 3, 1, 2)


def _runs(start: Tensor, end: Tensor, bins: int, size: int) -> tuple[Tensor, ...]:
    """Return each bin's power of two, the starts of its two runs, and whether it is empty."""
    step = (torch.clamp(end - start + 1, min=1) / bins).unsqueeze(1)
    number = torch.arange(bins, device=start.device, dtype=start.dtype)
    first = torch.clamp(torch.floor(number * step) + start.unsqueeze(1), 0, size).long()
    last = torch.clamp(
        torch.ceil((number + 1) * step) + start.unsqueeze(1), 0, size
    ).long()
    powers = 2 ** torch.arange(size.bit_length(), device=start.device)
    length = torch.clamp(last - first, min=1)
    power = (length.unsqueeze(2) >= powers).sum(2) - 1
    starts = (
        torch.clamp(first, max=size - 1),
        torch.clamp(last - powers[power], min=0),
    )
    return power, *starts, last <= first


def _maxima(x: Tensor, axis: int) -> Tensor:
    """Return the maxima of 1, 2, 4, ... elements along an axis from each on, stacked in front."""
    runs, step, size = [x], 1, x.shape[axis]
    while 2 * step <= size:
        last = runs[-1]
        ahead = last.roll(-step, axis)  # where it comes round, nobody reads
        runs.append(torch.where(ahead > last, ahead, last))
        step *= 2
    return torch.stack(runs)


@whole
def GridSample(
    x: Tensor, grid: Tensor, *, padding_mode: str = "zeros", align_corners: int = 0
) -> Tensor:
    """Return bilinear samples at places from -1 to 1: (images, channels, height, width)."""
    return torch.nn.functional.grid_sample(
        x, grid, padding_mode=padding_mode, align_corners=bool(align_corners)
    )
