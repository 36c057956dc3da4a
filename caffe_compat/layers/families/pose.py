"""The first OpenPose's heat maps at the image's size, and their peaks (Cao et al. 2017)."""

from __future__ import annotations

from math import floor

import numpy as np

from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import FLOAT, Builder, Operand, int64
from ..layer import Layer
from ..registry import layer

_AROUND = [(i, j) for i in (0, 1, 2) for j in (0, 1, 2) if (i, j) != (1, 1)]
_REACH = 3  # pixels on each side of a peak that its place is a mean of
_END = 2**63 - 1  # of ONNX's Slice: up to the last


@layer(param="imresize_param")
class ImResize(Layer):
    """The mean of a pyramid of maps, each resized by cubic convolution with a slope of -1/2.

    The top has target_spatial_height by target_spatial_width, or `factor` times the bottom's, and
    one image. Of image n only the middle counts, start_scale - n scale_gap of its sides. This is
    the fork's GPU code; its CPU code resizes by OpenCV, whose cubic has another slope.

    From: CMU-Perceptual-Computing-Lab/caffe_rtpose, src/caffe/cpm/layers/imresize_layer.cu (by
        reading alone)
    Refused: a size or a number of images that may vary.
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        size = self._size(x) if len(x) == 4 else (0,)
        if min(size) < 1:
            raise ShapeError(f"needs a bottom of 4 axes and a positive size: {x}, {size}")
        return [(1, x[1], *size)]

    def _size(self, x: Shape) -> Shape:
        if self.p.factor:
            return tuple(int(np.float32(n) * np.float32(self.p.factor)) for n in x[2:])
        return (self.p.target_spatial_height, self.p.target_spatial_width)

    def _matrices(self, x: Shape) -> list[Array]:
        """Return for rows and columns the shares of each image's pixels, (N, 1, top, bottom)."""
        sizes = zip(x[2:], self._size(x), strict=True)
        return [
            np.stack([self._matrix(n, size, image) for image in range(x[0])])[:, None]
            for n, size in sizes
        ]

    def _matrix(self, n: int, size: int, image: int) -> Array:
        rest = 1 - np.float32(self.p.start_scale) + image * np.float32(self.p.scale_gap)
        pad = floor(np.float32(n // 2) * rest)
        inner = n - 2 * pad
        if not 0 < inner <= n:
            raise ShapeError(f"image {image} of the pyramid has {inner} of {n} pixels")
        ratio = np.float32(inner) / np.float32(size)
        at = np.arange(size, dtype=np.float32) - (np.float32(size) / np.float32(inner) / 2 - 0.5)
        at = (at * ratio).astype(np.float32)
        second = np.maximum((at + np.float32(1e-5)).astype(np.int64), 0)  # C's int() cuts
        third = np.minimum(second + 1, inner - 1)
        taps = (np.maximum(second - 1, 0), second, third, np.minimum(third + 1, inner - 1))
        matrix = np.zeros((size, n), np.float32)
        for tap, share in zip(taps, _cubic_shares(at - second), strict=True):
            np.add.at(matrix, (np.arange(size), tap + pad), share)
        return matrix

    def forward(self, x: Array) -> Array:
        down, across = self._matrices(x.shape)
        y: Array = (down @ (x @ across.swapaxes(2, 3))).mean(axis=0, keepdims=True)
        return y

    def lower(self, g: Builder, x: str) -> str:
        down, across = self._matrices(g.shape(x))
        y = g.MatMul(down, g.MatMul(x, np.ascontiguousarray(across.swapaxes(2, 3))))
        return y if len(down) == 1 else g.ReduceMean(y, int64(0))


def _cubic_shares(d: Array) -> tuple[Array, ...]:
    """Return the shares of four pixels around a place that is `d` behind the second."""
    d = d.astype(np.float32)
    half, square, cube = np.float32(0.5), d * d, d * d * d
    return (
        square - half * (cube + d),
        half * (3 * cube - 5 * square) + 1,
        2 * square - half * (3 * cube - d),
        half * (cube - square),
    )


@layer(param="nms_param")
class Nms(Layer):
    """The peaks of the first num_parts maps: their number, and x, y and score of each.

    A peak is above threshold and above all eight pixels around it. The first max_peaks of each map
    are written, row by row, behind a row with their number; what is left is 0. A peak's place is
    the mean of the pixels up to 3 away whose scores are positive, weighted by these; as in the
    fork, row 0 and column 0 are not among them, rows end where columns do, and rows below the
    map are the next map's.

    From: CMU-Perceptual-Computing-Lab/caffe_rtpose, src/caffe/cpm/layers/nms_layer.cu (by reading
        alone)
    Refused: several images, and num_parts without a map behind them.
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        if len(x) != 4 or min(x[2:]) < _REACH or x[1] <= self.p.num_parts:
            raise ShapeError(
                f"needs more maps than num_parts {self.p.num_parts}, of 3 x 3 pixels or more: {x}"
            )
        if x[0] != 1:
            raise UnsupportedError(f"takes one image, as in the fork, and has {x}")
        return [(1, self.p.num_parts, self.p.max_peaks + 1, 3)]

    def forward(self, x: Array) -> Array:
        width, parts = x.shape[3], self.p.num_parts
        y = np.zeros((1, parts, self.p.max_peaks + 1, 3), np.float32)
        for part in range(parts):
            peaks = np.argwhere(self._peaks(x[0, part]))
            y[0, part, 0, 0] = len(peaks)
            below = np.concatenate([x[0, part], x[0, part + 1, :_REACH]])
            for row, (i, j) in zip(y[0, part, 1:], peaks, strict=False):
                window = (
                    slice(max(i - _REACH, 1), min(i + _REACH + 1, width)),
                    slice(max(j - _REACH, 1), min(j + _REACH + 1, width)),
                )
                score = np.maximum(below[window], 0)
                at = np.indices(score.shape) + np.array([s.start for s in window])[:, None, None]
                row[:2] = (score * at).sum((1, 2))[::-1] / score.sum()
                row[2] = x[0, part, i, j]
        return y

    def _peaks(self, x: Array) -> Array:
        inner = x[1:-1, 1:-1]
        height, width = inner.shape
        peak = inner > np.float32(self.p.threshold)
        for i, j in _AROUND:
            peak &= inner > x[i : i + height, j : j + width]
        return np.pad(peak, 1)

    def lower(self, g: Builder, x: str) -> str:
        parts, (height, width) = self.p.num_parts, (g.fixed(x, 2), g.fixed(x, 3))
        maps = g.Slice(x, int64(0), int64(parts), int64(1))
        inner = g.Slice(maps, int64(1, 1), int64(-1, -1), int64(2, 3))
        around = [
            g.Slice(maps, int64(i, j), int64(i - 2 or _END, j - 2 or _END), int64(2, 3))
            for i, j in _AROUND
        ]
        peak = g.And(g.Greater(inner, g.Max(*around)), g.Greater(inner, self._threshold))
        peak = g.Pad(g.Cast(peak, to=FLOAT), int64(0, 0, 1, 1, 0, 0, 1, 1))
        # The earlier a peak, the larger its number, so that the largest are the first.
        order = np.arange(height * width, 0, -1, dtype=np.float32)
        flat = g.Reshape(peak, int64(parts, -1))
        count = g.ReduceSum(flat, int64(1), keepdims=1)
        most = min(self.p.max_peaks, height * width)
        found, places = g.TopK(g.Mul(flat, order), int64(most), axis=1, outputs=2)
        values = [
            g.GatherElements(g.Reshape(each, int64(parts, -1)), places, axis=1)
            for each in (*self._lower_means(g, x, maps, height, width), maps)
        ]
        rows = g.Concat(*(g.Unsqueeze(value, int64(2)) for value in values), axis=2)
        some = g.Greater(g.Unsqueeze(found, int64(2)), np.float32(0))
        rows = g.Where(some, rows, np.float32(0))
        head = g.Pad(g.Unsqueeze(count, int64(2)), int64(0, 0, 0, 0, 0, 2))
        rest = self.p.max_peaks - most
        return g.Unsqueeze(
            g.Pad(g.Concat(head, rows, axis=1), int64(0, 0, 0, 0, rest, 0)), int64(0)
        )

    @property
    def _threshold(self) -> Operand:
        return np.float32(self.p.threshold)

    def _lower_means(
        self, g: Builder, x: str, maps: str, height: int, width: int
    ) -> tuple[str, str]:
        """Write for every pixel the column and the row that its neighbours' scores weight."""
        below = g.Slice(x, int64(1, 0), int64(self.p.num_parts + 1, _REACH), int64(1, 2))
        score = g.Max(g.Concat(maps, below, axis=2), np.float32(0))
        rows, columns = np.indices((height + _REACH, width)).astype(np.float32)
        counted = ((rows > 0) & (rows < width) & (columns > 0)).astype(np.float32)
        total, across, down = (
            g.AveragePool(
                g.Mul(score, weight),
                kernel_shape=[2 * _REACH + 1] * 2,
                pads=[_REACH, _REACH, 0, _REACH],
                count_include_pad=1,
            )
            for weight in (counted, counted * columns, counted * rows)
        )
        return g.Div(across, total), g.Div(down, total)
