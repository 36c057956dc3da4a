"""C3D's convolution and pooling over time, height and width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from ...caffe_pb2 import LayerParameter, Pooling3DParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Layer
from ..registry import layer
from ..spatial import conv_size
from ..window import Window
from .conv import Convolution

# -FLT_MAX, the start of Caffe's max.
_LOWEST = float(np.finfo(np.float32).min)


@layer(param="convolution3d_param")
class Convolution3D(Convolution):
    """y = W * x + b over (length, height, width) (Tran et al. 2015, C3D).

    kernel_size, stride and pad are for height and width, kernel_depth, temporal_stride and
    temporal_pad for the length. filter_group saves memory and changes nothing.

    From: facebookarchive/C3D, C3D-v1.1/src/caffe/layers/convolution3d_layer.cpp (by reading alone).
    From: the same of C3D-v1.0, by convolution_param.
    Refused: `group`, which C3D does not read.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        self.p = _param(proto, "convolution3d_param", "convolution_param")
        if self.p.group != 1:
            raise UnsupportedError(f"group {self.p.group}: C3D itself does not read it")
        if self.p.filter_group < 1 or self.p.num_output % self.p.filter_group:
            raise ShapeError(
                f"filter_group {self.p.filter_group} must divide the {self.p.num_output} outputs"
            )

    def _window(self, rank: int) -> Window:
        kernel, stride, pad = (
            _one(self.p, field, default)
            for field, default in (("kernel_size", 0), ("stride", 1), ("pad", 0))
        )
        window = Window(
            (self.p.kernel_depth, kernel, kernel),
            (self.p.temporal_stride, stride, stride),
            (self.p.temporal_pad, pad, pad),
            (1, 1, 1),
        )
        _check(window)
        return window

    def _parts(self, x: Shape) -> tuple[Shape, int, Shape, Window]:
        _check_rank(x)
        if self.p.num_output < 1:
            raise ShapeError(f"num_output must be positive, and is {self.p.num_output}")
        return x[:1], x[1], x[2:], self._window(3)

    def _lower(self, g: Builder, x: str, weight: str, bias: str | None) -> str:
        window = self._window(3)
        return g.Conv(x, weight, bias, **window.attributes())

    def _size(self, size: Shape, window: Window) -> Shape:
        return conv_size(size, window)


@layer(param="pooling3d_param")
class Pooling3D(Layer):
    """MAX or AVE of each window over (length, height, width) (Tran et al. 2015, C3D).

    The number of windows is rounded up, and the last may exceed the volume; AVE divides by its size
    within the padded volume. Only height and width are padded.

    From: facebookarchive/C3D, C3D-v1.1/src/caffe/layers/pool3d_layer.cpp (by reading alone).
    From: the same of C3D-v1.0, by pooling_param.
    Refused: STOCHASTIC, which C3D leaves out; a window off the padded volume.
    Refused: a varying length, height or width where a stride exceeds its kernel, and AVE with pad.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        self.p = _param(proto, "pooling3d_param", "pooling_param")
        if self.p.pool == Pooling3DParameter.STOCHASTIC:
            raise UnsupportedError("STOCHASTIC pooling is not implemented in C3D")
        if self.p.pad and not self._mean:
            raise ShapeError(f"pad {self.p.pad} is for AVE only")
        for field in (
            "kernel_h",
            "kernel_w",
            "stride_h",
            "stride_w",
            "pad_h",
            "pad_w",
            "global_pooling",
            "round_mode",
        ):
            if field in self.p.DESCRIPTOR.fields_by_name and self.p.HasField(field):
                raise UnsupportedError(f"{field} is not of C3D")

    @property
    def _mean(self) -> bool:
        return bool(self.p.pool == Pooling3DParameter.AVE)

    def _window(self) -> Window:
        kernel, stride, pad = self.p.kernel_size, self.p.stride, self.p.pad
        window = Window(
            (self.p.kernel_depth, kernel, kernel),
            (self.p.temporal_stride, stride, stride),
            (0, pad, pad),
            (1, 1, 1),
        )
        _check(window)
        return window

    def _sizes(self, x: Shape) -> tuple[Window, Shape]:
        _check_rank(x)
        window, out = self._window(), []
        axes = zip(x[2:], window.kernel, window.stride, window.pad, strict=True)
        for axis, (n, k, s, p) in enumerate(axes, start=2):
            count = -((k - n - 2 * p) // s) + 1
            if count < 1:
                raise ShapeError(f"kernel {window.kernel} is larger than the volume {x[2:]}")
            if (count - 1) * s - p >= n + p:
                raise ShapeError(f"the last window of axis {axis} lies off its {n} elements")
            out.append(count)
        return window, tuple(out)

    def shapes(self, x: Shape) -> list[Shape | None]:
        return [(*x[:2], *self._sizes(x)[1])]

    def forward(self, x: Array) -> Array:
        window, out = self._sizes(x.shape)
        ends = [max(0, n) for n in window.overhang(x.shape[2:], out)]
        pads = [(0, 0), (0, 0), *zip(window.pad, ends, strict=True)]
        padded = np.pad(x, pads, constant_values=0 if self._mean else _LOWEST)
        taps = (padded[tap] for tap in window.taps(out))
        if not self._mean:
            return reduce(np.maximum, taps)
        counts: Array = reduce(np.multiply.outer, self._counts(x.shape))
        mean: Array = reduce(np.add, taps) / counts
        return mean

    def _counts(self, x: Shape) -> list[Array]:
        """Return for each axis the number of elements of the padded volume in each window."""
        window, out = self._sizes(x)
        counts = []
        for n, o, k, s, p in zip(x[2:], out, window.kernel, window.stride, window.pad, strict=True):
            start = np.arange(o) * s - p
            counts.append((np.minimum(start + k, n + p) - start).astype(np.float32))
        return counts

    def lower(self, g: Builder, x: str) -> str:
        window = self._window()
        sizes = tuple(n for n in g.dims(x)[2:] if n is not None)
        pad = window.pad
        if len(sizes) < 3:
            if any(pad) or any(s > k for k, s in zip(window.kernel, window.stride, strict=True)):
                raise UnsupportedError("needs a fixed length, height and width")
            ends: Sequence[int] = pad
        else:
            _, out = self._sizes((1, 1, *sizes))
            ends = [max(0, n) for n in window.overhang(sizes, out)]
        if any(pad):
            # Caffe counts the pad and not the overhang beyond it, so zeros are padded apart.
            x = g.Pad(x, int64(0, 0, *pad, 0, 0, *pad), np.float32(0))
            ends = [max(0, e - p) for e, p in zip(ends, pad, strict=True)]
        attributes = replace(window, pad=(0, 0, 0)).attributes(ends)
        if len(sizes) < 3 and set(window.stride) != {1}:
            attributes["ceil_mode"] = 1
        return g.AveragePool(x, **attributes) if self._mean else g.MaxPool(x, **attributes)


def _param(proto: LayerParameter, newer: str, older: str) -> Any:
    """Return the message of C3D v1.1 or, where that is absent, of v1.0."""
    if proto.HasField(newer) and proto.HasField(older):
        raise ShapeError(f"either {newer} (C3D v1.1) or {older} (v1.0) may be given, not both")
    return getattr(proto, older if proto.HasField(older) else newer)


def _one(p: Any, field: str, absent: int) -> int:
    """Return a field of one number in C3D, where BVLC Caffe's message may have several."""
    value = getattr(p, field)
    if isinstance(value, int):
        return value
    if len(value) > 1:
        raise ShapeError(f"{field} must be one number, and is {list(value)}")
    return int(value[0]) if value else absent


def _check(window: Window) -> None:
    for name in ("kernel", "stride"):
        if 0 in getattr(window, name):
            raise ShapeError(f"{name} dimensions must be nonzero, and are {getattr(window, name)}")


def _check_rank(x: Shape) -> None:
    if len(x) != 5:
        raise ShapeError(f"needs 5 axes (num, channels, length, height, width), and has {x}")
