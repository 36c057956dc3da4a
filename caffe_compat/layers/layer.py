"""The base class of layers, and the registration of layer types.

A layer type states one fact three times, side by side: the shapes of its tops, their values in
numpy, and the same in ONNX (`lower`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np
from google.protobuf.message import Message

from .. import fillers
from ..caffe_pb2 import TRAIN, FillerParameter, LayerParameter
from ..errors import CaffeCompatError, ShapeError, UnsupportedError
from ..fillers.rng import Rng
from ..types import Array, Shape

Arity: TypeAlias = int | tuple[int, int | None]

Arrays: TypeAlias = Array | tuple[Array, ...]
"""One array, or one for each top."""


@dataclass(frozen=True)
class Blob:
    """A parameter blob that a layer needs.

    Attributes:
        name: the keyword under which forward, backward and lower receive it.
        shape: Caffe's N-D shape; () is one value.
        filler: the source of its first values; None is zeros.
    """

    name: str
    shape: Shape
    filler: FillerParameter | None = None


class Layer:
    """One layer of a net, built from its LayerParameter, without shapes or data.

    Bottoms arrive as positional arguments and parameter blobs as keywords named by
    `Blob.name`, alike in `forward` (arrays), `backward` (arrays) and `lower` (ONNX names).

    Attributes:
        type: Caffe's type string, the registry's key.
        fork: the fork of Caffe that defines the type so, where forks differ; None for the only
            definition, and for the one that holds unless a fork is named.
        param: the field of LayerParameter that configures this type; `self.p` reads it.
        bottoms: the number of bottoms: one number, or (min, max or None).
        tops: likewise for tops.
        inplace: whether a top may overwrite its bottom.
        varies: axes of the tops whose size depends on the data of each run (Filter's rows).
        loss: whether the first top has loss weight 1 unless the prototxt gives another, and exists
            even if the prototxt names none (Caffe's LossLayer).
        one_batch: whether the first axis of every top is the batch (a data layer's).
        has_source: whether the prototxt names a file or a database that has the tops' shapes.
    """

    type: ClassVar[str]
    types: ClassVar[tuple[str, ...]]
    fork: ClassVar[str | None] = None
    param: ClassVar[str | None] = None
    bottoms: ClassVar[Arity] = 1
    tops: ClassVar[Arity] = 1
    inplace: ClassVar[bool] = False
    varies: ClassVar[tuple[int, ...]] = ()
    loss: ClassVar[bool] = False
    one_batch: ClassVar[bool] = False
    has_source: ClassVar[bool] = False

    def __init__(self, proto: LayerParameter) -> None:
        self.proto = proto
        self.name: str = proto.name
        self.p: Any = getattr(proto, self.param) if self.param else None
        if self.p is not None:
            _check_numbers(self.p, f"{self.param}")
        self.train: bool = proto.phase == TRAIN

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        """Return whether a layer can be this fork's; used where no fork is named.

        Args:
            proto: the layer.
            stored: the shapes of its blobs in the weights file; None where there is no file.
        """
        return True

    def blobs(self, *x: Shape) -> list[Blob]:
        """Return the parameter blobs for bottoms of these shapes, in Caffe's order."""
        return []

    def shapes(self, *x: Shape) -> list[Shape | None]:
        """Return the tops' shapes, None if only the caller knows it (a data layer's channels)."""
        return [x[0]]

    def feeds(self) -> tuple[int, ...]:
        """Return the indices of the tops that the caller feeds: those of layers that read data."""
        return ()

    def shares(self, *x: Shape) -> bool:
        """Return whether in Caffe the tops are the first bottom's own memory (ShareData)."""
        return False

    def classes(self, *x: Shape) -> dict[int, int]:
        """Return the bottoms of class indices, as {bottom: number of classes}."""
        return {}

    def fill(self, rng: Rng, *x: Shape, blobs: Sequence[Blob] | None = None) -> list[Array]:
        """Return the parameter blobs as Caffe's LayerSetUp leaves them, drawn from `rng` alike.

        Args:
            rng: the random numbers.
            x: the bottoms' shapes.
            blobs: `self.blobs` with other fillers; by default with its own.
        """
        specs = self.blobs(*x) if blobs is None else blobs
        return [fillers.fill(blob.shape, blob.filler, rng) for blob in specs]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the tops' values: an array, or a tuple with one array a top."""
        raise UnsupportedError("has no numpy forward pass")

    def backward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the gradients of the bottoms and then of the parameter blobs, in order.

        It is called as backward(dy, *bottoms, **blobs), where `dy` is the gradient at the top (a
        tuple if the layer has several tops), and returns an array, or a tuple with None for what
        gets no gradient.
        """
        raise UnsupportedError("has no backward pass")

    def lower(self, *args: Any, **kwargs: Any) -> str | tuple[str | None, ...]:
        """Write the same in ONNX and return the name of each top's tensor.

        It is called as lower(g, *bottoms, **blobs): a Builder and tensor names.
        """
        raise UnsupportedError("has no ONNX form")

    def named(self) -> AbstractContextManager[None]:
        """Put the layer in front of the message of any error raised inside."""
        return named(self.proto)


def _check_numbers(param: Message, name: str) -> None:
    """Raise ShapeError for NaN, whose effect in Caffe depends on its linear algebra library."""
    for field, value in param.ListFields():
        if isinstance(value, Message):
            _check_numbers(value, f"{name}.{field.name}")
        elif field.cpp_type == field.CPPTYPE_FLOAT and np.isnan(value).any():
            raise ShapeError(f"{name}.{field.name} is nan")


@contextmanager
def named(proto: LayerParameter) -> Iterator[None]:
    """Put the layer in front of the message of any error raised inside; no other code does."""
    try:
        yield
    except CaffeCompatError as error:
        raise error.within(f"layer '{proto.name}' ({proto.type})") from error
    except MemoryError as error:
        reason = str(error) or "not enough memory"
        raise CaffeCompatError(f"layer '{proto.name}' ({proto.type}): {reason}") from error


_types: dict[str, tuple[type[Layer], ...]] = {}
_L = TypeVar("_L", bound=type[Layer])


def layer(
    *also: str,
    param: str | None = None,
    bottoms: Arity = 1,
    tops: Arity = 1,
    inplace: bool = False,
    loss: bool = False,
    fork: str | None = None,
) -> Callable[[_L], _L]:
    """Register a Layer class under its own name, and under the further names in `also`.

    With `fork` it is that fork's definition of the types in `also` alone.
    """

    def register(cls: _L) -> _L:
        cls.types = also if fork else (cls.__name__, *also)
        cls.type, cls.fork = cls.types[0], fork
        cls.param, cls.bottoms, cls.tops = param, bottoms, tops
        cls.inplace, cls.loss = inplace, loss
        for name in cls.types:
            if any(other.fork == fork for other in _types.get(name, ())):
                raise ValueError(f"layer type {name} is registered twice")
        _types.update({name: (*_types.get(name, ()), cls) for name in cls.types})
        return cls

    return register


def check_arity(what: str, count: int, arity: Arity) -> None:
    """Raise ShapeError unless `count` bottoms or tops fit `arity`."""
    least, most = arity if isinstance(arity, tuple) else (arity, arity)
    if count < least or (most is not None and count > most):
        wants = f"{least}" if least == most else f"at least {least}"
        if most is not None and most != least:
            wants = f"{least} to {most}"
        raise ShapeError(f"takes {wants} {what} blob(s), and has {count}")


def canonical_axis(axis: int, rank: int) -> int:
    """Return an axis counted from 0, where negative ones count from the end (CanonicalAxisIndex).

    Raises:
        ShapeError: the axis is outside -rank..rank-1.
    """
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} out of range for a {rank}-D blob")
    return axis % rank
