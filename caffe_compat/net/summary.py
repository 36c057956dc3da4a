"""A net's layers, shapes and parameters in numbers, and as the table that `show` prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..text import one_line, say_shape, table
from ..types import Dims, Shape
from .graph import Graph, Node, Value


@dataclass(frozen=True)
class BlobSummary:
    """A parameter blob.

    Attributes:
        name: its name in the layer.
        shape: its shape.
        filler: the type of its filler; `zeros` if it has none.
        shared: whether another layer owns it.
    """

    name: str
    shape: Shape
    filler: str
    shared: bool


@dataclass(frozen=True)
class LayerSummary:
    """A layer: its name, its type, its bottoms, its tops with their dims, and its parameters."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[tuple[str, Dims], ...]
    blobs: tuple[BlobSummary, ...]

    @property
    def count(self) -> int:
        """The number of its parameters, the shared ones included."""
        return sum(math.prod(blob.shape) for blob in self.blobs)


@dataclass(frozen=True)
class Summary:
    """A net: its name, layers, inputs and outputs, the latter two with their dims."""

    name: str
    layers: tuple[LayerSummary, ...]
    inputs: tuple[tuple[str, Dims], ...]
    outputs: tuple[tuple[str, Dims], ...]

    @property
    def parameters(self) -> int:
        """The number of parameters, each shared one once."""
        return self._count(shared=False)

    @property
    def shared(self) -> int:
        """The number of parameters that layers take over from others."""
        return self._count(shared=True)

    def __str__(self) -> str:
        """Return a line for every layer, its blobs, parameters and fillers, and the sums."""
        heads = ("layer", "type", "bottoms", "tops", "parameters", "count", "fillers")
        shared = f", and {self.shared:,} shared" if self.shared else ""
        count = f"{self.parameters:,} parameters ({4 * self.parameters:,} bytes)"
        lines = (
            f"net {self.name!r}",
            *table([heads, *map(_row, self.layers)]),
            one_line(f"inputs   {_blobs(self.inputs)}"),
            one_line(f"outputs  {_blobs(self.outputs)}"),
            f"{len(self.layers)} layers, {count}{shared}",
        )
        return "\n".join(lines)

    def _count(self, *, shared: bool) -> int:
        blobs = [blob for layer in self.layers for blob in layer.blobs if blob.shared == shared]
        return sum(math.prod(blob.shape) for blob in blobs)


def summarize(graph: Graph) -> Summary:
    """Return the layers, shapes and parameters of a net."""
    return Summary(
        graph.net.name,
        tuple(_layer(index, node) for index, node in enumerate(graph.nodes)),
        _dims(graph.inputs),
        _dims(graph.outputs),
    )


def _layer(index: int, node: Node) -> LayerSummary:
    blobs = tuple(
        BlobSummary(
            blob.name,
            blob.shape,
            blob.filler.type if blob.filler else "zeros",
            owner != (index, i),
        )
        for i, (blob, owner) in enumerate(zip(node.blobs, node.owners, strict=True))
    )
    bottoms = tuple(value.blob for value in node.bottoms)
    return LayerSummary(node.layer.name, node.layer.proto.type, bottoms, _dims(node.tops), blobs)


def _dims(values: Sequence[Value]) -> tuple[tuple[str, Dims], ...]:
    return tuple((value.blob, value.dims) for value in values)


def _row(layer: LayerSummary) -> Sequence[str]:
    parameters = (
        f"{blob.name} {say_shape(blob.shape)}{' (shared)' if blob.shared else ''}"
        for blob in layer.blobs
    )
    return (
        layer.name,
        layer.type,
        ", ".join(layer.bottoms),
        _blobs(layer.tops),
        ", ".join(parameters),
        f"{layer.count:,}" if layer.blobs else "",
        ", ".join(blob.filler for blob in layer.blobs),
    )


def _blobs(blobs: Sequence[tuple[str, Dims]]) -> str:
    return ", ".join(f"{name} {say_shape(dims)}" for name, dims in blobs)
