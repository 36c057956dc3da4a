"""Convolutions whose taps move with the data (Dai et al. 2017)."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..bilinear import Corners, corners, lower_sample, sample, sample_gradients
from ..builder import Builder, int64
from ..layer import Blob, Layer
from ..registry import layer
from ..spatial import conv_size, conv_window
from ..window import Window


@layer(param="deformable_convolution_param", bottoms=2)
class DeformableConvolution(Layer):
    """A convolution that reads each tap of each place where the second bottom moves it.

    The second bottom has, for each of deformable_group groups of channels and each tap, an offset
    in rows and one in columns. A tap beyond the image is 0; in the outer half of the last row or
    column it reads that row or column.

    From: unsky/Deformable-ConvNets-caffe, deformable_conv_cxx (by reading alone)
    Refused: a top of another height or width than the bottom's, whose offsets the fork misreads.
    Refused: another axis than 1; opsets below 16; a size that may vary.
    """

    def blobs(self, x: Shape, offsets: Shape) -> list[Blob]:
        channels, _ = self._check(x)
        shape = (self.p.num_output, channels // self.p.group, *self._window.kernel)
        blobs = [Blob("weight", shape, self.p.weight_filler)]
        if self.p.bias_term:
            blobs.append(Blob("bias", (self.p.num_output,), self.p.bias_filler))
        return blobs

    @property
    def _window(self) -> Window:
        return conv_window(self.p, 2)

    def _check(self, x: Shape) -> tuple[int, Shape]:
        """Return the bottom's channels, and its height and width."""
        if len(x) != 4 or self.p.axis != 1:
            raise UnsupportedError(f"needs 4 axes and axis 1, and has {x} and {self.p.axis}")
        outputs, groups, moving = self.p.num_output, self.p.group, self.p.deformable_group
        if not groups or outputs < 1 or x[1] % groups or outputs % groups:
            raise ShapeError(f"group {groups} must divide {x[1]} channels and {outputs} outputs")
        if not moving or x[1] % moving:
            raise ShapeError(f"deformable_group {moving} must divide the {x[1]} channels")
        if conv_size(x[2:], self._window) != x[2:]:
            raise UnsupportedError("its top is of another size than its bottom")
        return x[1], x[2:]

    def shapes(self, x: Shape, offsets: Shape) -> list[Shape | None]:
        _, size = self._check(x)
        wanted = (x[0], 2 * prod(self._window.kernel) * self.p.deformable_group, *size)
        if offsets != wanted:
            raise ShapeError(f"needs offsets of {wanted}, and has {offsets}")
        return [(x[0], self.p.num_output, *size)]

    def _taps(self, size: Shape) -> Array:
        """Return the rows and columns of every tap at every place, (2, taps, height, width)."""
        (down, across), window = self._window.kernel, self._window
        tap = np.indices((down, across)).reshape(2, -1, 1, 1)
        place = np.indices(size)[:, None]
        stride, pad, dilation = (
            np.array(each).reshape(2, 1, 1, 1)
            for each in (window.stride, window.pad, window.dilation)
        )
        at: Array = (place * stride - pad + tap * dilation).astype(np.float32)
        return at

    def _places(self, x: Array, offsets: Array) -> tuple[Array, Corners, NDArray[np.bool_]]:
        """Return the moving groups as images, the pixels at their taps, and which are inside."""
        groups, size = len(x) * self.p.deformable_group, x.shape[2:]
        taps = self._taps(size)
        moves = offsets.reshape(groups, taps.shape[1], 2, *size)
        rows, columns = (taps[axis] + moves[:, :, axis] for axis in (0, 1))
        inside = (rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1])
        places = corners((size[0], size[1]), rows, columns, zeros=False)
        return x.reshape(groups, -1, *size), places, inside[:, None]

    def _by_group(self, columns: Array) -> Array:
        """Return (images, groups, channels times taps, pixels)."""
        groups, pixels = self.p.group, prod(columns.shape[-2:])
        return columns.reshape(len(columns) // self.p.deformable_group, groups, -1, pixels)

    def forward(self, x: Array, offsets: Array, weight: Array, bias: Array | None = None) -> Array:
        images, places, inside = self._places(x, offsets)
        columns = self._by_group(np.where(inside, sample(images, places), np.float32(0)))
        filters = weight.reshape(self.p.group, -1, columns.shape[2])
        y: Array = (filters @ columns).reshape(len(x), -1, *x.shape[2:])
        return y if bias is None else y + bias[:, None, None]

    def backward(
        self, dy: Array, x: Array, offsets: Array, weight: Array, bias: Array | None = None
    ) -> tuple[Array, ...]:
        images, places, inside = self._places(x, offsets)
        columns = np.where(inside, sample(images, places), np.float32(0))
        grouped = self._by_group(columns)
        flow = dy.reshape(len(x), self.p.group, -1, grouped.shape[3])
        filters = weight.reshape(self.p.group, -1, grouped.shape[2])
        dw = np.sum(flow @ grouped.swapaxes(2, 3), axis=0).reshape(weight.shape)
        dcolumns = (filters.swapaxes(1, 2) @ flow).reshape(columns.shape)
        dx, *moved = sample_gradients(np.where(inside, dcolumns, np.float32(0)), images, places)
        gradients = (dx.reshape(x.shape), np.stack(moved, axis=2).reshape(offsets.shape), dw)
        return gradients if bias is None else (*gradients, np.sum(dy, axis=(0, 2, 3)))

    def lower(self, g: Builder, x: str, offsets: str, weight: str, bias: str | None = None) -> str:
        channels, height, width = (g.fixed(x, axis) for axis in (1, 2, 3))
        taps = self._taps((height, width))
        moves = g.Reshape(offsets, int64(-1, taps.shape[1], 2, height, width))
        parts = g.Split(moves, int64(1, 1), axis=2, outputs=2)
        rows, columns = (
            g.Reshape(g.Add(g.Squeeze(part, int64(2)), each), int64(0, -1, width))
            for part, each in zip(parts, taps, strict=True)
        )
        inside = [
            g.And(g.GreaterOrEqual(at, np.float32(0)), g.Less(at, np.float32(n)))
            for at, n in ((rows, height), (columns, width))
        ]
        moving = channels // self.p.deformable_group
        images = g.Reshape(x, int64(-1, moving, height, width))
        samples = lower_sample(g, images, rows, columns, zeros=False, size=(height, width))
        samples = g.Where(g.Unsqueeze(g.And(*inside), int64(1)), samples, np.float32(0))
        inner = channels // self.p.group * taps.shape[1]
        samples = g.Reshape(samples, int64(-1, self.p.group, inner, height * width))
        filters = g.view(weight, (self.p.group, self.p.num_output // self.p.group, inner))
        y = g.Reshape(g.MatMul(filters, samples), int64(-1, self.p.num_output, height, width))
        return y if bias is None else g.Add(y, g.view(bias, (self.p.num_output, 1, 1)))
