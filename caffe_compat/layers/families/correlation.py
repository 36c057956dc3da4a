"""Correlations of two feature maps, for optical flow and stereo (Dosovitskiy et al. 2015)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...caffe_pb2 import CorrelationParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Layer
from ..registry import layer

_END = 2**63 - 1  # of ONNX's Slice: up to the last


class _Correlation(Layer):
    """The mean over channels and kernel of the products of a patch and each displaced patch."""

    def _moves(self) -> tuple[list[int], list[int]]:
        """Return the displacements in rows and in columns; a top channel for each pair."""
        raise NotImplementedError

    @property
    def _reach(self) -> int:
        """The rows at the top and the bottom that only displacements need."""
        return int(self.p.max_displacement)

    @property
    def _pads(self) -> tuple[int, int]:
        """The zeros around the images, in rows and in columns."""
        return self.p.pad, self.p.pad

    @property
    def _before(self) -> int:
        """The further zeros before each row of the second bottom."""
        return 0

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        p = self.p
        if not (p.HasField("kernel_size") and p.HasField("max_displacement")):
            raise ShapeError("needs a kernel_size and a max_displacement")
        if p.kernel_size % 2 == 0 or not (p.stride_1 and p.stride_2):
            raise ShapeError(
                f"needs an odd kernel_size and positive strides: {p.kernel_size}, {p.stride_1}, "
                f"{p.stride_2}"
            )
        if len(x) != 4 or y != x:
            raise ShapeError(f"needs two bottoms of one shape of 4 axes: {x}, {y}")
        sizes = []
        for n, pad, reach in zip(x[2:], self._pads, (self._reach, p.max_displacement), strict=True):
            inner = n + 2 * pad - 2 * reach - p.kernel_size + 1
            sizes.append(-(-inner // p.stride_1))
        if min(sizes) < 1:
            raise ShapeError(f"the displacements and the kernel do not fit into {x}")
        rows, columns = self._moves()
        return [(x[0], len(rows) * len(columns), *sizes)]

    def _fields(self, x: Array, y: Array) -> tuple[Array, Array, Shape]:
        """Return both padded, and the height and width of what is not only displacement."""
        pads = ((0, 0), (0, 0), *((pad, pad) for pad in self._pads))
        a = np.pad(x, pads)
        b = np.pad(y, (*pads[:3], (pads[3][0] + self._before, pads[3][1])))
        inner = (a.shape[2] - 2 * self._reach, a.shape[3] - 2 * self.p.max_displacement)
        return a, b, inner

    def _windows(self, inner: Shape) -> Iterator[tuple[int, tuple[slice, slice]]]:
        """Yield each channel with the place of its displaced patches in the second bottom."""
        rows, columns = self._moves()
        pairs = ((i, j) for i in rows for j in columns)
        for channel, (i, j) in enumerate(pairs):
            top, left = self._reach + i, self._before + self.p.max_displacement + j
            yield channel, (slice(top, top + inner[0]), slice(left, left + inner[1]))

    def _taps(self, size: Shape) -> Iterator[tuple[slice, slice]]:
        """Yield where each place of the kernel meets the products, for tops of that size."""
        k, s = self.p.kernel_size, self.p.stride_1
        for i, j in np.ndindex(k, k):
            yield slice(i, i + s * (size[0] - 1) + 1, s), slice(j, j + s * (size[1] - 1) + 1, s)

    def forward(self, x: Array, y: Array) -> Array:
        (shape,) = self.shapes(x.shape, y.shape)
        a, b, inner = self._fields(x, y)
        centre = a[(..., *self._centre(inner))]
        out = np.zeros(shape or (), np.float32)
        for channel, window in self._windows(inner):
            means = self._mean(centre, b[(..., *window)])
            for tap in self._taps(out.shape[2:]):
                out[:, channel] += means[(..., *tap)]
        return out / np.float32(self.p.kernel_size**2)

    def _centre(self, inner: Shape) -> tuple[slice, slice]:
        starts = (self._reach, self.p.max_displacement)
        top, left = (slice(s, s + n) for s, n in zip(starts, inner, strict=True))
        return top, left

    def _mean(self, a: Array, b: Array) -> Array:
        if self.p.correlation_type == CorrelationParameter.SUBTRACT:
            mean: Array = np.abs(a - b).mean(axis=1)
        else:
            mean = np.einsum("nchw,nchw->nhw", a, b) / np.float32(a.shape[1])
        return mean

    def backward(self, dy: Array, x: Array, y: Array) -> tuple[Array, Array]:
        a, b, inner = self._fields(x, y)
        da, db, centre = np.zeros_like(a), np.zeros_like(b), (..., *self._centre(inner))
        share = np.float32(self.p.kernel_size**2 * x.shape[1])
        for channel, window in self._windows(inner):
            each = np.zeros((len(x), 1, *inner), np.float32)
            for tap in self._taps(dy.shape[2:]):
                each[(slice(None), 0, *tap)] += dy[:, channel] / share
            left, right = b[(..., *window)], a[centre]
            if self.p.correlation_type == CorrelationParameter.SUBTRACT:
                sign = np.sign(right - left)
                left, right = sign, -sign
            da[centre] += each * left
            db[(..., *window)] += each * right
        rows, columns = (
            slice(pad, pad + n) for pad, n in zip(self._pads, x.shape[2:], strict=True)
        )
        return da[..., rows, columns], db[..., self._before :][..., rows, columns]

    def lower(self, g: Builder, x: str, y: str) -> str:
        (down, across), far = self._pads, self.p.max_displacement
        a = g.Pad(x, int64(0, 0, down, across, 0, 0, down, across))
        b = g.Pad(y, int64(0, 0, down, across + self._before, 0, 0, down, across))
        ends = [-n if n else _END for n in (self._reach, far)]
        a = g.Slice(a, int64(self._reach, far), int64(*ends), int64(2, 3))
        rows, columns = self._moves()
        parts = []
        for i in rows:
            band = self._lower_window(g, b, i, self._reach, 2)
            for j in columns:
                shifted = self._lower_window(g, band, j, far, 3, self._before)
                parts.append(self._lower_mean(g, a, shifted))
        means = g.Concat(*parts, axis=1)
        k, s = self.p.kernel_size, self.p.stride_1
        if (k, s) == (1, 1):
            return means
        return g.AveragePool(means, kernel_shape=[k, k], strides=[s, s])

    def _lower_window(
        self, g: Builder, x: str, move: int, reach: int, axis: int, before: int = 0
    ) -> str:
        """Write an axis without `reach` at both ends and `before` at the first, moved."""
        end = move - reach
        return g.Slice(x, int64(before + reach + move), int64(end or _END), int64(axis))

    def _lower_mean(self, g: Builder, a: str, b: str) -> str:
        if self.p.correlation_type == CorrelationParameter.SUBTRACT:
            return g.ReduceMean(g.Abs(g.Sub(a, b)), int64(1))
        return g.ReduceMean(g.Mul(a, b), int64(1))


@layer(param="correlation_param", bottoms=2)
class Correlation(_Correlation):
    """The mean of the products of a patch of one map and patches of another around its place.

    A channel for each displacement, row by row, by multiples of stride_2 up to max_displacement in
    both directions; patches of kernel_size, at every stride_1. With SUBTRACT it is the mean of
    the magnitudes of differences.

    From: lmb-freiburg/flownet2, src/caffe/layers/correlation_layer.cu (by reading alone)
    """

    def _moves(self) -> tuple[list[int], list[int]]:
        radius = self.p.max_displacement // self.p.stride_2
        moves = [i * self.p.stride_2 for i in range(-radius, radius + 1)]
        return moves, moves


@layer(param="correlation_param", bottoms=2)
class Correlation1D(_Correlation):
    """Correlation along the rows alone, for stereo; with single_direction to one side.

    To the left (-1) the displacements are from -(radius + 1) to -1, without 0, as in the fork.

    From: lmb-freiburg/flownet2, src/caffe/layers/correlation_layer1d.cu (by reading alone)
    Refused: a displacement that begins beyond the padding, where the fork reads another row.
    """

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        if self.p.single_direction not in (-1, 0, 1):
            raise ShapeError(f"single_direction {self.p.single_direction} must be -1, 0 or 1")
        if self._before > self.p.pad:
            raise UnsupportedError("single_direction -1 reads another row; needs more pad")
        return super().shapes(x, y)

    @property
    def _reach(self) -> int:
        return 0

    @property
    def _pads(self) -> tuple[int, int]:
        return 0, self.p.pad

    @property
    def _before(self) -> int:
        return max(-min(self._moves()[1]) - int(self.p.max_displacement), 0)

    def _moves(self) -> tuple[list[int], list[int]]:
        radius = self.p.max_displacement // self.p.stride_2
        ends = {-1: (-radius - 1, 0), 0: (-radius, radius + 1), 1: (0, radius + 1)}
        steps = range(*ends[self.p.single_direction])
        return [0], [i * self.p.stride_2 for i in steps]
