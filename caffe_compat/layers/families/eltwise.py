"""Bottoms of one shape, combined element by element."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from ...caffe_pb2 import EltwiseParameter, LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder
from ..layer import Layer
from ..registry import layer

LEAST = np.float32(np.finfo(np.float32).min)  # what MAX clears its top to


@layer(param="eltwise_param", bottoms=(2, None), inplace=True)
class Eltwise(Layer):
    """The bottoms' product, sum with a coefficient each, or maximum (eltwise_layer.cpp).

    NaN: MAX with NaN in the first or second bottom is the second, as in Caffe; a later NaN is never
        the max. In ONNX and torch the max of NaN is NaN.
    In place: PROD's gradients are those of the overwritten first bottom in Caffe. SUM and MAX clear
        the top, their first bottom, before they read it: it counts as 0, or as the least number.
        Its gradient overwrites the top's, from which those of the other bottoms follow.
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
        in_place = proto.top[:1] == proto.bottom[:1]
        self._clears = self.approximate = in_place and self._op != EltwiseParameter.PROD

    def shapes(self, *x: Shape) -> list[Shape | None]:
        for i, shape in enumerate(x):
            if shape != x[0]:
                raise ShapeError(f"bottom 0 is {x[0]}, and bottom {i} is {shape}")
        return [x[0]]

    def forward(self, *x: Array) -> Array:
        if self._op == EltwiseParameter.PROD:
            return reduce(np.multiply, x)
        if self._clears:
            x = (np.full_like(x[0], self._cleared), *x[1:])
        if self._op == EltwiseParameter.MAX:
            return largest(x)[0]
        return reduce(np.add, (c * a for c, a in zip(self._coeff, x, strict=True)))

    @property
    def _cleared(self) -> np.float32:
        return LEAST if self._op == EltwiseParameter.MAX else np.float32(0)

    def backward(self, dy: Array, *x: Array) -> tuple[Array, ...]:
        if self._op == EltwiseParameter.PROD:
            return tuple(dy * self._others(i, x) for i in range(len(x)))
        if self._op == EltwiseParameter.MAX:
            if self._clears:
                return (np.zeros_like(dy),) * len(x)
            winner = largest(x)[1]
            return tuple(dy * (winner == i) for i in range(len(x)))
        if self._clears:
            dy = self._coeff[0] * dy
            return dy, *(c * dy for c in self._coeff[1:])
        return tuple(c * dy for c in self._coeff)

    def backward_left(self, dy: Array, *x: Array, left: Array, y: Array) -> tuple[Array, ...]:
        if self._op == EltwiseParameter.PROD and (y is left or not self.p.stable_prod_grad):
            raise UnsupportedError(
                "PROD has another gradient in Caffe where its memory is overwritten; give it, and "
                "the layer after it, a top of its own"
            )
        if self._clears and (self._op == EltwiseParameter.MAX or self._coeff[0] != 1):
            raise UnsupportedError(
                "has another gradient in place in Caffe if its first bottom needs one; give it a "
                "top of its own"
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
            return g.Max(LEAST, *x[1:]) if self._clears else g.Max(*x)
        if self._clears:
            terms = [g.Mul(a, c) for c, a in zip(self._coeff[1:], x[1:], strict=True)]
            return terms[0] if len(terms) == 1 else g.Sum(*terms)
        if self._coeff == [1, -1]:
            return g.Sub(*x)
        terms = [a if c == 1 else g.Mul(a, c) for c, a in zip(self._coeff, x, strict=True)]
        return g.Add(*terms) if len(terms) == 2 else g.Sum(*terms)


def largest(x: tuple[Array, ...]) -> tuple[Array, Array]:
    """Return the max, and the index of its bottom: of equals 1, then 0, then the later ones."""
    first = x[0] > x[1]
    most, winner = np.where(first, x[0], x[1]), np.where(first, 0, 1)
    for i, a in enumerate(x[2:], start=2):
        larger = a > most
        most, winner = np.where(larger, a, most), np.where(larger, i, winner)
    return most, winner


@layer("Eltwise", fork="flownet2", param="eltwise_param", bottoms=(1, None), inplace=True)
class FlowNetEltwise(Eltwise):
    """Eltwise that takes a single bottom too, times its coeff.

    From: lmb-freiburg/flownet2, src/caffe/layers/eltwise_layer.cpp (by reading alone)
    """

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        return False
