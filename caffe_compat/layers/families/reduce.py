"""Axes reduced to one value, or to the indices of the largest."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np

from ...caffe_pb2 import BatchPoolParameter, ReductionParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..axes import canonical_axis
from ..builder import FLOAT, Builder, Operand, int64
from ..layer import Layer
from ..registry import layer

_BEGIN = -(2**63)  # the end of ONNX's Slice for a step of -1: before index 0


@layer(param="argmax_param")
class ArgMax(Layer):
    """The indices of the top_k largest, or their values, or both (argmax_layer.cpp).

    They are along `axis`, or without it over a whole row, as (N, 1 or 2, top_k). Of equal values
    the larger index comes first.

    NaN: with top_k 1 the search starts again behind it, as in Caffe; with more, the order is what
        C++'s partial_sort leaves there, and here NaN comes last. In ONNX and torch NaN comes first,
        or its place is left open.
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        k, axis = self.p.top_k, self.axis(len(x))
        if not x:
            raise ShapeError("needs a bottom of 1 axis or more")
        size = prod(x[1:]) if axis is None else x[axis]
        if not 1 <= k <= size:
            raise ShapeError(f"top_k {k} must be 1 to {size}, the values to choose from")
        if axis is not None:
            return [(*x[:axis], k, *x[axis + 1 :])]
        return [(x[0], 2 if self.p.out_max_val else 1, k, *(1,) * (len(x) - 3))]

    def axis(self, rank: int) -> int | None:
        """Return the axis to search along, None for all but the first."""
        return canonical_axis(self.p.axis, rank) if self.p.HasField("axis") else None

    def forward(self, x: Array) -> Array:
        axis = self.axis(x.ndim)
        rows = x.reshape(len(x), -1) if axis is None else np.moveaxis(x, axis, -1)
        keys = _behind_nan(rows) if self.p.top_k == 1 else rows
        # A stable sort of the reversed row puts the larger of two equal values' indices first.
        order = np.argsort(-keys[..., ::-1], axis=-1, kind="stable")[..., : self.p.top_k]
        index = rows.shape[-1] - 1 - order
        values = np.take_along_axis(rows, index, axis=-1)
        places = index.astype(np.float32)
        if axis is not None:
            return np.moveaxis(values if self.p.out_max_val else places, -1, axis)
        parts = [places, values] if self.p.out_max_val else [places]
        shape = (len(x), len(parts), self.p.top_k, *(1,) * (x.ndim - 3))
        return np.stack(parts, axis=1).reshape(shape)

    def lower(self, g: Builder, x: str) -> str:
        rank, both = len(g.dims(x)), self.p.out_max_val
        axis = self.axis(rank)
        if axis is not None:
            return self._values(g, x, axis) if both else self._places(g, x, axis, (axis,), x)
        rows = g.rows(x)
        places = self._places(g, rows, 1, range(1, rank), x)
        if both:
            places = g.Concat(places, self._values(g, rows, 1), axis=1)
        shape = (0, 2 if both else 1, self.p.top_k, *(1,) * (rank - 3))
        return g.Reshape(places, int64(*shape))

    def _values(self, g: Builder, x: str, axis: int) -> str:
        if self.p.top_k == 1:
            return g.ReduceMax(x, int64(axis), keepdims=1)
        return g.TopK(x, int64(self.p.top_k), axis=axis, outputs=2)[0]

    def _places(self, g: Builder, x: str, axis: int, of: Iterable[int], bottom: str) -> str:
        """Write the indices in x along `axis`, which joins the axes `of` of the bottom.

        ArgMax and TopK prefer the smaller index of equal values, so they search from the end.
        ArgMax's select_last_index is younger than opset 11 and has no kernel on GPUs.
        """
        sizes = [g.dims(bottom)[i] for i in of]
        if None in sizes:
            last: Operand = g.Sub(g.Shape(x, start=axis, end=axis + 1), int64(1))
        else:
            last = int64(prod(n for n in sizes if n is not None) - 1)
        back = g.Slice(x, int64(-1), int64(_BEGIN), int64(axis), int64(-1))
        if self.p.top_k == 1:
            places = g.ArgMax(back, axis=axis, keepdims=1)
        else:
            places = g.TopK(back, int64(self.p.top_k), axis=axis, outputs=2)[1]
        return g.Cast(g.Sub(last, places), to=FLOAT)


def _behind_nan(rows: Array) -> Array:
    """Return rows with -infinity up to their last NaN; a row that ends in NaN has its max there.

    C++ replaces the best so far by every value that is not less, and NaN is less than none.
    """
    nan = np.isnan(rows)
    if not nan.any():
        return rows
    later = np.cumsum(nan[..., ::-1], axis=-1)[..., ::-1] - nan  # the number of NaNs behind each
    rows = np.where(nan | (later > 0), np.float32(-np.inf), rows)
    rows[..., -1] = np.where(nan[..., -1], np.float32(np.inf), rows[..., -1])
    return rows


@layer(param="reduction_param")
class Reduction(Layer):
    """coeff times the sum, sum of magnitudes, sum of squares or mean (reduction_layer.cpp).

    It is over the axes from `axis` on, which vanish.
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        return [x[: canonical_axis(self.p.axis, len(x))]]

    def forward(self, x: Array) -> Array:
        axis = canonical_axis(self.p.axis, x.ndim)
        rows = x.reshape(*x.shape[:axis], -1)
        if self.p.operation == ReductionParameter.ASUM:
            rows = np.abs(rows)
        elif self.p.operation == ReductionParameter.SUMSQ:
            rows = np.square(rows)
        return np.asarray(self._coeff(x) * rows.sum(axis=-1, dtype=np.float32), np.float32)

    def _coeff(self, x: Array) -> np.float32:
        """Return the factor of the sum; a mean divides by the number of values."""
        coeff = np.float32(self.p.coeff)
        mean = self.p.operation == ReductionParameter.MEAN
        axis = canonical_axis(self.p.axis, x.ndim)
        return coeff / np.float32(prod(x.shape[axis:])) if mean else coeff

    def backward(self, dy: Array, x: Array) -> Array:
        each = np.asarray(self._coeff(x) * dy).reshape(*dy.shape, *(1,) * (x.ndim - dy.ndim))
        if self.p.operation == ReductionParameter.ASUM:
            return each * np.sign(x)
        if self.p.operation == ReductionParameter.SUMSQ:
            return 2 * each * x
        return np.broadcast_to(each, x.shape)

    def lower(self, g: Builder, x: str) -> str:
        rank = len(g.dims(x))
        op = {
            ReductionParameter.SUM: g.ReduceSum,
            ReductionParameter.ASUM: g.ReduceL1,
            ReductionParameter.SUMSQ: g.ReduceSumSquare,
            ReductionParameter.MEAN: g.ReduceMean,
        }[self.p.operation]
        y = op(x, int64(*range(canonical_axis(self.p.axis, rank), rank)), keepdims=0)
        return g.Mul(y, np.float32(self.p.coeff)) if self.p.coeff != 1 else y


@layer(param="batch_pool_param", bottoms=(1, 2))
class BatchPool(Layer):
    """The sum over the batch, each image by its weight in the second bottom; or its max or mean.

    The gradient of the mean is the top's times the batch size, as in the fork.

    From: liuyuisanai/CaffeMex_v2, src/caffe/layers/batch_pool_layer.cpp, with which
        sciencefans/Quality-Aware-Network was trained
    Refused: STOCHASTIC without weights, as in the fork.
    """

    @property
    def approximate(self) -> bool:
        return self._mean

    @property
    def _mean(self) -> bool:
        return len(self.proto.bottom) == 1 and self.p.pool == BatchPoolParameter.AVE

    def shapes(self, x: Shape, *w: Shape) -> list[Shape | None]:
        if not 1 <= len(x) <= 4:
            raise ShapeError(f"needs 1 to 4 axes, and has {x}")
        if w and prod(w[0]) != x[0]:
            raise ShapeError(f"needs a weight for each of {x[0]} images, and has {w[0]}")
        if not w and self.p.pool == BatchPoolParameter.STOCHASTIC:
            raise UnsupportedError("pool STOCHASTIC is not implemented, as in the fork")
        return [(1, *x[1:])]

    def forward(self, x: Array, *w: Array) -> Array:
        if w:
            return (w[0].reshape(1, -1) @ x.reshape(len(x), -1)).reshape(1, *x.shape[1:])
        reduce = np.mean if self._mean else np.max
        return np.asarray(reduce(x, axis=0, keepdims=True), np.float32)

    def backward(self, dy: Array, x: Array, *w: Array) -> Array | tuple[Array, Array]:
        if w:
            weights = w[0].reshape(-1, *(1,) * (x.ndim - 1))
            return dy * weights, np.sum(x * dy, axis=(*range(1, x.ndim),)).reshape(w[0].shape)
        if self._mean:
            return np.repeat(dy * np.float32(len(x)), len(x), axis=0)
        dx = np.zeros_like(x)
        np.put_along_axis(dx, x.argmax(axis=0)[None], dy, 0)
        return dx

    def lower(self, g: Builder, x: str, *w: str) -> str:
        if w:
            weights = g.Reshape(w[0], int64(-1, *(1,) * (len(g.dims(x)) - 1)))
            return g.ReduceSum(g.Mul(x, weights), int64(0))
        return g.ReduceMean(x, int64(0)) if self._mean else g.ReduceMax(x, int64(0))
