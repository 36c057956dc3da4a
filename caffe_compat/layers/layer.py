"""The base class of layers.

A layer type states one fact three times, side by side: the shapes of its tops, their values in
numpy, and the same in ONNX (`lower`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from google.protobuf.message import Message

from .. import fillers
from ..caffe_pb2 import TRAIN, FillerParameter, LayerParameter
from ..errors import ShapeError, UnsupportedError
from ..fillers.rng import Rng
from ..types import Array, Shape
from .arity import Arity
from .fields import MessageType, check_numbers, configuration, is_set
from .naming import named

Arrays: TypeAlias = Array | tuple[Array, ...]
"""One array, or one for each top."""

Find: TypeAlias = Callable[[str, str], Path]
"""Returns the file that a field names: find("H.binaryproto", "source")."""


@dataclass(frozen=True)
class Blob:
    """A parameter blob that a layer needs.

    Attributes:
        name: the keyword under which forward, backward and lower receive it.
        shape: Caffe's N-D shape; () is one value.
        filler: the source of its first values; None is zeros.
        learned: False where the layer itself sets its lr_mult to 0: forward passes change it.
    """

    name: str
    shape: Shape
    filler: FillerParameter | None = None
    learned: bool = True


class Layer:
    """One layer of a net, built from its LayerParameter, without shapes or data.

    Bottoms arrive as positional arguments and parameter blobs as keywords named by
    `Blob.name`, alike in `forward` (arrays), `backward` (arrays) and `lower` (ONNX names).

    Attributes:
        type: Caffe's type string, the registry's key.
        fork: the fork of Caffe that defines the type so, where forks differ; None for the only
            definition, and for the one that holds unless a fork is named.
        fields: the fields of `param` that are this fork's alone: its definition holds where one
            of them is not at its default, and nowhere else. Empty where no field tells.
        param: the field of LayerParameter that configures this type; `self.p` reads it. One that
            the schema lacks is a mapping, or `message` where that is given.
        message: the protobuf message of such a field.
        bottoms: the number of bottoms: one number, or (min, max or None).
        tops: likewise for tops.
        inplace: whether a top may overwrite its bottom.
        varies: axes of the tops whose size depends on the data of each run (Filter's rows).
        ignores_lr_mult: whether Caffe computes the gradients of its blobs even if lr_mult is 0.
        loss: whether the first top has loss weight 1 unless the prototxt gives another, and exists
            even if the prototxt names none (Caffe's LossLayer).
        one_batch: whether the first axis of every top is the batch (a data layer's).
        has_source: whether the prototxt names a file or a database that has the tops' shapes.
        evaluates: whether an ONNX file goes without it, and what it alone reads is an output: a
            loss, an accuracy or another comparison with the ground truth that has no ONNX form, or
            a writer of files.
        prepares: whether it chooses in training what a loss learns from, and has no ONNX form.
        blocked: the bottoms that no gradient reaches, though the tops depend on them.
        no_backward: the bottoms that must not want a gradient, or Caffe's backward pass aborts;
            negative ones count from the end.
        unread: the tops whose gradient `backward` does not read, if there are so many.
        statistics: the parameter blobs that no gradient reaches.
        approximate: whether `backward` is not the derivative of `forward`, but Caffe's own.
        indicators: the bottoms at whose values 0 and 1 alone `backward` is the derivative.
        samples: whether each pass in TEST draws at random, so that no two agree.
        stored_shapes: the shapes of its blobs in the weights file; empty where there is no file.
    """

    type: ClassVar[str]
    types: ClassVar[tuple[str, ...]]
    fork: ClassVar[str | None] = None
    fields: ClassVar[tuple[str, ...]] = ()
    param: ClassVar[str | None] = None
    message: ClassVar[MessageType | None] = None
    bottoms: ClassVar[Arity] = 1
    tops: ClassVar[Arity] = 1
    inplace: ClassVar[bool] = False
    varies: ClassVar[tuple[int, ...]] = ()
    ignores_lr_mult: ClassVar[bool] = False
    loss: ClassVar[bool] = False
    one_batch: ClassVar[bool] = False
    has_source: ClassVar[bool] = False
    evaluates: ClassVar[bool] = False
    prepares: ClassVar[bool] = False
    blocked: tuple[int, ...] = ()
    no_backward: ClassVar[tuple[int, ...]] = ()
    unread: tuple[int, ...] = ()
    statistics: tuple[str, ...] = ()
    approximate: bool = False
    indicators: tuple[int, ...] = ()
    samples: bool = False
    stored_shapes: Sequence[Shape] = ()

    def __init__(self, proto: LayerParameter) -> None:
        self.proto = proto
        self.name: str = proto.name
        self.p: Any = configuration(proto, self.param, self.message) if self.param else None
        if isinstance(self.p, Message):
            check_numbers(self.p, f"{self.param}")
        self.train: bool = proto.phase == TRAIN

    @classmethod
    def stated(cls, proto: LayerParameter) -> bool:
        """Return whether one of `fields` is set to other than its default."""
        return any(is_set(getattr(proto, cls.param or ""), field) for field in cls.fields)

    @classmethod
    def fits(cls, proto: LayerParameter, stored: Sequence[Shape] | None) -> bool:
        """Return whether a layer can be this fork's; used where no fork is named.

        Args:
            proto: the layer.
            stored: the shapes of its blobs in the weights file; None where there is no file.
        """
        return True

    def read(self, find: Find) -> None:
        """Read the files that the prototxt names (InfogainLoss's matrix).

        A prototxt is untrusted: this is called only where the user lets its files be opened, in
        training, in `import caffe` and with `--data net`.

        Raises:
            CaffeCompatError: a file is missing or damaged.
        """

    def changed(self, proto: LayerParameter) -> Layer:
        """Return the layer with another message, and with what it has read."""
        layer = type(self)(proto)
        vars(layer).update({k: v for k, v in vars(self).items() if k not in vars(layer)})
        return layer

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

    def check_forward(self) -> None:
        """Raise UnsupportedError for what `forward` refuses whatever the bottoms are."""

    def draw(self, rng: Rng, *x: Shape) -> dict[str, Array]:
        """Return the random numbers of one forward pass, drawn as Caffe's CPU code does.

        `forward`, `backward` and `lower` receive them as keywords, beside the blobs; those of a
        top that is fed (DummyData) are named as the top.

        Args:
            rng: the random stream.
            x: the bottoms' shapes.
        """
        return {}

    def state(self, *x: Shape) -> dict[str, Array]:
        """Return what the first forward pass starts from, where each leaves a state to the next.

        The other methods receive the state as keywords, and `update` returns the next one.
        """
        return {}

    def update(self, *x: Array, **arrays: Any) -> dict[str, Array]:
        """Return the new values of the parameter blobs and states that a forward pass changes."""
        return {}

    def forward_keeping(self, *x: Array, **arrays: Any) -> tuple[Any, dict[str, Any]]:
        """Return what `forward` does, and what `backward` and `update` would else compute again.

        They receive that as keywords.
        """
        return self.forward(*x, **arrays), {}

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

    def backward_left(self, dy: Any, *x: Any, left: Array, y: Array, **arrays: Any) -> Any:
        """Return Caffe's gradients where its memory was overwritten before backward reads it.

        A layer that works in place overwrites its bottom, and the top of the layer before. Most
        layers need neither, or keep a copy; those that do not state here what Caffe computes.

        Args:
            dy: the gradient at the top.
            x: the bottoms as they were.
            left: what is left in the first bottom's memory.
            y: what is left in the first top's memory; `left` itself where the layer is in place.
            arrays: as for `backward`.
        """
        return self.backward(dy, *x, **arrays)

    def backward_blobs(self, *args: Any, **kwargs: Any) -> tuple[Array | None, ...]:
        """Return the gradients of the parameter blobs alone; called as `backward` is."""
        flows = self.backward(*args, **kwargs)
        return tuple(flows[len(self.proto.bottom) :]) if isinstance(flows, tuple) else ()

    def allows_force_backward(self, bottom: int) -> bool:
        """Return whether a net's force_backward makes a bottom want a gradient."""
        return not self.loss or bottom != 1

    def check_backward(self, wanted: Sequence[bool]) -> None:
        """Refuse a backward pass that Caffe ends at.

        Args:
            wanted: for each bottom, whether a gradient is wanted there.

        Raises:
            ShapeError: naming the bottom.
        """
        for i in self.no_backward:
            if -len(wanted) <= i < len(wanted) and wanted[i]:
                raise ShapeError(
                    f"cannot backpropagate to bottom {i % len(wanted)}, '{self.proto.bottom[i]}'; "
                    "propagate_down: false there stops the gradient"
                )

    def overwrites(self, *x: Shape) -> tuple[str, ...]:
        """Return the blobs whose gradients Caffe writes over those of the passes before.

        With iter_size the last batch alone then counts.
        """
        return ()

    def lower(self, *args: Any, **kwargs: Any) -> str | tuple[str | None, ...]:
        """Write the same in ONNX and return the name of each top's tensor.

        It is called as lower(g, *bottoms, **blobs): a Builder and tensor names.
        """
        if not (self.evaluates or self.prepares):
            raise UnsupportedError("has no ONNX form")
        compares = "it compares outputs with the ground truth"
        reason = compares if self.evaluates else "it chooses what a loss learns from"
        raise UnsupportedError(
            f"has no ONNX form: {reason}", remedies=("deploy",), changes=[{"deploy": True}]
        )

    def named(self) -> AbstractContextManager[None]:
        """Put the layer in front of the message of any error raised inside."""
        return named(self.proto)
