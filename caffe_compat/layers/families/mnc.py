"""Regions and masks of MNC, Multi-task Network Cascades (Dai, He and Sun 2016)."""

from __future__ import annotations

import numpy as np

from ...errors import ShapeError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Layer
from ..regions import (
    Regions,
    boxes,
    check_opset,
    column,
    flat,
    images,
    is_inside,
    lower_inside,
    lower_round,
    round_half_away,
    sample,
)
from ..registry import layer


@layer(bottoms=2)
class MaskPooling(Layer):
    """x m: features (N, C, H, W) times a mask (N, 1, H, W).

    From: daijifeng001/caffe-mnc, src/caffe/layers/mask_pooling_layer.cu
    """

    def shapes(self, x: Shape, mask: Shape) -> list[Shape | None]:
        if len(x) != 4 or mask != (x[0], 1, *x[2:]):
            raise ShapeError(f"needs features (N, C, H, W) and a mask (N, 1, H, W): {x}, {mask}")
        return [x]

    def forward(self, x: Array, mask: Array) -> Array:
        return x * mask

    def backward(self, dy: Array, x: Array, mask: Array) -> tuple[Array, Array]:
        return dy * mask, np.sum(dy * x, axis=1, keepdims=True)

    def lower(self, g: Builder, x: str, mask: str) -> str:
        return g.Mul(x, mask)


@layer(param="mask_resize_param")
class MaskResize(Layer):
    """Bilinear samples at i H / output_height and j W / output_width, 0 beyond half a pixel.

    From: daijifeng001/caffe-mnc, src/caffe/layers/mask_resize_layer.cu
    Refused: a varying height or width.
    """

    approximate = True  # where it enlarges, the fork's gradient reads two samples an axis alone

    def shapes(self, x: Shape) -> list[Shape | None]:
        if len(x) != 4:
            raise ShapeError(f"needs a bottom of 4 axes (num, channels, height, width), has {x}")
        size = (self.p.output_height, self.p.output_width)
        if min(size) < 1:
            raise ShapeError(f"output_height and output_width must be positive, and are {size}")
        return [(*x[:2], *size)]

    def _places(self, size: Shape) -> tuple[Array, Array]:
        """Return the samples' rows and columns in a bottom of this height and width."""
        counts = (self.p.output_height, self.p.output_width)
        steps = (np.float32(n) / np.float32(count) for n, count in zip(size, counts, strict=True))
        rows, columns = (
            np.arange(count, dtype=np.float32) * step
            for count, step in zip(counts, steps, strict=True)
        )
        return rows, columns

    def forward(self, x: Array) -> Array:
        places = self._places(x.shape[2:])
        inside = np.outer(*map(is_inside, places, x.shape[2:]))
        y = sample(x.reshape(-1, *x.shape[2:]), *places) * inside
        return y.reshape(*x.shape[:2], *y.shape[1:])

    def backward(self, dy: Array, x: Array) -> Array:
        shares = []
        for places, size in zip(self._places(x.shape[2:]), x.shape[2:], strict=True):
            step = np.float32(size) / np.float32(len(places))
            first = np.floor(np.arange(size, dtype=np.float32) / step)
            behind = np.arange(len(places))[:, None] - first
            shares.append(_shares(places, size) * ((behind == 0) | (behind == 1)))
        rows, columns = shares
        dx: Array = rows.T @ dy @ columns
        return dx

    def lower(self, g: Builder, x: str) -> str:
        size = (g.fixed(x, 2), g.fixed(x, 3))
        rows, columns = map(_shares, self._places(size), size)
        return g.MatMul(g.MatMul(rows, x), np.ascontiguousarray(columns.T))


@layer(param="roi_warping_param", bottoms=2)
class ROIWarping(Regions):
    """Bilinear samples at start + i size / pooled of a region, its corners rounded; 0 outside.

    From: daijifeng001/caffe-mnc, src/caffe/layers/roi_warping_layer.cu
    NaN: a sample of NaN is 0, in numpy.
    Refused: opsets from 22 on, whose RoiAlign onnxruntime does not run.
    """

    approximate = True  # the fork's gradients take the region for a pixel larger

    def _sizes(self, x: Shape) -> Shape:
        return (x[1], self.p.pooled_h, self.p.pooled_w)

    def _corners(self, box: Array) -> tuple[Array, Array]:
        """Return a region's corners (x, y) on the map."""
        whole = round_half_away(box * np.float32(self.p.spatial_scale))
        return whole[:2], whole[2:]

    def _places(self, box: Array) -> tuple[Array, Array]:
        """Return the rows and columns of a region's samples."""
        first, last = self._corners(box)
        counts = np.array([self.p.pooled_w, self.p.pooled_h])
        bins = np.maximum(last - first, 0) / counts.astype(np.float32)
        columns, rows = (
            start + np.arange(count, dtype=np.float32) * size
            for start, count, size in zip(first, counts, bins, strict=True)
        )
        return rows, columns

    def _pool(self, x: Array, box: Array) -> Array:
        places = self._places(box)
        inside = np.outer(*map(is_inside, places, x.shape[1:]))
        y = sample(x, *places)
        return np.where(inside & ~np.isnan(y), y, np.float32(0))

    def backward(self, dy: Array, x: Array, rois: Array) -> tuple[Array, Array]:
        dx, shifts = np.zeros_like(x), []
        for flow, (image, box) in zip(dy, boxes(rois, len(x)), strict=True):
            rows, columns = (
                _Axis(places, n, first, last)
                for places, n, first, last in zip(
                    self._places(box), x.shape[2:], *np.flip(self._corners(box), 1), strict=True
                )
            )
            dx[image] += rows.near.T @ flow @ columns.near
            right = flow * (rows.steady @ x[image] @ columns.slopes.T)
            down = flow * (rows.slopes @ x[image] @ columns.steady.T)
            ends = [columns.ends @ right.sum((0, 1)), rows.ends @ down.sum((0, 2))]
            shifts.append([0, *np.transpose(ends).ravel()])
        scale = np.float32(self.p.spatial_scale)
        return dx, scale * np.array(shifts, np.float32).reshape(rois.shape)

    def lower(self, g: Builder, x: str, rois: str) -> str:
        check_opset(g, "RoiAlign")
        image, box = g.Split(flat(g, rois), int64(1, 4), axis=1, outputs=2)
        whole = lower_round(g, g.Mul(box, np.float32(self.p.spatial_scale)))
        first, last = g.Split(whole, int64(2, 2), axis=1, outputs=2)
        counts = np.array([self.p.pooled_w, self.p.pooled_h], np.float32)
        extent = g.Max(g.Sub(last, first), np.float32(0))
        bins = g.Div(extent, counts)
        # The samples are the centres of bins that start half a bin before them.
        start = g.Add(g.Sub(first, g.Mul(bins, np.float32(0.5))), np.float32(0.5))
        y = g.RoiAlign(
            x,
            g.Concat(start, g.Add(start, extent), axis=1),
            images(g, image),
            coordinate_transformation_mode="half_pixel",
            output_height=self.p.pooled_h,
            output_width=self.p.pooled_w,
            sampling_ratio=1,
        )
        columns, rows = (
            lower_inside(g, x, 3 - axis, g.Add(column(g, first, axis), g.Mul(size, steps)))
            for axis in (0, 1)
            for size in [column(g, bins, axis)]
            for steps in [np.arange(counts[axis], dtype=np.float32)]
        )
        inside = g.And(g.Unsqueeze(rows, int64(1, 3)), g.Unsqueeze(columns, int64(1, 2)))
        return g.Where(inside, y, np.float32(0))


class _Axis:
    """What the fork's gradients need of one axis of a region's samples: matrices (samples, size).

    Attributes:
        near: the samples' shares of the pixels, in the windows that the fork looks at.
        steady: the shares of the samples that have a slope.
        slopes: the difference of the pixels on both sides of a sample; 0 at the last pixel.
        ends: the shares of the region's two ends in each sample's place (2, samples).
    """

    def __init__(self, places: Array, size: int, first: np.float32, last: np.float32) -> None:
        shares = _shares(places, size)
        at = np.clip(places, 0, size - 1)
        low = at.astype(np.int64)
        sloped = np.flatnonzero(is_inside(places, size) & (low < size - 1))
        self.slopes = np.zeros_like(shares)
        self.slopes[sloped, low[sloped]] = -1
        self.slopes[sloped, low[sloped] + 1] = 1
        self.steady = shares * self.slopes.any(axis=1, keepdims=True)
        length = np.maximum(last - first + 1, np.float32(1))
        behind = (at - first) / length
        self.ends = np.stack([1 - behind, behind])
        pixels, each = np.arange(size), np.arange(len(places))[:, None]
        step = length / np.float32(len(places))
        begin = np.floor((pixels - first - 1) / step - 1)
        end = np.ceil((pixels - first + 1) / step)
        within = (pixels >= first) & (pixels <= last)
        self.near = shares * (within & (each >= begin) & (each < end))


def _shares(places: Array, size: int) -> Array:
    """Return each pixel's share in bilinear samples along an axis: (places, size)."""
    at = np.clip(places, 0, size - 1)[:, None]
    near = np.maximum(1 - np.abs(at - np.arange(size, dtype=np.float32)), 0)
    shares: Array = near * is_inside(places, size)[:, None]
    return shares
