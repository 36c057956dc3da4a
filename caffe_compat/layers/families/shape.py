"""Layers that move, join and cut blobs without computing on their values."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from ..builder import Builder, Tensors, int64
from ..layer import Arrays, Layer, canonical_axis, layer


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
        """How an axis of `n` elements is divided among the tops."""
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
        if g.dims(x)[axis] is None and not self.p.slice_point:
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


class _Axis(NamedTuple):
    """Where an axis of a reshaped top comes from; neither given: it takes what is left."""

    copies: int | None = None
    size: int | None = None


class _Reshaping(Layer):
    """The bottom's values in their order, under other axes."""

    def axes(self, rank: int) -> list[_Axis]:
        """The top's axes for a bottom of that rank."""
        raise NotImplementedError

    def shares(self, *x: Shape) -> bool:
        return True

    def shapes(self, x: Shape) -> list[Shape | None]:
        axes = self.axes(len(x))
        known = [x[a.copies] if a.copies is not None else a.size for a in axes]
        count, rest = prod(x), prod(n for n in known if n is not None)
        if None in known and (rest <= 0 or count % rest):
            raise ShapeError(
                f"the {count} values of {x} are no multiple of the {rest} that the other axes take"
            )
        shape = tuple(count // rest if n is None else n for n in known)
        if prod(shape) != count or min(shape, default=0) < 0:
            raise ShapeError(f"{x} with {count} values cannot take the shape {shape}")
        return [shape]

    def forward(self, x: Array) -> Array:
        shape = self.shapes(x.shape)[0]
        assert shape is not None
        return x.reshape(shape)

    def backward(self, dy: Array, x: Array) -> Array:
        return dy.reshape(x.shape)

    def lower(self, g: Builder, x: str) -> str:
        dims = g.dims(x)
        axes = self.axes(len(dims))
        if axes == [_Axis(i) for i in range(len(dims))]:
            return x
        target = _target(dims, axes)
        if target.count(-1) > 1:
            raise UnsupportedError(
                "more than one axis of its top varies beside those that keep "
                "their place; give the inputs fixed shapes"
            )
        return g.Reshape(x, int64(*target))


def _target(dims: Sequence[int | None], axes: Sequence[_Axis]) -> list[int]:
    """ONNX's `shape` for Reshape: 0 keeps the axis in that place, -1 takes what is left."""
    copied = {a.copies for a in axes}
    others = [n for i, n in enumerate(dims) if i not in copied]
    stated = prod(a.size for a in axes if a.size is not None)
    rest = -1 if None in others else prod(n for n in others if n is not None) // stated
    target = []
    for place, a in enumerate(axes):
        if a.copies is None:
            target.append(rest if a.size is None else a.size)
        elif a.copies == place:
            target.append(0)
        else:
            size = dims[a.copies]
            target.append(-1 if size is None else size)
    return target


@layer(param="flatten_param")
class Flatten(_Reshaping):
    """Axes axis..end_axis as one (flatten_layer.cpp)."""

    def axes(self, rank: int) -> list[_Axis]:
        first = canonical_axis(self.p.axis, rank)
        last = canonical_axis(self.p.end_axis, rank)
        if first > last + 1:
            raise ShapeError(f"axis {first} lies behind end_axis {last}")
        middle = _Axis(first) if first == last else _Axis(size=1) if first > last else _Axis()
        before, after = map(_Axis, range(first)), map(_Axis, range(last + 1, rank))
        return [*before, middle, *after]

    def lower(self, g: Builder, x: str) -> str:
        rank = len(g.dims(x))
        if rank > 2 and self.axes(rank) == [_Axis(0), _Axis()]:
            return g.Flatten(x, axis=1)
        return super().lower(g, x)


@layer(param="reshape_param")
class Reshape(_Reshaping):
    """The bottom under `shape`: 0 keeps an axis, -1 takes what is left (reshape_layer.cpp)."""

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if list(self.p.shape.dim).count(-1) > 1:
            raise ShapeError(f"shape {list(self.p.shape.dim)} has more than one -1")

    def axes(self, rank: int) -> list[_Axis]:
        start = self.p.axis if self.p.axis >= 0 else rank + self.p.axis + 1
        if not 0 <= start <= rank:
            raise ShapeError(f"axis {self.p.axis} out of range for a {rank}-D blob")
        end = rank if self.p.num_axes == -1 else start + self.p.num_axes
        if self.p.num_axes < -1 or end > rank:
            raise ShapeError(
                f"num_axes {self.p.num_axes} from axis {start} out of range for a {rank}-D blob"
            )
        new = []
        for i, n in enumerate(self.p.shape.dim):
            if n == 0 and start + i >= rank:
                raise ShapeError(
                    f"the 0 in place {i} of shape has no bottom axis {start + i} to copy"
                )
            new.append(_Axis(start + i) if n == 0 else _Axis() if n == -1 else _Axis(size=n))
        return [*map(_Axis, range(start)), *new, *map(_Axis, range(end, rank))]


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


@layer(param="permute_param")
class Permute(Layer):
    """The axes in the order of `order`, then the others.

    From: weiliu89/caffe, branch ssd, permute_layer.cpp
    """

    def order(self, rank: int) -> list[int]:
        """The bottom's axis behind each of the top's."""
        given = list(self.p.order)
        if any(axis >= rank for axis in given) or len(set(given)) < len(given):
            raise ShapeError(f"order {given} must name axes of a {rank}-D blob, each once")
        return [*given, *(axis for axis in range(rank) if axis not in given)]

    def shapes(self, x: Shape) -> list[Shape | None]:
        return [tuple(x[axis] for axis in self.order(len(x)))]

    def shares(self, *x: Shape) -> bool:
        order = self.order(len(x[0]))
        return order == sorted(order)

    def forward(self, x: Array) -> Array:
        return np.ascontiguousarray(x.transpose(self.order(x.ndim)))

    def backward(self, dy: Array, x: Array) -> Array:
        return dy.transpose(np.argsort(self.order(x.ndim)))

    def lower(self, g: Builder, x: str) -> str:
        order = self.order(len(g.dims(x)))
        return x if order == sorted(order) else g.Transpose(x, perm=order)


def _one_name(p: Any, legacy: str) -> None:
    if p.HasField("axis") and p.HasField(legacy):
        raise ShapeError(f"gives both axis {p.axis} and {legacy} {getattr(p, legacy)}; one of them")


def _named_axis(p: Any, legacy: str, rank: int) -> int:
    """The axis, under its name or its legacy one (which never counts from the end)."""
    return canonical_axis(getattr(p, legacy) if p.HasField(legacy) else p.axis, rank)


def _with(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]
