"""The values of a blob under other axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from ...caffe_pb2 import LayerParameter
from ...errors import ShapeError, UnsupportedError
from ...types import Array, Shape
from .. import blocks
from ..axes import canonical_axis
from ..builder import Builder, int64
from ..layer import Layer
from ..registry import layer


class _Axis(NamedTuple):
    """The source of an axis of a reshaped top; without either it has the remaining size."""

    copies: int | None = None
    size: int | None = None


class _Reshaping(Layer):
    """The bottom's values in their order, under other axes."""

    def axes(self, rank: int) -> list[_Axis]:
        """Return the top's axes for a bottom of that rank."""
        raise NotImplementedError

    def shares(self, *x: Shape) -> bool:
        return True

    def shapes(self, x: Shape) -> list[Shape | None]:
        axes = self.axes(len(x))
        sizes = [x[a.copies] if a.copies is not None else a.size for a in axes]
        count, rest = prod(x), prod(n for n in sizes if n is not None)
        if None in sizes and (rest <= 0 or count % rest):
            raise ShapeError(
                f"the {count} values of {x} are no multiple of the {rest} that the other axes take"
            )
        shape = tuple(count // rest if n is None else n for n in sizes)
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
                "their place; give the inputs fixed shapes",
                remedies=("inputs",),
            )
        return g.Reshape(x, int64(*target))


def _target(dims: Sequence[int | None], axes: Sequence[_Axis]) -> list[int]:
    """Return ONNX's `shape` for Reshape: 0 copies the size of that axis, -1 is the rest."""
    copied = {a.copies for a in axes}
    others = [n for i, n in enumerate(dims) if i not in copied]
    fixed = prod(a.size for a in axes if a.size is not None)
    rest = -1 if None in others else prod(n for n in others if n is not None) // fixed
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
    """The bottom under `shape`: 0 copies an axis, -1 is the rest (reshape_layer.cpp)."""

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


@layer("Reshape", fork="synopsys-caffe", fields=("pixelshuffler",), param="reshape_param")
class PixelShuffle(Layer):
    """Blocks of pixelshuffler^2 channels as squares of positions (Shi et al. 2016, eq. 4).

    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe, src/caffe/layers/reshape_layer.cpp
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        return [blocks.spread_shape(x, self.p.pixelshuffler)]

    def forward(self, x: Array) -> Array:
        return blocks.spread(x, self.p.pixelshuffler, channels_first=True)

    def backward(self, dy: Array, x: Array) -> Array:
        return blocks.gather(dy, self.p.pixelshuffler, channels_first=True)

    def lower(self, g: Builder, x: str) -> str:
        return blocks.lower_spread(g, x, self.p.pixelshuffler, channels_first=True)


@layer(param="squeeze_param")
class Squeeze(_Reshaping):
    """The bottom without the axes of size 1 in `axis`; without all of them if none is named.

    From: foss-for-synopsys-dwc-arc-processors/synopsys-caffe, src/caffe/layers/squeeze_layer.cpp
    Refused: no axis named where an axis varies.
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        gone = self._gone(x)
        if any(x[i] != 1 for i in gone):
            raise ShapeError(f"axes {gone} of {x} are not all of size 1")
        return [tuple(n for i, n in enumerate(x) if i not in gone)]

    def _gone(self, x: Sequence[int | None]) -> list[int]:
        if self.p.axis:
            return sorted({canonical_axis(axis, len(x)) for axis in self.p.axis})
        return [i for i, n in enumerate(x) if n == 1]

    def lower(self, g: Builder, x: str) -> str:
        dims = g.dims(x) if self.p.axis else g.shape(x)
        return g.Squeeze(x, int64(*self._gone(dims)))
