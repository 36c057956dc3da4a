"""What a layer is, and the registry of layer types.

A layer type states one fact three times, side by side: the shapes it makes, what it
computes (numpy), and how ONNX says the same (`lower`).
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
    """A parameter blob as a layer asks for it.

    Attributes:
        name: the keyword under which forward, backward and lower receive it.
        shape: Caffe's N-D shape; () is one value.
        filler: what it starts from; None is zeros.
    """

    name: str
    shape: Shape
    filler: FillerParameter | None = None


class Layer:
    """One layer of a net, made from its LayerParameter; it holds no shapes and no data.

    Bottoms arrive as positional arguments and parameter blobs as keywords named by
    `Blob.name`, alike in `forward` (arrays), `backward` (arrays) and `lower` (ONNX names).

    Attributes:
        type: Caffe's type string, the registry's key.
        fork: whose definition of the type this is, where forks of Caffe differ; None: the only one
            or, beside theirs, the one to take unless a fork is named.
        param: the field of LayerParameter that configures this type; `self.p` reads it.
        bottoms: how many bottoms it takes: a number, or (least, most or None).
        tops: likewise for tops.
        inplace: whether a top may overwrite its bottom.
        varies: axes of the tops whose size only the data decide, run by run (Filter's rows).
        loss: whether the first top has loss weight 1 unless the prototxt says otherwise,
            and is made when the prototxt names none (Caffe's LossLayer).
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

    def __init__(self, proto: LayerParameter) -> None:
        self.proto = proto
        self.name: str = proto.name
        self.p: Any = getattr(proto, self.param) if self.param else None
        if self.p is not None:
            _check_numbers(self.p, f"{self.param}")
        self.train: bool = proto.phase == TRAIN

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        """Whether a layer can be this fork's; asked where no fork is named.

        Args:
            proto: the layer.
            stored: the shapes of its blobs in the weights file; None where there is no file.
        """
        return True

    def blobs(self, *x: Shape) -> list[Blob]:
        """The parameter blobs for bottoms of these shapes, in Caffe's order."""
        return []

    def shapes(self, *x: Shape) -> list[Shape | None]:
        """The tops' shapes; None where only the caller can say (a data layer's channels)."""
        return [x[0]]

    def feeds(self) -> tuple[int, ...]:
        """Which tops the caller feeds: none but for layers that read data."""
        return ()

    def shares(self, *x: Shape) -> bool:
        """Whether in Caffe the tops are the first bottom's memory, unchanged (ShareData)."""
        return False

    def classes(self, *x: Shape) -> dict[int, int]:
        """The bottoms that hold class indices, as {bottom: how many classes}."""
        return {}

    def fill(self, rng: Rng, *x: Shape, blobs: Sequence[Blob] | None = None) -> list[Array]:
        """The parameter blobs as Caffe's LayerSetUp leaves them, drawing from `rng` as it does.

        Args:
            rng: what to draw from.
            x: the bottoms' shapes.
            blobs: what `self.blobs` says, with other fillers; by default as it says.
        """
        wanted = self.blobs(*x) if blobs is None else blobs
        return [fillers.fill(blob.shape, blob.filler, rng) for blob in wanted]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What Caffe computes: an array, or a tuple with one array a top."""
        raise UnsupportedError("has no numpy forward pass")

    def backward(self, *args: Any, **kwargs: Any) -> Any:
        """The gradients to the bottoms and then to the parameter blobs, in order.

        Called as backward(dy, *bottoms, **blobs), `dy` the gradient at the top (a tuple where
        the layer has several tops); returns an array, or a tuple with None where none flows.
        """
        raise UnsupportedError("has no backward pass")

    def lower(self, *args: Any, **kwargs: Any) -> str | tuple[str | None, ...]:
        """The same in ONNX; from a Builder and tensor names to the name of each top's tensor.

        Called as lower(g, *bottoms, **blobs).
        """
        raise UnsupportedError("has no ONNX form")

    def named(self) -> AbstractContextManager[None]:
        """Put the layer in front of any error raised inside."""
        return named(self.proto)


def _check_numbers(param: Message, name: str) -> None:
    """Refuse NaN, which Caffe's linear algebra takes for this or for that."""
    for field, value in param.ListFields():
        if isinstance(value, Message):
            _check_numbers(value, f"{name}.{field.name}")
        elif field.cpp_type == field.CPPTYPE_FLOAT and np.isnan(value).any():
            raise ShapeError(f"{name}.{field.name} is nan")


@contextmanager
def named(proto: LayerParameter) -> Iterator[None]:
    """Put the layer in front of any error raised inside: the one place that does."""
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

    With `fork` it is that fork's definition of the types in `also`, and of those alone.
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
    """Caffe's CanonicalAxisIndex: negative axes count from the end.

    Raises:
        ShapeError: the axis is outside -rank..rank-1.
    """
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} out of range for a {rank}-D blob")
    return axis % rank
