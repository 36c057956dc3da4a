"""Layers with a weight for every pair of input and output."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..axes import canonical_axis
from ..builder import INT64, Builder, int64
from ..layer import Blob, Layer
from ..registry import layer


@layer(param="inner_product_param")
class InnerProduct(Layer):
    """y = x W^T + b, the axes of x from `axis` on flattened (inner_product_layer.cpp).

    Refused: a size of the flattened axes that varies; normalize of happynear/caffe-windows.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if self.p.normalize and len(proto.bottom) == 1:
            raise UnsupportedError(
                "normalize: true divides the weights by their lengths at every pass, and keeps them"
            )

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        return len(proto.bottom) < 2

    def blobs(self, x: Shape) -> list[Blob]:
        axis, outputs = self._check(x)
        inputs = prod(x[axis:])
        shape = (inputs, outputs) if self.p.transpose else (outputs, inputs)
        blobs = [Blob("weight", shape, self.p.weight_filler)]
        if self.p.bias_term:
            blobs.append(Blob("bias", (outputs,), self.p.bias_filler))
        return blobs

    def shapes(self, x: Shape) -> list[Shape | None]:
        axis, outputs = self._check(x)
        return [(*x[:axis], outputs)]

    def _check(self, x: Shape) -> tuple[int, int]:
        if self.p.num_output < 1:
            raise ShapeError(f"num_output must be positive, and is {self.p.num_output}")
        return canonical_axis(self.p.axis, len(x)), int(self.p.num_output)

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        axis = canonical_axis(self.p.axis, x.ndim)
        rows = x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))
        y = rows @ (weight if self.p.transpose else weight.T)
        if bias is not None:
            y += bias
        return y.reshape(*x.shape[:axis], y.shape[-1])

    def backward(
        self, dy: Array, x: Array, weight: Array, bias: Array | None = None
    ) -> tuple[Array, ...]:
        rows = dy.reshape(-1, self.p.num_output)
        dx = rows @ (weight.T if self.p.transpose else weight)
        return (dx.reshape(x.shape), *InnerProduct.backward_blobs(self, dy, x, weight, bias))

    def backward_blobs(
        self, dy: Array, x: Array, weight: Array, bias: Array | None = None
    ) -> tuple[Array, ...]:
        dy = dy.reshape(-1, self.p.num_output)
        rows = x.reshape(len(dy), -1)
        dw = rows.T @ dy if self.p.transpose else dy.T @ rows
        return (dw,) if bias is None else (dw, dy.sum(axis=0))

    def lower(self, g: Builder, x: str, weight: str, bias: str | None = None) -> str:
        rank = len(g.dims(x))
        axis = canonical_axis(self.p.axis, rank)
        for i in range(axis, rank):
            g.fixed(x, i)
        if axis == 1:
            rows = x if rank == 2 else g.Flatten(x)
            return g.Gemm(rows, weight, bias, transB=None if self.p.transpose else 1)
        if axis < rank - 1:
            x = g.Reshape(x, int64(*[0] * axis, -1))
        y = g.MatMul(x, weight if self.p.transpose else g.Transpose(weight, perm=[1, 0]))
        return y if bias is None else g.Add(y, bias)


@layer("InnerProduct", fork="training_toolbox_caffe", param="inner_product_param", bottoms=(2, 3))
class FedInnerProduct(InnerProduct):
    """y = x W^T + b, with W the second bottom, and b the third.

    From: openvinotoolkit/training_toolbox_caffe, caffe/src/caffe/layers/inner_product_layer.cpp,
        after happynear/caffe-windows
    Refused: bias_term without a third bottom, with which the fork reads a blob that it lacks; and
        transpose.
    """

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        return len(proto.bottom) > 1

    def blobs(self, *x: Shape) -> list[Blob]:
        return []

    def shapes(self, x: Shape, w: Shape, *b: Shape) -> list[Shape | None]:
        axis, outputs = self._check(x)
        if self.p.transpose or self.p.bias_term != bool(b):
            raise ShapeError("takes no transpose, and bias_term where there is a third bottom")
        if not w or w[0] != outputs or prod(w[1:]) != prod(x[axis:]):
            raise ShapeError(f"needs weights ({outputs}, {prod(x[axis:])}), and has {w}")
        if b and prod(b[0]) != outputs:
            raise ShapeError(f"needs {outputs} biases, and has {b[0]}")
        return [(*x[:axis], outputs)]

    def forward(self, x: Array, w: Array, *b: Array) -> Array:
        return super().forward(x, w.reshape(len(w), -1), b[0].ravel() if b else None)

    def backward(self, dy: Array, x: Array, w: Array, *b: Array) -> tuple[Array, ...]:
        bias = b[0].ravel() if b else None
        flows = super().backward(dy, x, w.reshape(len(w), -1), bias)
        bottoms = zip(flows, (x, w, *b), strict=True)
        return tuple(flow.reshape(bottom.shape) for flow, bottom in bottoms)

    def backward_blobs(self, *args: Any, **kwargs: Any) -> tuple[Array, ...]:
        return ()

    def lower(self, g: Builder, x: str, w: str, *b: str) -> str:
        bias = g.Reshape(b[0], int64(-1)) if b else None
        return super().lower(g, x, g.rows(w), bias)


@layer(param="embed_param")
class Embed(Layer):
    """y = W[x] + b, each x a whole number from 0 to input_dim - 1 (embed_layer.cpp)."""

    no_backward = (0,)

    def blobs(self, x: Shape) -> list[Blob]:
        for field in ("input_dim", "num_output"):
            if getattr(self.p, field) < 1:
                raise ShapeError(f"{field} must be positive, and is {getattr(self.p, field)}")
        blobs = [Blob("weight", (self.p.input_dim, self.p.num_output), self.p.weight_filler)]
        if self.p.bias_term:
            blobs.append(Blob("bias", (self.p.num_output,), self.p.bias_filler))
        return blobs

    def shapes(self, x: Shape) -> list[Shape | None]:
        return [(*x, self.p.num_output)]

    def classes(self, x: Shape) -> dict[int, int]:
        return {0: self.p.input_dim}

    def _rows(self, x: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        rows = x.astype(np.int64)
        if rows.size and not 0 <= rows.min() <= rows.max() < self.p.input_dim:
            raise ShapeError(
                f"reads rows {rows.min()} to {rows.max()} of a table of {self.p.input_dim}"
            )
        return rows

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        y = weight[self._rows(x)]
        return y if bias is None else y + bias

    def backward(
        self, dy: Array, x: Array, weight: Array, bias: Array | None = None
    ) -> tuple[Array | None, ...]:
        dw = np.zeros_like(weight)
        np.add.at(dw, self._rows(x), dy)
        return (None, dw) if bias is None else (None, dw, dy.sum(axis=tuple(range(x.ndim))))

    def lower(self, g: Builder, x: str, weight: str, bias: str | None = None) -> str:
        y = g.Gather(weight, g.Cast(x, to=INT64))
        return y if bias is None else g.Add(y, bias)
