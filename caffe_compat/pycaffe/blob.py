"""`Blob` and the vectors of pycaffe: arrays that are views of memory shared with the net."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from math import prod
from typing import Any, SupportsIndex, TypeVar, overload

from ..types import Array, Shape
from .memory import Memory

T = TypeVar("T")

_MOST_AXES, _MOST_VALUES = 32, 2**31 - 1  # blob.hpp: kMaxBlobAxes, and INT_MAX in Reshape


class Changes:
    """Counts what moves memory or changes a shape, in any net; a plan made before is checked."""

    count = 0


class Blob:
    """A named array of a net, with the gradient at it.

    `data` and `diff` are float32 arrays of the blob's shape: views of its memory, so that what is
    written into them is what the net computes with.
    """

    def __init__(self, shape: Shape = (0,)) -> None:
        self._shape = tuple(shape)
        self._count = prod(shape)
        self._data, self._diff = Memory(self._count), Memory(self._count)

    @property
    def data(self) -> Array:
        """The values."""
        array = self._data.array
        if array.size != self._count:
            array = array[: self._count]
        return array.reshape(self._shape)

    @property
    def diff(self) -> Array:
        """The gradient."""
        array = self._diff.array
        if array.size != self._count:
            array = array[: self._count]
        return array.reshape(self._shape)

    @property
    def shape(self) -> IntVec:
        """The sizes of the axes."""
        return IntVec(self._shape)

    @property
    def count(self) -> int:
        """The number of values."""
        return self._count

    @property
    def num(self) -> int:
        """The size of axis 0; 1 where there is none."""
        return self._legacy(0)

    @property
    def channels(self) -> int:
        """The size of axis 1; 1 where there is none."""
        return self._legacy(1)

    @property
    def height(self) -> int:
        """The size of axis 2; 1 where there is none."""
        return self._legacy(2)

    @property
    def width(self) -> int:
        """The size of axis 3; 1 where there is none."""
        return self._legacy(3)

    def _legacy(self, axis: int) -> int:
        if len(self._shape) > 4:
            raise ValueError(
                f"Cannot use legacy accessors on Blobs with > 4 axes: the shape is {self._shape}"
            )
        return self._shape[axis] if axis < len(self._shape) else 1

    def reshape(self, *shape: int, **kwargs: Any) -> None:
        """Change the shape; the layers behind follow at the net's next forward or reshape.

        Raises:
            RuntimeError: keywords are given.
            TypeError: a size is no whole number, or one sequence is given in the place of sizes.
            ValueError: a size is negative, or the count too large.
        """
        if kwargs:
            raise RuntimeError("Blob.reshape takes no kwargs")
        try:
            sizes = tuple(operator.index(size) for size in shape)
        except TypeError:
            kind = next(type(n).__name__ for n in shape if not hasattr(n, "__index__"))
            raise TypeError(
                f"Blob.reshape takes the sizes as whole numbers, reshape(1, 3, 224, 224), and was "
                f"given a {kind}: {shape}"
            ) from None
        resize(self, sizes)

    def __repr__(self) -> str:
        return f"<Blob {' x '.join(map(str, self._shape)) or 'scalar'}>"


def shape_of(blob: Blob) -> Shape:
    """Return a blob's shape as a tuple."""
    return blob._shape


def memories(blob: Blob) -> tuple[Memory, Memory]:
    """Return the memory of a blob's values and that of its gradient."""
    return blob._data, blob._diff


def resize(blob: Blob, shape: Shape) -> None:
    """Give a blob a shape; its memory stays where it is large enough, as in Caffe.

    Raises:
        ValueError: what Blob::Reshape aborts at.
    """
    if shape == blob._shape:
        return
    count = prod(shape)
    if min(shape, default=1) < 0 or len(shape) > _MOST_AXES or count > _MOST_VALUES:
        raise ValueError(
            f"a blob has no negative size, at most {_MOST_AXES} axes and {_MOST_VALUES} values; "
            f"the shape is {shape}"
        )
    Changes.count += 1
    blob._shape, blob._count = shape, count
    if count > blob._data.size:
        blob._data = Memory(count)
    if count > blob._diff.size:
        blob._diff = Memory(count)


def share_data(blob: Blob, other: Blob) -> None:
    """Make a blob's values the other's memory (Blob::ShareData)."""
    if blob._data is not other._data:
        Changes.count += 1
        blob._data = other._data


def share_diff(blob: Blob, other: Blob) -> None:
    """Make a blob's gradient the other's memory (Blob::ShareDiff)."""
    if blob._diff is not other._diff:
        Changes.count += 1
        blob._diff = other._diff


class _Vec(list[T]):
    """A std::vector as pycaffe shows it: a list whose slices are of its own type."""

    @overload
    def __getitem__(self, index: SupportsIndex, /) -> T: ...

    @overload
    def __getitem__(self, index: slice, /) -> Any: ...

    def __getitem__(self, index: Any, /) -> Any:
        try:
            item = super().__getitem__(index)
        except IndexError:
            raise IndexError("Index out of range") from None
        return type(self)(item) if isinstance(index, slice) else item


class IntVec(_Vec[int]):
    """Whole numbers."""


class StringVec(_Vec[str]):
    """Names."""


class DtypeVec(_Vec[float]):
    """Numbers."""


class BoolVec(_Vec[bool]):
    """Flags."""


class RawBlobVec(_Vec[Blob]):
    """The bottoms or the tops of a layer."""


class BlobVec(_Vec[Blob]):
    """The parameter blobs of a layer."""

    def add_blob(self, *shape: int, **kwargs: Any) -> None:
        """Append a blob of zeros; a Python layer's setup makes its parameters so."""
        if kwargs:
            raise RuntimeError("BlobVec.add_blob takes no kwargs")
        blob = Blob()
        blob.reshape(*shape)
        self.append(blob)


class LayerVec(_Vec[Any]):
    """The layers of a net."""


class NetVec(_Vec[Any]):
    """Nets, as a solver's test_nets."""


class Named(OrderedDict[str, T]):
    """Blobs or layers by name, with the methods that dicts had in Python 2."""

    def iteritems(self) -> Iterator[tuple[str, T]]:
        """Return an iterator over names and values."""
        return iter(self.items())

    def iterkeys(self) -> Iterator[str]:
        """Return an iterator over the names."""
        return iter(self.keys())

    def itervalues(self) -> Iterator[T]:
        """Return an iterator over the values."""
        return iter(self.values())

    def has_key(self, name: str) -> bool:
        """Return whether there is a value of that name."""
        return name in self


def named(names: Iterable[str], values: Iterable[T]) -> Named[T]:
    """Return values by name; of a name's several uses the last counts, as in pycaffe."""
    return Named(zip(names, values, strict=False))
