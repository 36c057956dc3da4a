"""Blocks of positions that move to channels or to the batch, and back (TensorFlow's)."""

from __future__ import annotations

from math import prod

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from .. import blocks
from ..builder import Builder, int64
from ..layer import Layer
from ..registry import layer

_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


@layer(param="depth_to_space_param")
class DepthToSpace(Layer):
    """Channels as squares of block_size^2 positions (TensorFlow's depth_to_space; ONNX's CRD).

    data_format is NHWC by default, whose channels are the last axis.

    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe,
        src/caffe/layers/depth_to_space_layer.cpp
    Refused: a data_format other than NHWC, NCHW, DCR and CRD.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if self.p.data_format not in ("NHWC", "NCHW", "DCR", "CRD"):
            raise UnsupportedError(f"data_format {self.p.data_format!r} is not supported")
        self._channels_first = self.p.data_format == "CRD"
        self._channels_last = self.p.data_format == "NHWC"

    def shapes(self, x: Shape) -> list[Shape | None]:
        if not self._channels_last or len(x) != 4:
            return [blocks.spread_shape(x, self.p.block_size)]
        n, channels, height, width = blocks.spread_shape((x[0], x[3], *x[1:3]), self.p.block_size)
        return [(n, height, width, channels)]

    def forward(self, x: Array) -> Array:
        x = x.transpose(_TO_NCHW) if self._channels_last else x
        y = blocks.spread(x, self.p.block_size, channels_first=self._channels_first)
        return y.transpose(_TO_NHWC) if self._channels_last else y

    def backward(self, dy: Array, x: Array) -> Array:
        dy = dy.transpose(_TO_NCHW) if self._channels_last else dy
        dx = blocks.gather(dy, self.p.block_size, channels_first=self._channels_first)
        return dx.transpose(_TO_NHWC) if self._channels_last else dx

    def lower(self, g: Builder, x: str) -> str:
        x = g.Transpose(x, perm=_TO_NCHW) if self._channels_last else x
        y = blocks.lower_spread(g, x, self.p.block_size, channels_first=self._channels_first)
        return g.Transpose(y, perm=_TO_NHWC) if self._channels_last else y


@layer(param="space_to_batch_nd_param")
class SpaceToBatchND(Layer):
    """The axes behind the first, padded, in blocks whose places are items of the batch.

    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe,
        src/caffe/layers/space_to_batch_nd_layer.cpp
    """

    def _parts(self, x: Shape) -> tuple[list[int], list[tuple[int, int]], list[int]]:
        """Return the blocks, the pads of all axes and the padded sizes of the blocked ones."""
        block, pads = list(self.p.block_shape), list(self.p.paddings)
        if len(pads) != 2 * len(block) or len(block) >= len(x) or 0 in block:
            raise ShapeError(f"{len(block)} block_shape and {len(pads)} paddings for {x}")
        pairs = list(zip(pads[::2], pads[1::2], strict=True))
        sizes = [n + a + b for n, (a, b) in zip(x[1:], pairs, strict=False)]
        if any(n % b for n, b in zip(sizes, block, strict=True)):
            raise ShapeError(f"block_shape {block} does not divide the padded {sizes}")
        return block, [(0, 0), *pairs, *[(0, 0)] * (len(x) - 1 - len(block))], sizes

    def _split(self, x: Shape) -> tuple[list[int], list[int], Shape]:
        """Return the padded bottom's shape with the blocks apart, their order, and the top's."""
        block, _, sizes = self._parts(x)
        count = len(block)
        pairs = [n for size, b in zip(sizes, block, strict=True) for n in (size // b, b)]
        split = [x[0], *pairs, *x[1 + count :]]
        order = [*range(2, 2 * count + 1, 2), 0, *range(1, 2 * count, 2)]
        order += range(2 * count + 1, len(split))
        top = (x[0] * prod(block), *pairs[::2], *x[1 + count :])
        return split, order, top

    def shapes(self, x: Shape) -> list[Shape | None]:
        return [self._split(x)[2]]

    def forward(self, x: Array) -> Array:
        split, order, top = self._split(x.shape)
        return np.pad(x, self._parts(x.shape)[1]).reshape(split).transpose(order).reshape(top)

    def backward(self, dy: Array, x: Array) -> Array:
        split, order, _ = self._split(x.shape)
        _, pads, sizes = self._parts(x.shape)
        apart = dy.reshape([split[i] for i in order]).transpose(np.argsort(order))
        whole = apart.reshape(x.shape[0], *sizes, *x.shape[1 + len(sizes) :])
        inside = (slice(a, a + n) for n, (a, _) in zip(x.shape, pads, strict=True))
        return whole[tuple(inside)]

    def lower(self, g: Builder, x: str) -> str:
        split, order, top = self._split(g.shape(x))
        _, pads, _ = self._parts(g.shape(x))
        ends = [[side[i] for side in pads] for i in (0, 1)]
        y = g.Pad(x, int64(*ends[0], *ends[1])) if any(map(any, pads)) else x
        return g.Reshape(g.Transpose(g.Reshape(y, int64(*split)), perm=order), int64(*top))


@layer(param="batch_to_space_nd_param")
class BatchToSpaceND(Layer):
    """Items of the batch as the places of blocks along the axes behind it, then cropped.

    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe,
        src/caffe/layers/batch_to_space_nd_layer.cpp
    """

    def _parts(self, x: Shape) -> tuple[list[int], list[tuple[int, int]], list[int]]:
        """Return the blocks, the crops and the sizes before these."""
        block, crops = list(self.p.block_shape), list(self.p.crops)
        if len(crops) != 2 * len(block) or len(block) >= len(x) or 0 in block:
            raise ShapeError(f"{len(block)} block_shape and {len(crops)} crops for {x}")
        if x[0] % prod(block):
            raise ShapeError(f"block_shape {block} does not divide the batch of {x}")
        pairs = list(zip(crops[::2], crops[1::2], strict=True))
        sizes = [n * b for n, b in zip(x[1:], block, strict=False)]
        if any(a + b >= n for n, (a, b) in zip(sizes, pairs, strict=True)):
            raise ShapeError(f"crops {crops} leave nothing of {sizes}")
        return block, pairs, sizes

    def shapes(self, x: Shape) -> list[Shape | None]:
        block, pairs, sizes = self._parts(x)
        cut = [n - a - b for n, (a, b) in zip(sizes, pairs, strict=True)]
        return [(x[0] // prod(block), *cut, *x[1 + len(block) :])]

    def _split(self, x: Shape) -> tuple[list[int], list[int], Shape]:
        """Return the bottom's shape with the blocks first, their order, and the whole shape."""
        block, _, sizes = self._parts(x)
        count = len(block)
        split = [*block, x[0] // prod(block), *x[1:]]
        order = [count, *(n for i in range(count) for n in (count + 1 + i, i))]
        order += range(2 * count + 1, len(split))
        return split, order, (x[0] // prod(block), *sizes, *x[1 + count :])

    def _inside(self, x: Shape) -> tuple[slice, ...]:
        _, pairs, sizes = self._parts(x)
        cut = (slice(a, n - b) for n, (a, b) in zip(sizes, pairs, strict=True))
        return (slice(None), *cut)

    def forward(self, x: Array) -> Array:
        split, order, whole = self._split(x.shape)
        return x.reshape(split).transpose(order).reshape(whole)[self._inside(x.shape)]

    def backward(self, dy: Array, x: Array) -> Array:
        split, order, whole = self._split(x.shape)
        full = np.zeros(whole, np.float32)
        full[self._inside(x.shape)] = dy
        apart = full.reshape([split[i] for i in order]).transpose(np.argsort(order))
        return apart.reshape(x.shape)

    def lower(self, g: Builder, x: str) -> str:
        split, order, whole = self._split(g.shape(x))
        y = g.Reshape(g.Transpose(g.Reshape(x, int64(*split)), perm=order), int64(*whole))
        cuts = self._inside(g.shape(x))[1:]
        ends = [int64(*(getattr(cut, end) for cut in cuts)) for end in ("start", "stop")]
        return g.Slice(y, *ends, int64(*range(1, 1 + len(cuts))))
