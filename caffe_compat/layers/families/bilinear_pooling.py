"""Compact bilinear pooling (Gao et al. 2016), and the square root that goes with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Layer
from ..registry import layer


@layer(param="compact_bilinear_param", bottoms=2)
class CompactBilinear(Layer):
    """Sums of products of a channel of each bottom, over all positions: num_output random sums.

    The product of channels i and j, with a random sign each, is in sum (h_i + g_j) mod num_output,
    times num_output, since the fork's transform back is not scaled. h, g and the signs are those of
    glibc's rand after srand(1), which the fork draws at each start.

    From: gy20073/compact_bilinear_pooling, src/caffe/layers/compact_bilinear_layer.cpp
    Refused: sum_pool: false, with sums at each position.
    """

    def shapes(self, x: Shape, y: Shape) -> list[Shape | None]:
        if self.p.num_output < 2 or self.p.num_output % 2:
            raise ShapeError(f"num_output {self.p.num_output} must be even and positive")
        if not self.p.sum_pool:
            raise UnsupportedError("sum_pool: false is not supported")
        if len(x) != 4 or (x[0], *x[2:]) != (y[0], *y[2:]):
            raise ShapeError(f"needs bottoms of 4 axes, alike but for the channels: {x}, {y}")
        return [(x[0], self.p.num_output, 1, 1)]

    def _sketch(self, first: int, second: int) -> tuple[NDArray[np.int64], Array]:
        """Return the sum that each product of channels is in, and its factor, (first, second)."""
        numbers = iter(_rand(2 * (first + second)))
        places, signs = [], []
        for channels in (first, second):
            drawn = np.array([next(numbers) for _ in range(2 * channels)]).reshape(2, -1)
            places.append(drawn[0] % self.p.num_output)
            signs.append(2 * (drawn[1] % 2) - 1)
        place = (places[0][:, None] + places[1]) % self.p.num_output
        return place, np.asarray(np.outer(*signs) * self.p.num_output, np.float32)

    def forward(self, x: Array, y: Array) -> Array:
        place, factor = self._sketch(x.shape[1], y.shape[1])
        products = np.einsum("nihw,njhw->nij", x, y) * factor
        sums = [np.bincount(place.ravel(), each.ravel(), self.p.num_output) for each in products]
        return np.array(sums, np.float32).reshape(len(x), -1, 1, 1)

    def backward(self, dy: Array, x: Array, y: Array) -> tuple[Array, Array]:
        place, factor = self._sketch(x.shape[1], y.shape[1])
        flow = dy.reshape(len(dy), -1)[:, place] * factor
        return np.einsum("nij,njhw->nihw", flow, y), np.einsum("nij,nihw->njhw", flow, x)

    def lower(self, g: Builder, x: str, y: str) -> str:
        place, factor = self._sketch(g.fixed(x, 1), g.fixed(y, 1))
        flat = [g.Reshape(each, int64(0, g.fixed(each, 1), -1)) for each in (x, y)]
        products = g.Mul(g.MatMul(flat[0], g.Transpose(flat[1], perm=[0, 2, 1])), factor)
        products = g.Pad(g.Reshape(products, int64(0, -1)), int64(0, 0, 0, 1))
        sums = g.ReduceSum(g.Gather(products, self._members(place), axis=1), int64(2), keepdims=0)
        return g.Reshape(sums, int64(0, -1, 1, 1))

    def _members(self, place: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the products in each sum; the last one of all is 0 and fills the rows."""
        flat = place.ravel()
        order = np.argsort(flat, kind="stable")
        count = np.bincount(flat, minlength=self.p.num_output)
        column = np.arange(flat.size) - np.repeat(np.cumsum(count) - count, count)
        members = np.full((self.p.num_output, count.max()), flat.size, np.int64)
        members[flat[order], column] = order
        return members


def _rand(count: int) -> list[int]:
    """Return the first numbers of glibc's rand after srand(1): additive feedback (r3 + r31)."""
    state = [1]
    for _ in range(30):
        state.append(16807 * state[-1] % 2147483647)
    state += state[:3]
    while len(state) < 344 + count:
        state.append((state[-3] + state[-31]) % 2**32)
    return [number >> 1 for number in state[344:]]


@layer()
class SignedSqrt(Layer):
    """sqrt(x) where x >= 0, else -sqrt(-x); its gradient is dy / (2 (|y| + 0.03)), as the fork's.

    From: gy20073/compact_bilinear_pooling, src/caffe/layers/signed_sqrt_layer.cpp
    """

    approximate = True

    def forward(self, x: Array) -> Array:
        root: Array = np.sqrt(np.abs(x))
        return np.where(x < 0, -root, root)

    def backward(self, dy: Array, x: Array) -> Array:
        return dy / (np.float32(2) * (np.abs(self.forward(x)) + np.float32(0.03)))

    def lower(self, g: Builder, x: str) -> str:
        return g.Mul(g.Sign(x), g.Sqrt(g.Abs(x)))
