"""HashNet's activation and loss, for codes of bits (Cao et al. 2017)."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError
from ...types import Array, Shape
from .. import labels
from ..axes import canonical_axis
from ..builder import FLOAT, Builder
from ..layer import Layer
from ..registry import layer


@layer(param="scale_tanh_param", inplace=True)
class ScaleTanH(Layer):
    """tanh(s x), s = init_scale, and from pass step_size - 1 on init_scale (1 + gamma m)^power.

    m is the last multiple of step_size up to n + 1 in the n-th pass. In ONNX s is that of the first
    pass.

    From: thuml/HashNet, caffe/src/caffe/layers/scale_tanh_layer.cpp
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if not self.p.step_size:
            raise ShapeError("step_size must be positive, and is 0")

    def state(self, *x: Shape) -> dict[str, Array]:
        return {"passes": np.zeros(1, np.float32)}

    def update(self, x: Array, **arrays: Any) -> dict[str, Array]:
        return {"passes": arrays.get("passes", np.zeros(1, np.float32)) + 1}

    def _scale(self, passes: Array | None) -> np.float32:
        count = 2 if passes is None else int(passes[0]) + 2  # the net's setup counts as one
        multiple = count - count % self.p.step_size
        scale = np.float32(self.p.init_scale)
        factor = np.float32(1 + self.p.gamma * multiple) ** np.float32(self.p.power)
        return np.float32(scale * factor if multiple else scale)

    def forward(self, x: Array, passes: Array | None = None) -> Array:
        y: Array = np.tanh(x * self._scale(passes))
        return y

    def backward(self, dy: Array, x: Array, passes: Array | None = None) -> Array:
        y = self.forward(x, passes)
        return self.backward_left(dy, x, left=y, y=y, passes=passes)

    def backward_left(
        self, dy: Array, x: Array, *, left: Array, y: Array, passes: Array | None = None
    ) -> Array:
        dx: Array = dy * self._scale(passes) * (1 - y * y)
        return dx

    def lower(self, g: Builder, x: str, passes: str = "") -> str:
        return g.Tanh(g.Mul(x, self._scale(None)))


@layer(param="pairwise_param", bottoms=4, loss=True)
class PairwiseLoss(Layer):
    """The mean of log(1 + exp p) - s p over pairs, p = sigmoid_param a_i . b_j, s = 1 if similar.

    Bottoms: codes a, their labels, codes b, their labels. A pair is similar where the product of
    its labels is positive, and does not count where that is below 0 or at least the labels' length.
    Similar pairs count class_num times. From l_threshold on, unless it is negative, the loss of a
    pair is p, or 0 if it is similar.

    As in the fork the gradient is twice that, whatever the loss weight and l_threshold are; with
    continous_similarity times 4 c, c the product's square over those of each label with itself, or
    1/4 for 0; and of each bottom's gradient the first N numbers alone are times sigmoid_param.

    From: thuml/HashNet, caffe/src/caffe/layers/pairwise_loss_layer.cu
    """

    approximate = True
    blocked = (1, 3)

    def shapes(self, a: Shape, y: Shape, b: Shape, z: Shape) -> list[Shape | None]:
        labels.check_same_batch(a, y)
        sizes = [(shape[:1], prod(shape[1:])) for shape in (a, y, b, z)]
        if sizes[0] != sizes[2] or sizes[1] != sizes[3] or canonical_axis(self.p.axis, len(a)) != 1:
            raise ShapeError(f"needs two batches of codes and labels alike; has {a, y, b, z}")
        return [()]

    def _pairs(self, *x: Array) -> tuple[Array, Array, Array, Array]:
        """Return of each pair p, its similarity 1 or 0, its weight, and the factor c."""
        a, y, b, z = (each.reshape(len(each), -1) for each in x)
        product = y @ z.T
        own = [np.square(each).sum(axis=1) for each in (y, z)]
        own = [np.where(each == 0, np.float32(1), each) for each in own]
        share = np.square(product) / np.outer(*own)
        share = np.where(share == 0, np.float32(0.25), share)
        similar = (product > 0).astype(np.float32)
        weight = np.where(product > 0, np.float32(self.p.class_num), np.float32(1))
        weight *= (product >= 0) & (product < y.shape[1])
        return np.float32(self.p.sigmoid_param) * (a @ b.T), similar, weight, share

    def forward(self, *x: Array) -> Array:
        p, similar, weight, _ = self._pairs(*x)
        losses = np.log(1 + np.exp(p)) - similar * p
        if self.p.l_threshold >= 0:
            losses = np.where(p >= np.float32(self.p.l_threshold), p * (1 - similar), losses)
        mean = np.abs(losses * weight).sum() / (np.abs(weight).sum() or np.float32(1))
        return np.asarray(mean * (self.p.l_lambda > 0), np.float32)

    def backward(self, dy: Array, *x: Array) -> tuple[Array, None, Array, None]:
        p, similar, weight, share = self._pairs(*x)
        flow: Array = np.asarray(2 * (1 / (1 + np.exp(-p)) - similar) * weight, np.float32)
        if self.p.continous_similarity:
            flow = flow * share * 4
        flow *= np.float32(self.p.l_lambda / (np.abs(weight).sum() or 1))
        a, _, b, _ = (each.reshape(len(each), -1) for each in x)
        da: Array = flow @ b
        db: Array = flow.T @ a
        for each in (da, db):
            each.reshape(-1)[: len(a)] *= np.float32(self.p.sigmoid_param)
        return da.reshape(x[0].shape), None, db.reshape(x[2].shape), None

    def lower(self, g: Builder, *x: str) -> str:
        a, y, b, z = (g.rows(each) for each in x)
        product, p = (g.Gemm(one, other, transB=1) for one, other in ((y, z), (a, b)))
        p = g.Mul(p, np.float32(self.p.sigmoid_param))
        positive, zero = g.Greater(product, np.float32(0)), np.float32(0)
        similar = g.Cast(positive, to=FLOAT)
        width = np.float32(prod(g.fixed(x[1], i) for i in range(1, len(g.dims(x[1])))))
        known = g.And(g.GreaterOrEqual(product, zero), g.Less(product, width))
        weight = g.Where(positive, np.float32(self.p.class_num), np.float32(1))
        weight = g.Mul(weight, g.Cast(known, to=FLOAT))
        losses = g.Sub(g.Log(g.Add(g.Exp(p), np.float32(1))), g.Mul(similar, p))
        if self.p.l_threshold >= 0:
            plain = g.Mul(p, g.Sub(np.float32(1), similar))
            losses = g.Where(g.GreaterOrEqual(p, np.float32(self.p.l_threshold)), plain, losses)
        total, count = (
            g.ReduceSum(g.Abs(each), keepdims=0) for each in (g.Mul(losses, weight), weight)
        )
        count = g.Where(g.Equal(count, zero), np.float32(1), count)
        return g.Mul(g.Div(total, count), np.float32(self.p.l_lambda > 0))
