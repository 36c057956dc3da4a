"""Images at another size, and the norm of their channels, as FlowNet's nets have them."""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

from ...caffe_pb2 import ResampleParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import FLOAT, Builder, int64
from ..layer import Layer
from ..regions import round_half_away
from ..registry import layer


class _Resampling(Layer):
    """Images at the size of the second bottom, or at one that the prototxt gives."""

    def _size(self, x: tuple[Shape, ...]) -> Shape:
        raise NotImplementedError

    def shapes(self, *x: Shape) -> list[Shape | None]:
        if any(len(each) != 4 for each in x) or min(size := self._size(x)) < 1:
            raise ShapeError(f"needs bottoms of 4 axes and a positive size: {x}")
        return [(*x[0][:2], *size)]

    def _fixed(self, g: Builder, x: tuple[str, ...]) -> tuple[Shape, Shape]:
        """Return the height and width of the bottom and of the top."""
        bottoms = tuple((1, 1, g.fixed(each, 2), g.fixed(each, 3)) for each in x)
        return bottoms[0][2:], self._size(bottoms)


@layer(param="resample_param", bottoms=(1, 2))
class Resample(_Resampling):
    """An image at height by width, or the second bottom's: NEAREST, LINEAR or CUBIC.

    The weights of the pixels inside the image sum to 1; with antialias they are wider where it
    shrinks. Columns are half a pixel of the rows' scale off, and rows of the columns', as in the
    fork.

    From: lmb-freiburg/flownet2, src/caffe/layers/resample_layer.cu (by reading alone)
    Refused: AREA, as in the fork; NEAREST that reads beyond the image; a size that may vary.
    """

    def _size(self, x: tuple[Shape, ...]) -> Shape:
        return x[1][2:] if len(x) == 2 else (self.p.height, self.p.width)

    def shapes(self, *x: Shape) -> list[Shape | None]:
        if self.p.type == ResampleParameter.AREA:
            raise UnsupportedError("type AREA is not implemented, as in the fork")
        return super().shapes(*x)

    def _places(self, old: Shape, size: Shape) -> list[Array]:
        """Return the rows and the columns of the bottom at which the top's are."""
        scales = [np.float32(n) / np.float32(m) for n, m in zip(old, size, strict=True)]
        return [
            np.arange(m, dtype=np.float32) * scale + other / 2 - np.float32(0.5)
            for m, scale, other in zip(size, scales, scales[::-1], strict=True)
        ]

    def _nearest(self, old: Shape, size: Shape) -> list[NDArray[np.int64]]:
        places = [round_half_away(at).astype(np.int64) for at in self._places(old, size)]
        if any(at.min() < 0 or at.max() >= n for at, n in zip(places, old, strict=True)):
            raise UnsupportedError(f"NEAREST from {old} to {size} reads beyond the image")
        return places

    def _matrices(self, old: Shape, size: Shape) -> list[Array]:
        """Return the shares of the bottom's pixels in the top's, (top, bottom), of both axes."""
        scales = [np.float32(n) / np.float32(m) for n, m in zip(old, size, strict=True)]
        wide = self.p.antialias and max(scales) > 1
        cubic = self.p.type == ResampleParameter.CUBIC
        matrices = []
        for n, scale, at in zip(old, scales, self._places(old, size), strict=True):
            narrow = 1 / scale if wide else np.float32(1)
            radius = 2 if scale < 1 else ceil(np.float32(4 if cubic else 2) / narrow)
            pixel = np.arange(n, dtype=np.float32)
            near = np.abs(pixel - round_half_away(at)[:, None]) <= radius
            share = (_cubic if cubic else _triangle)(narrow * (at[:, None] - pixel)) * near
            total = share.sum(1, keepdims=True)
            matrices.append(np.where(total == 0, 0, share / total).astype(np.float32))
        return matrices

    def forward(self, x: Array, *ref: Array) -> Array:
        old = x.shape[2:]
        size = self._size((x.shape, *(each.shape for each in ref)))
        if self.p.type == ResampleParameter.NEAREST:
            rows, columns = self._nearest(old, size)
            return x[:, :, rows[:, None], columns]
        down, across = self._matrices(old, size)
        y: Array = down @ (x @ across.T)
        return y

    def lower(self, g: Builder, x: str, *ref: str) -> str:
        old, size = self._fixed(g, (x, *ref))
        if self.p.type == ResampleParameter.NEAREST:
            rows, columns = self._nearest(old, size)
            return g.Gather(g.Gather(x, rows, axis=2), columns, axis=3)
        down, across = self._matrices(old, size)
        return g.MatMul(down, g.MatMul(x, np.ascontiguousarray(across.T)))


def _triangle(x: Array) -> Array:
    share: Array = np.maximum(1 - np.abs(x), 0)
    return share


def _cubic(x: Array) -> Array:
    """Return the cubic kernel with a slope of -1/2 (Keys 1981)."""
    x = np.abs(x)
    far = x * (x * (np.float32(2.5) - x / 2) - 4) + 2
    near = x * x * (np.float32(1.5) * x - np.float32(2.5)) + 1
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


@layer(param="downsample_param", bottoms=(1, 2))
class Downsample(_Resampling):
    """An image at top_height by top_width, or the second bottom's: weighted means without NaN.

    The corners' pixels stay corners; a pixel counts less the farther it is, up to the distance of
    the top's pixels. Where NaNs weigh more than half of the rest, the mean is NaN.

    From: lmb-freiburg/flownet2, src/caffe/layers/downsample_layer.cu (by reading alone)
    Refused: another size of one row or column; a size that may vary.
    """

    def _size(self, x: tuple[Shape, ...]) -> Shape:
        size = x[1][2:] if len(x) == 2 else (self.p.top_height, self.p.top_width)
        if size != x[0][2:] and 1 in size:
            raise UnsupportedError(f"a size of {size} divides by 0 in the fork")
        return size

    def _matrices(self, old: Shape, size: Shape) -> list[Array]:
        """Return the weights of the bottom's pixels in the top's, (top, bottom), of both axes."""
        matrices = []
        for n, m in zip(old, size, strict=True):
            scale = np.float32(n - 1) / np.float32(m - 1)
            at = np.arange(m, dtype=np.float32) / np.float32(m - 1) * np.float32(n - 1)
            pixel = np.arange(n, dtype=np.float32)
            near = np.abs(pixel - round_half_away(at)[:, None]) <= np.ceil(scale)
            away = np.asarray((pixel - at[:, None]) / scale, np.float32)
            matrices.append(_triangle(away) * near)
        return matrices

    def forward(self, x: Array, *ref: Array) -> Array:
        size = self._size((x.shape, *(each.shape for each in ref)))
        if size == x.shape[2:]:
            return x
        down, across = self._matrices(x.shape[2:], size)
        nan = np.isnan(x)
        total, weight, lost = (
            down @ (each @ across.T)
            for each in (
                np.where(nan, np.float32(0), x),
                (~nan).astype(np.float32),
                nan.astype(np.float32),
            )
        )
        share = total / weight
        return np.where(lost / weight > 0.5, np.nan, share).astype(np.float32)

    def lower(self, g: Builder, x: str, *ref: str) -> str:
        old, size = self._fixed(g, (x, *ref))
        if size == old:
            return x
        down, across = self._matrices(old, size)
        number = g.Equal(x, x)  # NaN is none
        total, weight, lost = (
            g.MatMul(down, g.MatMul(each, np.ascontiguousarray(across.T)))
            for each in (
                g.Where(number, x, np.float32(0)),
                g.Cast(number, to=FLOAT),
                g.Cast(g.Not(number), to=FLOAT),
            )
        )
        nan = g.Greater(g.Div(lost, weight), np.float32(0.5))
        return g.Where(nan, np.float32(np.nan), g.Div(total, weight))


@layer(bottoms=2)
class BilinearInterpolation(_Resampling):
    """An image at the second bottom's height and width, by bilinear interpolation between corners.

    From: ctensmeyer/caffe, src/caffe/layers/bilinear_layer.cpp
    Refused: a top of one row or column, for which the fork divides by 0; a size that may vary.
    """

    def _size(self, x: tuple[Shape, ...]) -> Shape:
        if 1 in x[1][2:]:
            raise UnsupportedError(f"a size of {x[1][2:]} divides by 0 in the fork")
        return x[1][2:]

    def _matrices(self, old: Shape, size: Shape) -> list[Array]:
        """Return the shares of the bottom's pixels in the top's, (top, bottom), of both axes."""
        matrices = []
        for n, m in zip(old, size, strict=True):
            at = np.arange(m, dtype=np.float32) * np.float32((n - 1) / np.float32(m - 1))
            away = np.abs(at[:, None] - np.arange(n, dtype=np.float32))
            matrices.append(_triangle(away))
        return matrices

    def forward(self, x: Array, ref: Array) -> Array:
        down, across = self._matrices(x.shape[2:], ref.shape[2:])
        y: Array = down @ (x @ across.T)
        return y

    def backward(self, dy: Array, x: Array, ref: Array) -> tuple[Array, None]:
        down, across = self._matrices(x.shape[2:], ref.shape[2:])
        return down.T @ (dy @ across), None

    def lower(self, g: Builder, x: str, ref: str) -> str:
        down, across = self._matrices(*self._fixed(g, (x, ref)))
        return g.MatMul(down, g.MatMul(x, np.ascontiguousarray(across.T)))


@layer()
class ChannelNorm(Layer):
    """The Euclidean norm over the channels, as one channel.

    From: lmb-freiburg/flownet2, src/caffe/layers/channel_norm_layer.cu (by reading alone)
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        if len(x) != 4:
            raise ShapeError(f"needs a bottom of 4 axes, and has {x}")
        return [(x[0], 1, *x[2:])]

    def forward(self, x: Array) -> Array:
        norm: Array = np.sqrt(np.sum(x * x, axis=1, keepdims=True))
        return norm

    def backward(self, dy: Array, x: Array) -> Array:
        return dy * x / (self.forward(x) + np.float32(1e-9))

    def lower(self, g: Builder, x: str) -> str:
        return g.Sqrt(g.ReduceSumSquare(x, int64(1)))
