"""Layers that join and cut blobs."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError
from ...types import Array, Shape
from ..axes import canonical_axis
from ..builder import Builder, Tensors, int64
from ..layer import Arrays, Layer
from ..registry import layer


@layer(param="concat_param", bottoms=(1, None))
class Concat(Layer):
    """The bottoms one after another along `axis` (concat_layer.cpp)."""

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        _one_name(self.p, "concat_dim")

    def axis(self, rank: int) -> int:
        return _named_axis(self.p, "concat_dim", rank)

    def shapes(self, *x: Shape) -> list[Shape | None]:
        axis = self.axis(len(x[0]))
        for shape in x[1:]:
            if len(shape) != len(x[0]) or _without(shape, axis) != _without(x[0], axis):
                raise ShapeError(f"bottoms {x[0]} and {shape} differ besides axis {axis}")
        return [_with(x[0], axis, sum(shape[axis] for shape in x))]

    def shares(self, *x: Shape) -> bool:
        return len(x) == 1

    def forward(self, *x: Array) -> Array:
        return np.concatenate(x, axis=self.axis(x[0].ndim))

    def backward(self, dy: Array, *x: Array) -> tuple[Array, ...]:
        axis = self.axis(dy.ndim)
        return tuple(np.split(dy, np.cumsum([a.shape[axis] for a in x])[:-1], axis=axis))

    def lower(self, g: Builder, *x: str) -> str:
        return g.Concat(*x, axis=self.axis(len(g.dims(x[0])))) if len(x) > 1 else x[0]


@layer(param="slice_param", tops=(1, None))
class Slice(Layer):
    """The bottom cut along `axis`, at slice_point or evenly (slice_layer.cpp)."""

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        _one_name(self.p, "slice_dim")

    def axis(self, rank: int) -> int:
        return _named_axis(self.p, "slice_dim", rank)

    def sizes(self, n: int) -> list[int]:
        """Return the tops' sizes along an axis of `n` elements."""
        tops, points = len(self.proto.top), list(self.p.slice_point)
        if not points:
            if n % tops:
                raise ShapeError(f"{tops} tops do not divide the axis of {n} evenly")
            return [n // tops] * tops
        if len(points) != tops - 1:
            raise ShapeError(
                f"slice_point is given {len(points)} times for {tops} tops; one fewer than tops"
            )
        if tops > n:
            raise ShapeError(f"{tops} tops from an axis of {n}")
        edges = [0, *points, n]
        sizes = [end - start for start, end in pairwise(edges)]
        if min(sizes) <= 0:
            raise ShapeError(f"slice_point {points} must rise, and lie between 0 and {n}")
        return sizes

    def shapes(self, x: Shape) -> list[Shape | None]:
        axis = self.axis(len(x))
        return [_with(x, axis, n) for n in self.sizes(x[axis])]

    def shares(self, *x: Shape) -> bool:
        return len(self.proto.top) == 1

    def forward(self, x: Array) -> tuple[Array, ...]:
        axis = self.axis(x.ndim)
        return tuple(np.split(x, np.cumsum(self.sizes(x.shape[axis]))[:-1], axis=axis))

    def backward(self, dy: Arrays, x: Array) -> Array:
        dys = dy if isinstance(dy, tuple) else (dy,)
        return np.concatenate(dys, axis=self.axis(x.ndim))

    def lower(self, g: Builder, x: str) -> Tensors:
        axis, tops = self.axis(len(g.dims(x))), len(self.proto.top)
        if tops == 1:
            return x
        if not self.p.slice_point and (axis == 0 or g.dims(x)[axis] is None):  # of any batch
            return g.Split(x, axis=axis, num_outputs=tops, outputs=tops)
        return g.Split(x, int64(*self.sizes(g.fixed(x, axis))), axis=axis, outputs=tops)


@layer(tops=(1, None))
class Split(Layer):
    """The bottom under several names (split_layer.cpp); in ONNX it vanishes."""

    def shapes(self, x: Shape) -> list[Shape | None]:
        return [x] * len(self.proto.top)

    def shares(self, *x: Shape) -> bool:
        return True

    def forward(self, x: Array) -> tuple[Array, ...]:
        return (x,) * len(self.proto.top)

    def backward(self, dy: Arrays, x: Array) -> Array:
        return reduce(np.add, dy) if isinstance(dy, tuple) else dy

    def lower(self, g: Builder, x: str) -> tuple[str, ...]:
        return (x,) * len(self.proto.top)


@layer(param="tile_param")
class Tile(Layer):
    """The bottom `tiles` times along `axis` (tile_layer.cpp)."""

    def shapes(self, x: Shape) -> list[Shape | None]:
        axis = canonical_axis(self.p.axis, len(x))
        if self.p.tiles < 1:
            raise ShapeError(f"tiles must be positive, and is {self.p.tiles}")
        return [_with(x, axis, x[axis] * self.p.tiles)]

    def forward(self, x: Array) -> Array:
        return np.concatenate([x] * self.p.tiles, axis=self.p.axis)

    def backward(self, dy: Array, x: Array) -> Array:
        axis = canonical_axis(self.p.axis, x.ndim)
        tiles = dy.reshape(*x.shape[:axis], self.p.tiles, *x.shape[axis:])
        dx: Array = tiles.sum(axis=axis, dtype=dy.dtype)
        return dx

    def lower(self, g: Builder, x: str) -> str:
        rank = len(g.dims(x))
        repeats = np.ones(rank, np.int64)
        repeats[self.p.axis] = self.p.tiles
        return g.Tile(x, repeats)


def _one_name(p: Any, legacy: str) -> None:
    if p.HasField("axis") and p.HasField(legacy):
        raise ShapeError(f"gives both axis {p.axis} and {legacy} {getattr(p, legacy)}; one of them")


def _named_axis(p: Any, legacy: str, rank: int) -> int:
    """Return the axis by its name or its legacy one, which never counts from the end."""
    return canonical_axis(getattr(p, legacy) if p.HasField(legacy) else p.axis, rank)


def _with(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]
