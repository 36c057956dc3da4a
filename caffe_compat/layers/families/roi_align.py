"""Bilinear samples of regions of interest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..regions import (
    Regions,
    check_opset,
    column,
    flat,
    images,
    is_inside,
    lower_inside,
    sample,
)
from ..registry import layer


@layer("ROIAlign", fork="caffe2", param="roi_align_param", bottoms=2)
class MeanROIAlign(Regions):
    """ROIAlign with sampling_ratio: the mean of points in each bin (He et al. 2017, Mask R-CNN).

    If sampling_ratio is not positive, a bin has as many points as cells, rounded up.

    Regions are (R, 5), each of the image that it names, as in Caffe2; or (N, R, 1, 5), R of each of
    the N images, as in Cambricon's, which reads beyond (R, 5) where there are several images.

    From: Cambricon/caffe, src/caffe/layers/roi_align_layer.cpp, after Caffe2's roi_align_op.cc.
    Refused: opsets from 22 on, whose RoiAlign onnxruntime does not run.
    """

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        return proto.roi_align_param.HasField("sampling_ratio")

    def shapes(self, x: Shape, rois: Shape) -> list[Shape | None]:
        if len(rois) != 4 or rois[3] != 5:
            return super().shapes(x, rois)
        if rois[2] != 1 or rois[0] != x[0]:
            raise ShapeError(
                f"regions of 4 axes must be (N, R, 1, 5) for the N = {x[0]} images of {x}, and are "
                f"{rois}"
            )
        return super().shapes(x, (rois[0] * rois[1], 5))

    def _sizes(self, x: Shape) -> Shape:
        return (x[1], self.p.pooled_h, self.p.pooled_w)

    def _pool(self, x: Array, box: Array) -> Array:
        size = np.array([self.p.pooled_w, self.p.pooled_h])
        box = box * np.float32(self.p.spatial_scale)
        extent = np.maximum(box[2:] - box[:2], np.float32(1))
        bins = extent / size.astype(np.float32)
        if self.p.sampling_ratio > 0:
            points = np.full(2, self.p.sampling_ratio)
        else:
            points = np.ceil(bins).astype(np.int64)
        columns, rows = (
            s
            + np.arange(n, dtype=np.float32)[:, None] * b
            + (np.arange(k, dtype=np.float32) + np.float32(0.5)) * b / np.float32(k)
            for s, n, b, k in zip(box[:2], size, bins, points, strict=True)
        )
        inside = np.outer(
            *((at >= -1) & (at <= n) for at, n in zip((rows, columns), x.shape[1:], strict=True))
        )
        values = sample(x, rows.ravel(), columns.ravel()) * inside
        means: Array = values.reshape(len(x), *rows.shape, *columns.shape).mean((2, 4))
        return means

    def lower(self, g: Builder, x: str, rois: str) -> str:
        check_opset(g, "RoiAlign")
        image, box = g.Split(flat(g, rois), int64(1, 4), axis=1, outputs=2)
        return g.RoiAlign(
            x,
            box,
            images(g, image),
            coordinate_transformation_mode="output_half_pixel",
            output_height=self.p.pooled_h,
            output_width=self.p.pooled_w,
            sampling_ratio=max(self.p.sampling_ratio, 0),
            spatial_scale=self.p.spatial_scale,
        )


@layer("ROIAlign", fork="cascade-rcnn", param="roi_pooling_param", bottoms=2)
class GridROIAlign(Regions):
    """ROIAlign with roi_pooling_param: the corners of the bins, (pooled_h + 1) by (pooled_w + 1).

    Each is a bilinear sample, zero beyond the image; a Pooling behind it computes their means. The
    region is first widened by pad_ratio of its size on every side.

    From: zhaoweicai/cascade-rcnn, src/caffe/layers/roi_align_layer.cpp.
    Refused: no fork named, since makefile/frcnn's layer has the same parameters.
    Refused: bi_type and is_multi_interpolate, which are makefile/frcnn's.
    Refused: opsets from 22 on, whose RoiAlign onnxruntime does not run.
    """

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        return False

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        for field in ("bi_type", "is_multi_interpolate"):
            if self.p.HasField(field):
                raise UnsupportedError(f"{field} is of makefile/frcnn, not of cascade-rcnn")

    def _sizes(self, x: Shape) -> Shape:
        return (x[1], self.p.pooled_h + 1, self.p.pooled_w + 1)

    def _pool(self, x: Array, box: Array) -> Array:
        scale, half = np.float32(self.p.spatial_scale), np.float32(0.5)
        pad = (box[2:] - box[:2] + 1) * np.float32(self.p.pad_ratio)
        start, end = (box[:2] - pad) * scale - half, (box[2:] + pad) * scale - half
        size = np.array([self.p.pooled_w, self.p.pooled_h], np.float32)
        bins = (end - start) / size
        if min(bins) <= 0:
            return np.zeros(self._sizes(x[None].shape), np.float32)
        columns, rows = (
            s + np.arange(n + 1, dtype=np.float32) * b
            for s, n, b in zip(start, size, bins, strict=True)
        )
        inside = np.outer(*map(is_inside, (rows, columns), x.shape[1:]))
        y: Array = sample(x, rows, columns) * inside
        return y

    def lower(self, g: Builder, x: str, rois: str) -> str:
        check_opset(g, "RoiAlign")
        image, box = g.Split(flat(g, rois), int64(1, 4), axis=1, outputs=2)
        first, last = g.Split(box, int64(2, 2), axis=1, outputs=2)
        if self.p.pad_ratio:
            size = g.Add(g.Sub(last, first), np.float32(1))
            pad = g.Mul(size, np.float32(self.p.pad_ratio))
            first, last = g.Sub(first, pad), g.Add(last, pad)
        counts = np.array([self.p.pooled_w, self.p.pooled_h], np.float32)
        # The corners are the centres of as many bins, half a bin further out.
        half = g.Div(g.Sub(last, first), 2 * counts)
        wider = g.Concat(g.Sub(first, half), g.Add(last, half), axis=1)
        y = g.RoiAlign(
            x,
            wider,
            images(g, image),
            coordinate_transformation_mode="half_pixel",
            output_height=self.p.pooled_h + 1,
            output_width=self.p.pooled_w + 1,
            sampling_ratio=1,
            spatial_scale=self.p.spatial_scale,
        )
        columns, rows = (
            self._lower_limit(g, x, axis, int(n), first, last) for axis, n in enumerate(counts)
        )
        inside = g.And(g.Unsqueeze(rows, int64(1, 3)), g.Unsqueeze(columns, int64(1, 2)))
        return g.Where(inside, y, np.float32(0))

    def _lower_limit(self, g: Builder, x: str, axis: int, count: int, first: str, last: str) -> str:
        """Write which corners of regions with an extent are in the image: (regions, count + 1)."""
        scale, half = np.float32(self.p.spatial_scale), np.float32(0.5)
        start, end = (g.Sub(g.Mul(column(g, name, axis), scale), half) for name in (first, last))
        bins = g.Div(g.Sub(end, start), np.float32(count))
        place = g.Add(start, g.Mul(bins, np.arange(count + 1, dtype=np.float32)))
        inside = lower_inside(g, x, 3 - axis, place)
        return g.And(inside, g.Greater(bins, np.float32(0)))
