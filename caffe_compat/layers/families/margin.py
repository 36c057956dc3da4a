"""Scores of classes with a margin for the label's own (Liu et al. 2016, 2017; Wang et al. 2018)."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ...caffe_pb2 import MarginInnerProductParameter as Margin
from ...errors import ShapeError
from ...types import Array, Shape
from .. import labels
from ..axes import canonical_axis
from ..builder import INT64, Builder, int64
from ..layer import Arrays, Blob, Layer
from ..registry import layer


def _bent(kind: int, c: Array) -> tuple[Array, Array]:
    """Return f(cos a), which falls from 1 to 1 - 2 m while a goes from 0 to pi, and its slope."""
    sign = np.sign(c)
    if kind == Margin.SINGLE:
        return c, np.ones_like(c)
    if kind == Margin.DOUBLE:
        return 2 * sign * c**2 - 1, 4 * sign * c
    if kind == Margin.TRIPLE:
        turn = np.sign(np.abs(c) - np.float32(0.5))
        shift = sign * (1 + turn) - 2
        return turn * (4 * c**3 - 3 * c) + shift, turn * (12 * c**2 - 3)
    turn = sign * np.sign(2 * c**2 - 1)
    shift = 2 * sign + turn - 3
    return turn * (8 * c**4 - 8 * c**2 + 1) + shift, turn * (32 * c**3 - 16 * c)


def _lower_bent(g: Builder, kind: int, c: str) -> str:
    """Write the f of `_bent`."""

    def number(value: float) -> np.float32:
        return np.float32(value)

    sign, square = g.Sign(c), g.Mul(c, c)
    if kind == Margin.DOUBLE:
        return g.Sub(g.Mul(g.Mul(sign, square), number(2)), number(1))
    if kind == Margin.TRIPLE:
        turn = g.Sign(g.Sub(g.Abs(c), number(0.5)))
        cosine = g.Mul(c, g.Sub(g.Mul(square, number(4)), number(3)))
        shift = g.Sub(g.Mul(sign, g.Add(turn, number(1))), number(2))
    else:
        turn = g.Mul(sign, g.Sign(g.Sub(g.Mul(square, number(2)), number(1))))
        cosine = g.Mul(g.Mul(square, g.Sub(square, number(1))), number(8))
        cosine = g.Add(cosine, number(1))
        shift = g.Sub(g.Add(g.Mul(sign, number(2)), turn), number(3))
    return g.Add(g.Mul(turn, cosine), shift)


def _length(x: Array) -> Array:
    """Return the length of each row, (N, 1)."""
    length: Array = np.linalg.norm(x, axis=1, keepdims=True)
    return length


class _Classes(Layer):
    """A score of each class for each item, from a row of the one blob for each class."""

    filler = "weight_filler"

    def blobs(self, x: Shape, y: Shape) -> list[Blob]:
        filler = getattr(self.p, self.filler)
        return [Blob("weight", (self.p.num_output, prod(x[1:])), filler)]

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        labels.check_same_batch(x, y)
        if self.p.num_output < 1:
            raise ShapeError(f"num_output must be positive, and is {self.p.num_output}")
        if any(n != 1 for n in y[1:]) or canonical_axis(self.p.axis, len(x)) != 1:
            raise ShapeError(f"needs axis 1 and one label an item; has {x} and {y}")
        return [(x[0], self.p.num_output)]

    def classes(self, x: Shape, y: Shape) -> dict[int, int]:
        return {1: self.p.num_output}

    def _index(self, y: Array) -> labels.Index:
        """Return each item's label, (N,)."""
        label, _ = labels.read(y, (len(y), self.p.num_output), 1, None)
        return label.ravel()


@layer(param="largemargin_inner_product_param", bottoms=2, tops=2)
class LargeMarginInnerProduct(_Classes):
    """x . w for the row w of each class; for the label's (|x| |w| f(a) + l x . w) / (1 + l).

    f(a) = (-1)^k cos(m a) - 2 k for k pi <= m a <= (k + 1) pi, a the angle of x and w, m 1 to 4 by
    `type` (Liu et al. 2016, eq. 6). The second top is l = max(base (1 + gamma n)^-power,
    lambda_min), n the passes so far and `iteration`. In ONNX l is that of the first pass.

    From: wy1iu/LargeMargin_Softmax_Loss, src/caffe/layers/largemargin_inner_product_layer.cpp
    """

    unread = (1,)
    _tiny = np.float32(1e-9)

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        return [*super().shapes(x, y), (1,)][: len(self.proto.top)]

    def state(self, *x: Shape) -> dict[str, Array]:
        return {"passes": np.array([self.p.iteration], np.float32)}

    def update(self, x: Array, y: Array, **arrays: Any) -> dict[str, Array]:
        return {"passes": self._passes(arrays.get("passes")) + 1}

    def _passes(self, passes: Array | None) -> Array:
        return self.state()["passes"] if passes is None else passes

    def _lambda(self, passes: Array | None) -> Array:
        """Return the weight of the plain product in this pass, (1,)."""
        steps = 1 + np.float32(self.p.gamma) * (self._passes(passes) + 1)
        value = np.float32(self.p.base) * steps ** -np.float32(self.p.power)
        weight: Array = np.maximum(value, np.float32(self.p.lambda_min))
        return weight

    def rows(self, weight: Array) -> Array:
        """Return the rows that are multiplied."""
        return weight

    def lengths(self, x: Array, own: Array) -> Array:
        """Return the product of the lengths of x and of the label's row, (N, 1)."""
        product: Array = _length(x) * _length(own) + self._tiny
        return product

    def forward(self, x: Array, y: Array, weight: Array, passes: Array | None = None) -> Arrays:
        flat, index, rows, mix = x.reshape(len(x), -1), self._index(y), *self._parts(weight, passes)
        scores = flat @ rows.T
        plain = np.take_along_axis(scores, index[:, None], 1)
        length = self.lengths(flat, rows[index])
        bent, _ = _bent(self.p.type, plain / length)
        own = (length * bent + mix * plain) / (1 + mix)
        np.put_along_axis(scores, index[:, None], own, 1)
        return (scores, mix)[: len(self.proto.top)]

    def _parts(self, weight: Array, passes: Array | None) -> tuple[Array, Array]:
        return self.rows(weight), self._lambda(passes)

    def backward(
        self, dy: Arrays, x: Array, y: Array, weight: Array, passes: Array | None = None
    ) -> tuple[Array, None, Array]:
        dy = dy[0] if isinstance(dy, tuple) else dy
        flat, index, rows, mix = x.reshape(len(x), -1), self._index(y), *self._parts(weight, passes)
        dx, dw = dy @ rows, dy.T @ flat
        if self.p.type != Margin.SINGLE:
            own = rows[index]
            cosine = np.sum(flat * own, axis=1, keepdims=True) / self.lengths(flat, own)
            bent, slope = _bent(self.p.type, cosine)
            flow = np.take_along_axis(dy, index[:, None], 1) / (1 + mix)
            along = self.along(flat, own, slope, bent - cosine * slope)
            dx += flow * (along[0] - own)
            np.add.at(dw, index, flow * (along[1] - flat))
        return dx.reshape(x.shape), None, dw

    def along(self, x: Array, own: Array, slope: Array, rest: Array) -> tuple[Array, Array]:
        """Return the gradients of |x| |w| f by x and by w; `rest` is f - cos a f'."""
        ratio = _length(x) / (_length(own) + self._tiny)
        of_x: Array = np.asarray(slope * own + rest / ratio * x, np.float32)
        return of_x, slope * x + rest * ratio * own

    def lower_rows(self, g: Builder, weight: str) -> str:
        """Write `rows`."""
        return weight

    def lower_lengths(self, g: Builder, x: str, own: str) -> str:
        """Write `lengths`."""
        sizes = (g.Sqrt(g.ReduceSumSquare(each, int64(1))) for each in (x, own))
        return g.Add(g.Mul(*sizes), self._tiny)

    def lower(
        self, g: Builder, x: str, y: str, weight: str, passes: str = ""
    ) -> tuple[str | None, ...]:
        flat, rows, mix = g.rows(x), self.lower_rows(g, weight), self._lambda(None)
        scores = g.Gemm(flat, rows, transB=1)
        if self.p.type != Margin.SINGLE:
            index = g.Cast(labels.first(g, y, x), to=INT64)
            length = self.lower_lengths(g, flat, g.Gather(rows, index, axis=0))
            index = g.Unsqueeze(index, int64(1))
            plain = g.GatherElements(scores, index, axis=1)
            bent = _lower_bent(g, self.p.type, g.Div(plain, length))
            own = g.Add(g.Mul(length, bent), g.Mul(plain, mix))
            scores = g.ScatterElements(scores, index, g.Div(own, 1 + mix), axis=1)
        return (scores, g.constant(mix))[: len(self.proto.top)]


@layer(param="margin_inner_product_param", bottoms=2, tops=(1, 2))
class MarginInnerProduct(LargeMarginInnerProduct):
    """LargeMarginInnerProduct of rows that each pass first scales to length 1, in the blob itself.

    SphereFace's A-Softmax (Liu et al. 2017, eq. 7). As in the fork, the rows' gradient is that of
    the plain product, and the label's part of x's is scaled to weights w and x of length 1.

    From: wy1iu/sphereface, tools/caffe-sphereface/src/caffe/layers/margin_inner_product_layer.cpp
    """

    approximate = True

    def update(self, x: Array, y: Array, **arrays: Any) -> dict[str, Array]:
        return {**super().update(x, y, **arrays), "weight": self.rows(arrays["weight"])}

    def rows(self, weight: Array) -> Array:
        return weight / _length(weight)

    def lengths(self, x: Array, own: Array) -> Array:
        return _length(x)

    def along(self, x: Array, own: Array, slope: Array, rest: Array) -> tuple[Array, Array]:
        rest = np.asarray(rest / _length(x), np.float32)
        return np.asarray((slope * own + rest * x) / np.hypot(slope, rest), np.float32), x

    def lower_rows(self, g: Builder, weight: str) -> str:
        return g.Div(weight, g.Sqrt(g.ReduceSumSquare(weight, int64(1))))

    def lower_lengths(self, g: Builder, x: str, own: str) -> str:
        return g.Sqrt(g.ReduceSumSquare(x, int64(1)))


@layer(param="cosin_loss_param", bottoms=2)
class CosinL2Normalize(_Classes):
    """scale (cos a + margin [at the label]), a the angle of x and each class's row.

    CosFace (Wang et al. 2018, eq. 4). The rows' gradient is the true one; the fork adds to it the
    gradients of all passes before.

    From: yuqj1991/caffe_train, src/caffe/layers/cosin_l2_normalize_innerproduct.cpp
    """

    filler = "cosin_filler"
    _tiny = np.float32(1e-11)

    def _unit(self, x: Array) -> Array:
        unit: Array = x / np.sqrt(np.sum(x * x, axis=1, keepdims=True) + self._tiny)
        return unit

    def forward(self, x: Array, y: Array, weight: Array) -> Array:
        cosines = self._unit(x.reshape(len(x), -1)) @ self._unit(weight).T
        cosines[np.arange(len(x)), self._index(y)] += np.float32(self.p.margin)
        return cosines * np.float32(self.p.scale)

    def backward(self, dy: Array, x: Array, y: Array, weight: Array) -> tuple[Array, None, Array]:
        flat = x.reshape(len(x), -1)
        unit, rows = self._unit(flat), self._unit(weight)
        flow: Array = dy * np.float32(self.p.scale)
        dx = _through_unit(flow @ rows, flat, unit)
        return dx.reshape(x.shape), None, _through_unit(flow.T @ unit, weight, rows)

    def lower(self, g: Builder, x: str, y: str, weight: str) -> str:
        def unit(name: str) -> str:
            square = g.ReduceSumSquare(name, int64(1))
            return g.Div(name, g.Sqrt(g.Add(square, self._tiny)))

        cosines = g.Gemm(unit(g.rows(x)), unit(weight), transB=1)
        index = g.Cast(labels.first(g, y, x), to=INT64)
        ends = np.array([0, self.p.margin], np.float32)
        margins = g.OneHot(index, np.int64(self.p.num_output), ends, axis=1)
        return g.Mul(g.Add(cosines, margins), np.float32(self.p.scale))


def _through_unit(dy: Array, x: Array, unit: Array) -> Array:
    """Return the gradient of x / |x| to the rows of x."""
    along: Array = unit * np.sum(dy * unit, axis=1, keepdims=True)
    flow: Array = (dy - along) / _length(x)
    return flow
