"""Pooling over a sliding window."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, prod
from typing import Any

import numpy as np

from ...caffe_pb2 import PoolingParameter
from ...errors import ShapeError, UnsupportedError
from ...fillers.rng import Rng
from ...types import Array, Dims, Shape
from ..builder import Builder, int64
from ..layer import Arrays, Layer
from ..pools import (
    LOWEST,
    divisors,
    first_maxima,
    inner_divisors,
    pad,
    reached,
    reduce,
    send_back,
    spread,
)
from ..registry import layer
from ..spatial import pool_size, pool_window, rounds_up
from ..window import Window, WindowAttributes

# The first opset at which onnxruntime up to 1.24 has too large a divisor for counted pads.
_MISCOUNTED_SINCE = 19


@layer(param="pooling_param", tops=(1, 2))
class Pooling(Layer):
    """MAX, AVE or STOCHASTIC of each window (pooling_layer.cpp, pooling_layer.cu).

    AVE divides by the window's size within the padded image; synopsys-caffe's AVE_EXC_PAD, once
    AVE_TF, within the image itself. Other forks' fields: ceil_mode and torch_pooling for
    round_mode; pad_l, pad_r, pad_t, pad_b; pad_type 1, TensorFlow's SAME. STOCHASTIC is
    sum(x^2) / sum(x) in TEST; in TRAIN the first element at which the running sum reaches a drawn
    fraction of the window's (Zeiler and Fergus 2013; Caffe has this on a GPU alone). A second top
    of MAX has the index h * width + w of the max, the first of equal ones.

    NaN: never the max, as in Caffe; in ONNX and torch the max of NaN is NaN, or left open.

    Refused: STOCHASTIC in TRAIN where a window's sum is negative; and in ONNX.
    Refused: a varying height or width with round_mode CEIL where ONNX rounds otherwise:
        MAX with stride > kernel and no pad; AVE and STOCHASTIC with stride > kernel - pad.
    Refused: a varying height or width with the second top; pad_type 1 with a stride.
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        if len(x) != 4:
            raise ShapeError(f"needs a bottom of 4 axes (num, channels, height, width), has {x}")
        window, out = self._sizes(x)
        if self.p.pool == PoolingParameter.STOCHASTIC and window.padded:
            raise ShapeError(f"pad {window.pad} is for MAX and AVE only, not for STOCHASTIC")
        tops = len(self.proto.top)
        if tops > 1 and self.p.pool != PoolingParameter.MAX:
            raise ShapeError(f"only MAX has a second top (the mask), and there are {tops} tops")
        return [(*x[:2], *out)] * tops

    def _sizes(self, x: Shape) -> tuple[Window, Shape]:
        window = pool_window(self.p, x[2:])
        out = pool_size(x[2:], window, ceil=self._ceil)
        return window.within(x[2:]), out

    @property
    def _ceil(self) -> bool:
        return rounds_up(self.p)

    def draw(self, rng: Rng, x: Shape) -> dict[str, Array]:
        if not self._draws:
            return {}
        shape = (*x[:2], *self._sizes(x)[1])
        return {"fraction": rng.uniform(0, 1, prod(shape)).reshape(shape)}

    @property
    def _draws(self) -> bool:
        return bool(self.train and self.p.pool == PoolingParameter.STOCHASTIC)

    def forward(self, x: Array, **arrays: Array) -> Array | tuple[Array, ...]:
        window, out = self._sizes(x.shape)
        if self.p.pool == PoolingParameter.MAX and len(self.proto.top) == 1:
            largest = reduce(np.fmax, pad(x, window, out, LOWEST), window, out)
            return np.fmax(largest, np.float32(LOWEST))
        if self.p.pool == PoolingParameter.MAX or self._draws:
            tops, _ = self.forward_keeping(x, **arrays)
            return tops
        total = reduce(np.add, pad(x, window, out, 0), window, out)
        if self._is_mean:
            with np.errstate(invalid="ignore"):  # 0 / 0 in a window off the image, as in Caffe
                return total / self._divisors(x.shape[2:], window, out)
        squares = reduce(np.add, pad(x * x, window, out, 0), window, out)
        return np.divide(squares, total, out=np.zeros_like(total), where=total > 0)

    def forward_keeping(
        self, x: Array, fraction: Array | None = None
    ) -> tuple[Array | tuple[Array, ...], dict[str, Any]]:
        if self._draws:
            y, place = reached(x, *self._sizes(x.shape), _drawn(fraction))
            return y, {"place": place}
        if self.p.pool != PoolingParameter.MAX:
            return self.forward(x), {}
        y, place = first_maxima(x, *self._sizes(x.shape))
        tops = (y, place.astype(np.float32))
        return tops if len(self.proto.top) > 1 else y, {"place": place}

    def backward(self, dy: Arrays, x: Array, **arrays: Any) -> Array:
        window, out = self._sizes(x.shape)
        dy = dy[0] if isinstance(dy, tuple) else dy
        if self.p.pool == PoolingParameter.MAX or self._draws:
            place = arrays.get("place")
            if place is None:
                place = self.forward_keeping(x, **arrays)[1]["place"]
            return send_back(dy, place, x.shape)
        if self._is_mean:
            with np.errstate(divide="ignore", invalid="ignore"):  # see forward
                dy = dy / self._divisors(x.shape[2:], window, out)
            return spread(dy, window, x.shape[2:])
        raise UnsupportedError("STOCHASTIC pooling has no backward pass in TEST")

    @property
    def _is_mean(self) -> bool:
        return self.p.pool in (PoolingParameter.AVE, PoolingParameter.AVE_EXC_PAD)

    def _divisors(self, size: Shape, window: Window, out: Shape) -> Array:
        inner = self.p.pool == PoolingParameter.AVE_EXC_PAD
        return (inner_divisors if inner else divisors)(size, window, out)

    def lower(self, g: Builder, x: str, **draws: str) -> tuple[str, ...]:
        grid = None
        if not self.p.global_pooling or len(self.proto.top) > 1:
            grid = self._grid(g.dims(x)[2:])
        if self.p.pool == PoolingParameter.MAX:
            if grid is None:
                return (g.GlobalMaxPool(x),)
            return _lower_max(g, x, grid, len(self.proto.top))
        if self._is_mean:
            inner = self.p.pool == PoolingParameter.AVE_EXC_PAD
            return (g.GlobalAveragePool(x) if grid is None else _lower_mean(g, x, grid, inner),)
        if self.train:
            raise UnsupportedError("STOCHASTIC pooling draws at random in TRAIN; select TEST")

        def mean(y: str) -> str:
            if grid is None:
                return g.GlobalAveragePool(y)
            return g.AveragePool(y, **grid.attributes)

        below, above = mean(x), mean(g.Mul(x, x))
        zero = np.float32(0)
        y = g.Where(g.Greater(below, zero), g.Div(above, below), zero)
        return (_append(g, y, grid.off, 0) if grid else y,)

    def _grid(self, dims: Dims) -> _Grid:
        """Return the windows in ONNX's terms: exact pads, or ceil_mode where a size varies."""
        size = tuple(n for n in dims if n is not None)
        if len(size) == 2:
            return _fixed_grid(size, *self._sizes((1, 1, *size)))
        if self.p.global_pooling or len(self.proto.top) > 1:
            raise UnsupportedError("the mask needs a fixed height and width")
        # The kernel is in the prototxt, so the window is the same for any size.
        window = pool_window(self.p, (1, 1))
        grid = _Grid(window, window.behind, self._ceil and set(window.stride) != {1})
        axes = list(zip(window.kernel, window.stride, window.pad, strict=True))
        # ONNX always drops a last window beyond the image and its first pad; Caffe only if padded,
        # and before AVE counts the second pad.
        exact = all(s <= k - p for k, s, p in axes)
        if self.p.pool == PoolingParameter.MAX:
            exact = window.padded or all(s <= k for k, s, _ in axes)
        if grid.ceil and not exact:
            raise UnsupportedError(
                f"kernel {window.kernel}, stride {window.stride}, pad {window.pad} rounded up "
                "needs a fixed height and width"
            )
        return grid


def _drawn(fraction: Array | None) -> Array:
    if fraction is None:
        raise UnsupportedError(
            "STOCHASTIC pooling draws at random in TRAIN; give the fractions, or select TEST"
        )
    return fraction


@dataclass(frozen=True)
class _Grid:
    """The positions of the windows on an image, in the terms of ONNX's pooling operators.

    Attributes:
        window: Caffe's window; its pad is before the image.
        ends: the pad behind the image.
        ceil: whether the operator rounds up the number of windows.
        off: for each axis the number of windows off the image, which no operator has.
        sizes: for each axis the size of those in Caffe, zero or less.
    """

    window: Window
    ends: Shape
    ceil: bool
    off: Shape = (0, 0)
    sizes: Shape = (0, 0)

    @property
    def overhangs(self) -> bool:
        """Whether a window ends beyond the pad, where Caffe's AVE clips it."""
        return self.ceil or any(e > p for e, p in zip(self.ends, self.window.behind, strict=True))

    @property
    def attributes(self) -> WindowAttributes:
        """The attributes of MaxPool or AveragePool."""
        return {**self.window.attributes(self.ends), "ceil_mode": 1 if self.ceil else None}


def _fixed_grid(size: Shape, window: Window, out: Shape) -> _Grid:
    axes = list(zip(size, out, window.stride, window.pad, strict=True))
    # Unpadded, Caffe keeps a last window that starts beyond the image (stride > kernel).
    off = tuple(int((o - 1) * s - p >= n) for n, o, s, p in axes)
    sizes = tuple(n + p - ((o - 1) * s - p) for n, o, s, p in axes)
    inside = tuple(o - i for o, i in zip(out, off, strict=True))
    ends = tuple(max(0, e) for e in window.overhang(size, inside))
    return _Grid(window, ends, False, off, sizes)


def _lower_max(g: Builder, x: str, grid: _Grid, tops: int) -> tuple[str, ...]:
    if tops == 1:
        return (_append(g, g.MaxPool(x, **grid.attributes), grid.off, LOWEST),)
    y, place = g.MaxPool(x, outputs=2, **grid.attributes)
    plane = np.int64(g.fixed(x, 2) * g.fixed(x, 3))  # ONNX counts from the tensor's start
    mask = g.Cast(g.Mod(place, plane), to=1)
    return _append(g, y, grid.off, LOWEST), _append(g, mask, grid.off, -1)


def _lower_mean(g: Builder, x: str, grid: _Grid, inner: bool) -> str:
    window, attributes = grid.window, grid.attributes
    if inner or not window.padded:
        pass  # the operator divides by what is in the image
    elif grid.overhangs or g.opset >= _MISCOUNTED_SINCE:
        # Caffe counts the pad and not the overhang beyond it, so zeros are padded apart. With its
        # axes the Pad is not fused by onnxruntime up to 1.24, which would be wrong.
        x = g.Pad(x, int64(*window.pad, *window.behind), np.float32(0), int64(2, 3))
        ends = [max(0, e - p) for e, p in zip(grid.ends, window.behind, strict=True)]
        attributes["pads"] = [0, 0, *ends] if any(ends) else None
    else:
        attributes["count_include_pad"] = 1
    y = g.AveragePool(x, **attributes)
    # Off the image a mean is 0 / size. An axis of size 0 makes it NaN whatever the other is.
    for axis in sorted((0, 1), key=lambda i: grid.sizes[i] == 0):
        off = tuple(n if i == axis else 0 for i, n in enumerate(grid.off))
        y = _append(g, y, off, 0 if grid.sizes[axis] else nan)
    return y


def _append(g: Builder, y: str, off: Shape, value: float) -> str:
    """Write rows and columns of one value behind the others."""
    if not any(off):
        return y
    return g.Pad(y, int64(0, 0, 0, 0, 0, 0, *off), np.float32(value))
