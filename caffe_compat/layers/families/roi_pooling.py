"""Pooling over the bins of regions of interest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError
from ...types import Array, Shape
from ..builder import FLOAT, Builder, Operand, int64
from ..regions import Regions, check_opset, column, flat, lower_round, round_half_away
from ..registry import layer

Edges = list[tuple[Any, Any]]  # the first cell of each bin, and the one behind its last

# -FLT_MAX, the start of the forks' max.
_LOWEST = np.finfo(np.float32).min


@layer(param="roi_pooling_param", bottoms=2)
class ROIPooling(Regions):
    """The maximum of each of pooled_h by pooled_w bins of a region (Girshick 2015, Fast R-CNN).

    From: rbgirshick/caffe-fast-rcnn, src/caffe/layers/roi_pooling_layer.cpp.
    Refused: pad_ratio, which forks round differently, until the fork is named.
    Refused: opsets from 22 on, whose MaxRoiPool onnxruntime does not run.
    """

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        return not proto.roi_pooling_param.pad_ratio

    def _sizes(self, x: Shape) -> Shape:
        return (x[1], self.p.pooled_h, self.p.pooled_w)

    def _pool(self, x: Array, box: Array) -> Array:
        rows, columns = self._bins(box)
        return _reduce_bins(x, rows, columns, lambda part: part.max((1, 2), initial=_LOWEST))

    def _unpool(self, dy: Array, x: Array, box: Array, dx: Array) -> None:
        channels = np.arange(len(x))
        for i, j, down, across in _inner_bins(x.shape, *self._bins(box)):
            part = x[:, down, across]
            row, column = np.divmod(part.reshape(len(x), -1).argmax(1), part.shape[2])
            dx[channels, down.start + row, across.start + column] += dy[:, i, j]

    def _bins(self, box: Array) -> tuple[Edges, Edges]:
        """Return the edges of the bins' rows and columns."""
        size = np.array([self.p.pooled_w, self.p.pooled_h])
        corners = round_half_away(box * np.float32(self.p.spatial_scale))
        start = corners[:2]
        bins = np.maximum(corners[2:] - start + 1, 1) / size.astype(np.float32)
        columns, rows = (
            [
                (np.floor(k * b) + s, np.ceil(next_ * b) + s)
                for k, next_ in pairwise(np.arange(n + 1, dtype=np.float32))
            ]
            for n, b, s in zip(size, bins, start, strict=True)
        )
        return rows, columns

    def lower(self, g: Builder, x: str, rois: str) -> str:
        check_opset(g, "MaxRoiPool")
        return g.MaxRoiPool(
            x,
            self._lower_rows(g, rois),
            pooled_shape=[self.p.pooled_h, self.p.pooled_w],
            spatial_scale=self.p.spatial_scale,
        )

    def _lower_rows(self, g: Builder, rois: str) -> str:
        return flat(g, rois)


@layer("ROIPooling", fork="cascade-rcnn", param="roi_pooling_param", bottoms=2)
class PaddedROIPooling(ROIPooling):
    """ROIPooling of regions wider on each side by pad_ratio times their size.

    From: zhaoweicai/mscnn and zhaoweicai/cascade-rcnn, src/caffe/layers/roi_pooling_layer.cpp
    Refused: opsets from 22 on, whose MaxRoiPool onnxruntime does not run.
    """

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        return False

    def _bins(self, box: Array) -> tuple[Edges, Edges]:
        pad = (box[2:] - box[:2] + 1) * np.float32(self.p.pad_ratio)
        return super()._bins(np.concatenate([box[:2] - pad, box[2:] + pad]))

    def _lower_rows(self, g: Builder, rois: str) -> str:
        image, first, last = g.Split(flat(g, rois), int64(1, 2, 2), axis=1, outputs=3)
        size = g.Add(g.Sub(last, first), np.float32(1))
        pad = g.Mul(size, np.float32(self.p.pad_ratio))
        return g.Concat(image, g.Sub(first, pad), g.Add(last, pad), axis=1)


@layer(param="psroi_pooling_param", bottoms=2)
class PSROIPooling(Regions):
    """The mean of each bin of a region, each bin in channels of its own (Dai et al. 2016, R-FCN).

    From: daijifeng001/caffe-rfcn, src/caffe/layers/psroi_pooling_layer.cu.
    From: intel/caffe, src/caffe/layers/psroi_pooling_layer.cpp, the same for a CPU.
    """

    def _sizes(self, x: Shape) -> Shape:
        out, group = self.p.output_dim, self.p.group_size
        if x[1] != out * group * group:
            raise ShapeError(
                f"output_dim {out} and group_size {group} want {out * group * group} "
                f"channels, and the bottom has {x[1]}"
            )
        return (out, group, group)

    def _pool(self, x: Array, box: Array) -> Array:
        # Bin (i, j) reads the channels c * group^2 + i * group + j.
        group = self.p.group_size
        parts = _reduce_bins(x, *self._bins(box), lambda part: part.mean((1, 2)))
        i, j = np.indices((group, group))
        return parts.reshape(-1, group, group, group, group)[:, i, j, i, j]

    def _unpool(self, dy: Array, x: Array, box: Array, dx: Array) -> None:
        group = self.p.group_size
        maps = dx.reshape(-1, group, group, *dx.shape[1:])  # a view
        for i, j, down, across in _inner_bins(x.shape, *self._bins(box)):
            part = maps[:, i, j, down, across]
            part += dy[:, i, j, None, None] / np.float32(part[0].size)

    def _bins(self, box: Array) -> tuple[Edges, Edges]:
        """Return the edges of the bins' rows and columns."""
        group, scale = self.p.group_size, np.float32(self.p.spatial_scale)
        corners = round_half_away(box)
        start, end = corners[:2] * scale, (corners[2:] + 1) * scale
        bins = np.maximum(end - start, np.float32(0.1)) / np.float32(group)
        edges = [
            [
                (np.floor(k * b + s), np.ceil(next_ * b + s))
                for k, next_ in pairwise(np.arange(group + 1, dtype=np.float32))
            ]
            for b, s in zip(bins, start, strict=True)
        ]
        return edges[1], edges[0]

    def lower(self, g: Builder, x: str, rois: str) -> str:
        group = self.p.group_size
        image, box = g.Split(flat(g, rois), int64(1, 4), axis=1, outputs=2)
        low, high = self._edges(g, x, box)
        if g.dims(x)[0] != 1:
            # The images are side by side, so a region's image shifts its columns.
            shift = g.Mul(g.Unsqueeze(image, int64(1)), _pair(g.fixed(x, 3), 0))
            low, high = g.Add(low, shift), g.Add(high, shift)
        columns, rows = (
            _inside(g, _part(g, low, axis), _part(g, high, axis), count)
            for axis, count in enumerate((self._columns(g, x), g.fixed(x, 2)))
        )
        cells = g.Mul(_cells(g, rows, 1), _cells(g, columns, 0))  # (group, group, 1, regions)
        total = self._totals(g, x, rows, columns)
        mean = g.Div(total, g.Max(cells, np.float32(1)))
        return g.Transpose(
            g.Reshape(mean, int64(group, group, self.p.output_dim, -1)), perm=[3, 2, 0, 1]
        )

    def _edges(self, g: Builder, x: str, box: str) -> tuple[str, str]:
        """Write first and last cell of each bin within the image, (regions, x and y, bins)."""
        group, scale = self.p.group_size, np.float32(self.p.spatial_scale)
        first, last = g.Split(lower_round(g, box), int64(2, 2), axis=1, outputs=2)
        start = g.Mul(first, scale)
        end = g.Mul(g.Add(last, np.float32(1)), scale)
        bins = g.Div(g.Max(g.Sub(end, start), np.float32(0.1)), np.float32(group))
        start, bins = (g.Unsqueeze(name, int64(2)) for name in (start, bins))
        steps = np.arange(group + 1, dtype=np.float32)
        low = g.Floor(g.Add(g.Mul(bins, steps[:-1]), start))
        high = g.Ceil(g.Add(g.Mul(bins, steps[1:]), start))
        size = _pair(g.fixed(x, 3), g.fixed(x, 2))
        zero = np.float32(0)
        return g.Min(g.Max(low, zero), size), g.Min(g.Max(high, zero), size)

    @staticmethod
    def _columns(g: Builder, x: str) -> int | str:
        """Return the number of columns of all images together."""
        if g.dims(x)[0] is None:
            images = g.Reshape(g.Shape(x, start=0, end=1), int64())
            return g.Mul(images, np.int64(g.fixed(x, 3)))
        return g.fixed(x, 0) * g.fixed(x, 3)

    def _totals(self, g: Builder, x: str, rows: str, columns: str) -> str:
        """Write the sum over each bin: (group, group, output_dim, regions)."""
        group, out = self.p.group_size, self.p.output_dim
        height, width = g.fixed(x, 2), g.fixed(x, 3)
        parts = g.Reshape(x, int64(0, out, group, group, height, width))
        wide = g.Reshape(
            g.Transpose(parts, perm=[2, 3, 1, 4, 0, 5]), int64(group, group, out * height, -1)
        )
        across = g.MatMul(wide, columns)  # (group, group, out * height, regions)
        across = g.Reshape(across, int64(group, group, out, height, -1))
        cells = g.Mul(across, g.Unsqueeze(rows, int64(1, 2)))
        return g.ReduceSum(cells, int64(3), keepdims=0)


# -- numpy -------------------------------------------------------------------------------------


def _reduce_bins(x: Array, rows: Edges, columns: Edges, reduce: Any) -> Array:
    """Reduce each bin between its edges within the image; an empty one is 0."""
    y = np.zeros((len(x), len(rows), len(columns)), np.float32)
    for i, j, down, across in _inner_bins(x.shape, rows, columns):
        y[:, i, j] = reduce(x[:, down, across])
    return y


def _inner_bins(
    shape: Shape, rows: Edges, columns: Edges
) -> Iterator[tuple[int, int, slice, slice]]:
    """Yield the bins that have cells within the image: their place, their rows and columns."""
    for i, j in np.ndindex(len(rows), len(columns)):
        down, across = (
            slice(*(int(min(max(edge, 0), n)) for edge in edges))
            for edges, n in zip((rows[i], columns[j]), shape[1:], strict=True)
        )
        if down.start < down.stop and across.start < across.stop:
            yield i, j, down, across


# -- ONNX --------------------------------------------------------------------------------------


def _pair(x: int, y: int) -> Array:
    """Return a number for x and one for y that broadcast against (regions, x and y, bins)."""
    return np.array([[x], [y]], np.float32)


def _part(g: Builder, x: str, axis: int) -> str:
    """Write x or y of (regions, x and y, bins) as (bins, 1, regions)."""
    return g.Transpose(column(g, x, axis), perm=[2, 1, 0])


def _inside(g: Builder, low: str, high: str, count: int | str) -> str:
    """Write 1 where low <= cell < high, else 0: (bins, cells, regions)."""
    if isinstance(count, int):
        cells: Operand = np.arange(count, dtype=np.float32)[:, None]
    else:
        places = g.Range(np.int64(0), count, np.int64(1))
        cells = g.Cast(g.Unsqueeze(places, int64(1)), to=FLOAT)
    both = g.And(g.GreaterOrEqual(cells, low), g.Less(cells, high))
    return g.Cast(both, to=FLOAT)


def _cells(g: Builder, inside: str, axis: int) -> str:
    """Write the number of cells of each bin on one axis, with an axis for the other's bins."""
    count = g.ReduceSum(inside, int64(1), keepdims=1)
    return g.Unsqueeze(count, int64(axis))
