"""Convolution, its adjoint, and the columns of both."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...types import Array, Dims, Shape
from ..axes import canonical_axis
from ..builder import Builder, Operator, int64
from ..columns import columns, convolve, correlate, fold, scatter
from ..layer import Arrays, Blob, Layer
from ..registry import layer
from ..spatial import conv_size, conv_window, deconv_size
from ..window import Window

_END = np.iinfo(np.int64).max  # of an axis, whatever its size


@layer(param="convolution_param", bottoms=(1, None), tops=(1, None))
class Convolution(Layer):
    """y = W * x + b over any number of spatial axes, by groups of channels (conv_layer.cpp).

    Forks' fields: `hole` is DeepLab v1's dilation; pad_l, pad_r, pad_t, pad_b and pad_type (1 is
    TensorFlow's SAME) are synopsys-caffe's.

    Refused: dilation 0; pad_type 1 with a stride or a dilation.
    Refused: axis > 1 where a spatial size, or two sizes before the channels, vary.
    """

    def blobs(self, *x: Shape) -> list[Blob]:
        _, channels, _, window = self._parts(x[0])
        blobs = [Blob("weight", (*self._ends(channels), *window.kernel), self.p.weight_filler)]
        if self.p.bias_term:
            blobs.append(Blob("bias", (self.p.num_output,), self.p.bias_filler))
        return blobs

    def shapes(self, *x: Shape) -> list[Shape | None]:
        lead, _, size, window = self._parts(x[0])
        for i, other in enumerate(x):
            if other != x[0]:
                raise ShapeError(f"bottom 0 is {x[0]} and bottom {i} is {other}; must be alike")
        if len(self.proto.top) != len(x):
            raise ShapeError(f"has {len(x)} bottom and {len(self.proto.top)} top blobs; one each")
        return [(*lead, self.p.num_output, *self._size(size, window)) for _ in x]

    def forward(self, *x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, ...]:
        return tuple(self._apply(bottom, weight, bias) for bottom in x)

    def _apply(self, x: Array, weight: Array, bias: Array | None) -> Array:
        lead, channels, size, window = self._parts(x.shape)
        y = self._filter(x.reshape(prod(lead), channels, *size), weight, size, window)
        if bias is not None:
            y += bias.reshape(-1, *(1,) * len(size))
        return y.reshape(*lead, *y.shape[1:])

    def backward(
        self, dy: Arrays, *x: Array, weight: Array, bias: Array | None = None
    ) -> tuple[Array, ...]:
        _, _, size, window = self._parts(x[0].shape)
        grads = (
            self._adjoint(d, weight, size, window).reshape(x[0].shape)
            for d in self._flows(dy, x[0].shape)
        )
        return (*grads, *self.backward_blobs(dy, *x, weight=weight, bias=bias))

    def backward_blobs(
        self, dy: Any, *x: Array, weight: Array, bias: Array | None = None
    ) -> tuple[Array, ...]:
        lead, channels, size, window = self._parts(x[0].shape)
        flows = self._flows(dy, x[0].shape)
        images = [bottom.reshape(prod(lead), channels, *size) for bottom in x]
        pairs = [self._relate(i, d, window) for i, d in zip(images, flows, strict=True)]
        dw = np.sum(pairs, axis=0).reshape(weight.shape)
        if bias is None:
            return (dw,)
        return dw, np.sum([d.sum((0, *range(2, d.ndim))) for d in flows], axis=0)

    def _flows(self, dy: Any, x: Shape) -> list[Array]:
        """Return the gradients at the tops as (images, channels, spatial axes...)."""
        lead, _, size, window = self._parts(x)
        top = (prod(lead), self.p.num_output, *self._size(size, window))
        return [d.reshape(top) for d in (dy if isinstance(dy, tuple) else (dy,))]

    def lower(self, g: Builder, *x: str, weight: str, bias: str | None = None) -> tuple[str, ...]:
        return tuple(self._lower(g, bottom, weight, bias) for bottom in x)

    def _lower(self, g: Builder, x: str, weight: str, bias: str | None) -> str:
        rank = len(g.dims(x))
        axis = canonical_axis(self.p.axis, rank)
        channels = g.fixed(x, axis)
        window = conv_window(self.p, rank - axis - 1)
        if rank == 2 and axis == 1 and self.p.group == 1:
            return g.Gemm(x, weight, bias, transB=self._gemm_transposes)
        attributes = window.attributes(self._pads_behind(g.dims(x)[axis + 1 :], window))
        if not window.kernel:  # a spatial axis of size 1 makes it a convolution
            weight = g.view(weight, (*self._ends(channels), 1))
            attributes["kernel_shape"] = [1]
        operator: Operator = getattr(g, self._operator)
        group = self.p.group if self.p.group > 1 else None
        y = operator(_to_images(g, x, axis), weight, bias, group=group, **attributes)
        return _from_images(g, y, x, axis, self.p.num_output, lambda n: self._size(n, window))

    def _parts(self, x: Shape) -> tuple[Shape, int, Shape, Window]:
        """Return the axes before the channels, the channels, the spatial size and the window."""
        axis = canonical_axis(self.p.axis, len(x))
        window = conv_window(self.p, len(x) - axis - 1)
        channels, outputs, group = x[axis], self.p.num_output, self.p.group
        if outputs < 1:
            raise ShapeError(f"num_output must be positive, and is {outputs}")
        if group < 1 or channels % group or outputs % group:
            raise ShapeError(
                f"group {group} must divide the {channels} channels and the {outputs} outputs"
            )
        return x[:axis], channels, x[axis + 1 :], window

    # Deconvolution overrides the rest.

    _operator = "Conv"
    _gemm_transposes: int | None = 1

    def _ends(self, channels: int) -> Shape:
        """Return the first two axes of the weights."""
        return (self.p.num_output, channels // self.p.group)

    def _size(self, size: Shape, window: Window) -> Shape:
        return conv_size(size, window)

    def _pads_behind(self, size: Dims, window: Window) -> Shape:
        return window.ends(size)

    def _filter(self, x: Array, weight: Array, size: Shape, window: Window) -> Array:
        return convolve(x, weight, window, self.p.group)

    def _adjoint(self, dy: Array, weight: Array, size: Shape, window: Window) -> Array:
        return scatter(dy, weight, size, window, self.p.group)

    def _relate(self, x: Array, dy: Array, window: Window) -> Array:
        return correlate(x, dy, window, self.p.group)


@layer(param="convolution_param", bottoms=(1, None), tops=(1, None))
class Deconvolution(Convolution):
    """The adjoint of Convolution in x, plus b (Zeiler et al. 2010; deconv_layer.cpp).

    Refused: dilation 0.
    Refused: axis > 1 where a spatial size, or two sizes before the channels, vary.
    """

    _operator = "ConvTranspose"
    _gemm_transposes = None

    def _ends(self, channels: int) -> Shape:
        return (channels, self.p.num_output // self.p.group)

    def _size(self, size: Shape, window: Window) -> Shape:
        return deconv_size(size, window)

    def _pads_behind(self, size: Dims, window: Window) -> Shape:
        return window.behind

    def _filter(self, x: Array, weight: Array, size: Shape, window: Window) -> Array:
        return scatter(x, weight, deconv_size(size, window), window, self.p.group)

    def _adjoint(self, dy: Array, weight: Array, size: Shape, window: Window) -> Array:
        return convolve(dy, weight, window, self.p.group)

    def _relate(self, x: Array, dy: Array, window: Window) -> Array:
        return correlate(dy, x, window, self.p.group)


@layer(param="convolution_param")
class Im2col(Layer):
    """The elements of each window of a convolution, as channels (im2col_layer.cpp).

    Refused: dilation 0.
    Refused: axis > 1 where a spatial size, or two sizes before the channels, vary.
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        axis, size, window = self._parts(x)
        return [(*x[:axis], x[axis] * prod(window.kernel), *conv_size(size, window))]

    def forward(self, x: Array) -> Array:
        axis, size, window = self._parts(x.shape)
        images = x.reshape(prod(x.shape[:axis]), *x.shape[axis:])
        (shape,) = self.shapes(x.shape)
        return columns(images, window, conv_size(size, window)).reshape(shape)

    def backward(self, dy: Array, x: Array) -> Array:
        axis, size, window = self._parts(x.shape)
        images = (prod(x.shape[:axis]), x.shape[axis])
        columns = dy.reshape(*images, prod(window.kernel), *conv_size(size, window))
        return fold(columns, window, size).reshape(x.shape)

    def lower(self, g: Builder, x: str) -> str:
        rank = len(g.dims(x))
        axis = canonical_axis(self.p.axis, rank)
        channels = g.fixed(x, axis)
        window = conv_window(self.p, rank - axis - 1)
        y = _lower_columns(g, _to_images(g, x, axis), window, g.dims(x)[axis + 1 :], channels)
        outputs = channels * prod(window.kernel)
        return _from_images(g, y, x, axis, outputs, lambda n: conv_size(n, window))

    def _parts(self, x: Shape) -> tuple[int, Shape, Window]:
        axis = canonical_axis(self.p.axis, len(x))
        if axis == len(x) - 1:
            raise ShapeError(f"needs a spatial axis after axis {axis}, and its bottom is {x}")
        return axis, x[axis + 1 :], conv_window(self.p, len(x) - axis - 1)


def _lower_columns(g: Builder, x: str, window: Window, size: Dims, channels: int) -> str:
    """Write the elements of each tap as channels, tap by tap, and then in Caffe's order.

    A convolution with filters of 0 and 1 would spread NaN and infinity over their neighbours.
    """
    axes = int64(*range(2, 2 + len(size)))
    ends = window.ends(size)
    if any(window.pad + ends):
        x = g.Pad(x, int64(0, 0, *window.pad, 0, 0, *ends))  # OpenVINO reads no Pad with axes
    last = [extent - 1 for extent in window.extent]
    taps = []
    for tap in product(*map(range, window.kernel)):
        start = [t * d for t, d in zip(tap, window.dilation, strict=True)]
        stop = [a - n if a < n else _END for a, n in zip(start, last, strict=True)]
        taps.append(g.Slice(x, int64(*start), int64(*stop), axes, int64(*window.stride)))
    order = np.arange(len(taps) * channels).reshape(len(taps), channels).T
    return g.Gather(g.Concat(*taps, axis=1), order.reshape(-1), axis=1)


# -- ONNX: Caffe's channels may stand on any axis, Conv's on the second ------------------------


def _to_images(g: Builder, x: str, axis: int) -> str:
    """Write a bottom as (images, channels, spatial axes...), with one spatial axis at least."""
    dims = g.dims(x)
    spatial = len(dims) - axis - 1
    if axis == 1 and spatial:
        return x
    if axis == 0 and spatial:
        return g.Unsqueeze(x, int64(0))
    size = [g.fixed(x, axis + i) for i in range(1 + spatial)]
    return g.Reshape(x, int64(-1, *size) if spatial else int64(-1, *size, 1))


def _from_images(
    g: Builder, y: str, x: str, axis: int, channels: int, resize: Callable[[Shape], Shape]
) -> str:
    """Undo `_to_images`: write the axes before the channels as the bottom `x` has them."""
    dims = g.dims(x)
    spatial = range(axis + 1, len(dims))
    if axis == 1 and spatial:
        return y
    if axis == 0 and spatial:
        return g.Squeeze(y, int64(0))
    varying = [i for i in range(axis) if dims[i] is None]
    lead = [-1 if i in varying[:1] else g.fixed(x, i) for i in range(axis)]
    out = resize(tuple(g.fixed(x, i) for i in spatial))
    return g.Reshape(y, int64(*lead, channels, *out))
