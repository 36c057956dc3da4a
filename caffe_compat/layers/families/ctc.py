"""Sequences without an alignment (Graves et al. 2006)."""

from __future__ import annotations

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import FLOAT, INT64, Builder, int64
from ..layer import Layer, canonical_axis, layer


@layer(param="ctc_decoder_param", bottoms=(1, 3), tops=(1, 3))
class CTCGreedyDecoder(Layer):
    """The best class of every step without blanks and repetitions, (N, T, 1, 1); -1 behind.

    From: senlinuc/caffe_ocr, src/caffe/layers/ctc_decoder_layer.cpp (by reading alone)
    Refused: further bottoms, by which it counts errors against labels.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if len(proto.bottom) > 1 or len(proto.top) > 1:
            raise UnsupportedError(
                "decodes one bottom to one top; with labels it is an accuracy of training"
            )

    def shapes(self, x: Shape) -> list[Shape | None]:
        if len(x) < 3 or any(n != 1 for n in x[3:]):
            raise ShapeError(f"needs a bottom (steps, streams, classes), and has {x}")
        return [(x[1], x[0], 1, 1)]

    def _blank(self, classes: int) -> int:
        return classes - 1 if self.p.blank_index < 0 else int(self.p.blank_index)

    def forward(self, x: Array) -> Array:
        best = x.reshape(*x.shape[:3]).argmax(axis=2).T
        before = np.pad(best, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
        keep = best != self._blank(x.shape[2])
        if self.p.ctc_merge_repeated:
            keep &= best != before
        y = np.full(best.shape, -1, np.float32)
        for row, labels, mask in zip(y, best, keep, strict=True):
            row[: mask.sum()] = labels[mask]
        return y[:, :, None, None]

    def lower(self, g: Builder, x: str) -> str:
        steps = g.fixed(x, 0)
        best = g.ArgMax(x, axis=2, keepdims=0)
        if len(g.dims(x)) > 3:
            best = g.Reshape(best, int64(steps, -1))
        best = g.Transpose(best, perm=[1, 0])
        keep = g.Not(g.Equal(best, np.int64(self._blank(g.fixed(x, 2)))))
        if self.p.ctc_merge_repeated:
            before = g.Slice(best, int64(0), int64(steps - 1), int64(1))
            before = g.Pad(before, int64(0, 1, 0, 0), np.int64(-1))
            keep = g.And(keep, g.Not(g.Equal(best, before)))
        # A step's place is the number of those before it that stay; others go behind all.
        earlier = np.triu(np.ones((steps, steps), np.float32), 1)
        place = g.Cast(g.MatMul(g.Cast(keep, to=FLOAT), earlier), to=INT64)
        place = g.Where(keep, place, np.int64(steps))
        none = g.Sub(g.Mul(g.Cast(best, to=FLOAT), np.float32(0)), np.float32(1))
        none = g.Pad(none, int64(0, 0, 0, 1), np.float32(-1))
        y = g.ScatterElements(none, place, g.Cast(best, to=FLOAT), axis=1)
        return g.Unsqueeze(g.Slice(y, int64(0), int64(steps), int64(1)), int64(2, 3))


@layer(param="continuation_indicator_param", bottoms=(0, 1))
class ContinuationIndicator(Layer):
    """0 for the first of time_step steps and 1 for the others, (time_step, batch_size).

    From: yuqj1991/caffe_train, src/caffe/layers/continuation_indicator_layer.cpp (by reading alone)
    From: jolibrain/caffe, src/caffe/layers/continuation_indicator_layer.cpp (by reading alone): the
        size of the bottom's `axis` in place of batch_size
    Refused: batch_size and axis.
    """

    def shapes(self, *x: Shape) -> list[Shape | None]:
        if self.p.batch_size and self.p.HasField("axis"):
            raise ShapeError("gives both batch_size and axis, of two forks; one of them")
        size = self.p.batch_size
        if x and not size:
            size = x[0][canonical_axis(self.p.axis, len(x[0]))]
        if not (self.p.time_step and size):
            raise ShapeError("time_step and batch_size must be positive")
        return [(self.p.time_step, size)]

    def _steps(self) -> Array:
        y = np.ones((self.p.time_step, 1), np.float32)
        y[0] = 0
        return y

    def forward(self, *x: Array) -> Array:
        (shape,) = self.shapes(*(bottom.shape for bottom in x))
        return np.broadcast_to(self._steps(), shape or ()).copy()

    def backward(self, dy: Array, *x: Array) -> tuple[Array, ...]:
        return tuple(np.zeros_like(bottom) for bottom in x)

    def lower(self, g: Builder, *x: str) -> str:
        size = self.p.batch_size
        axis = 0 if size else canonical_axis(self.p.axis, len(g.dims(x[0])))
        size = size or g.dims(x[0])[axis]
        if size is not None:
            return g.constant(np.tile(self._steps(), size))
        open_size = g.Shape(x[0], start=axis, end=axis + 1)
        return g.Expand(self._steps(), g.Concat(int64(1), open_size, axis=0))
