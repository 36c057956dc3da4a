"""Bottoms of one shape, combined element by element."""

from __future__ import annotations

from functools import reduce

import numpy as np

from ...caffe_pb2 import EltwiseParameter, LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder
from ..layer import Layer, layer


@layer(param="eltwise_param", bottoms=(2, None), inplace=True)
class Eltwise(Layer):
    """The bottoms' product, sum with a coefficient each, or maximum (eltwise_layer.cpp).

    NaN: MAX with NaN in the first or second bottom is the second, as in Caffe; a later NaN is never
        the max. In ONNX and torch the max of NaN is NaN.
    In place: PROD's gradients are those of the overwritten first bottom in Caffe.
    Refused: SUM and MAX in place: Caffe clears the top, its first bottom, before it reads it.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        self._op = self.p.operation
        coeffs, bottoms = len(self.p.coeff), len(proto.bottom)
        if coeffs not in (0, bottoms):
            raise ShapeError(f"takes one coeff per bottom: {coeffs} for {bottoms} bottoms")
        if coeffs and self._op == EltwiseParameter.PROD:
            raise ShapeError(f"takes coeff only with operation SUM, and has {coeffs} with PROD")
        self._coeff = [np.float32(c) for c in self.p.coeff] or [np.float32(1)] * bottoms
        if self._op != EltwiseParameter.PROD and set(proto.top) & set(proto.bottom):
            name = EltwiseParameter.EltwiseOp.Name(self._op)
            raise UnsupportedError(
                f"with operation {name} cannot run in place: Caffe clears '{proto.top[0]}' first"
            )

    def shapes(self, *x: Shape) -> list[Shape | None]:
        for i, shape in enumerate(x):
            if shape != x[0]:
                raise ShapeError(f"bottom 0 is {x[0]}, and bottom {i} is {shape}")
        return [x[0]]

    def forward(self, *x: Array) -> Array:
        if self._op == EltwiseParameter.PROD:
            return reduce(np.multiply, x)
        if self._op == EltwiseParameter.MAX:
            return _largest(x)[0]
        return reduce(np.add, (c * a for c, a in zip(self._coeff, x, strict=True)))

    def backward(self, dy: Array, *x: Array) -> tuple[Array, ...]:
        if self._op == EltwiseParameter.PROD:
            return tuple(dy * self._others(i, x) for i in range(len(x)))
        if self._op == EltwiseParameter.MAX:
            winner = _largest(x)[1]
            return tuple(dy * (winner == i) for i in range(len(x)))
        return tuple(c * dy for c in self._coeff)

    def backward_left(self, dy: Array, *x: Array, left: Array, y: Array) -> tuple[Array, ...]:
        if self._op == EltwiseParameter.PROD and (y is left or not self.p.stable_prod_grad):
            raise UnsupportedError(
                "PROD has another gradient in Caffe where its memory is overwritten; give it, and "
                "the layer after it, a top of its own"
            )
        return self.backward(dy, *x)

    @np.errstate(divide="ignore", invalid="ignore")
    def _others(self, i: int, x: tuple[Array, ...]) -> Array:
        """Return the product of all bottoms but one, by division unless stable_prod_grad."""
        if self.p.stable_prod_grad:
            return reduce(np.multiply, x[:i] + x[i + 1 :])
        return reduce(np.multiply, x) / x[i]

    def lower(self, g: Builder, *x: str) -> str:
        if self._op == EltwiseParameter.PROD:
            return reduce(g.Mul, x)
        if self._op == EltwiseParameter.MAX:
            return g.Max(*x)
        if self._coeff == [1, -1]:
            return g.Sub(*x)
        terms = [a if c == 1 else g.Mul(a, c) for c, a in zip(self._coeff, x, strict=True)]
        return g.Add(*terms) if len(terms) == 2 else g.Sum(*terms)


def _largest(x: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return the max, and the index of its bottom: of equals 1, then 0, then the later ones."""
    first = x[0] > x[1]
    most, winner = np.where(first, x[0], x[1]), np.where(first, 0, 1)
    for i, a in enumerate(x[2:], start=2):
        larger = a > most
        most, winner = np.where(larger, a, most), np.where(larger, i, winner)
    return most, winner
