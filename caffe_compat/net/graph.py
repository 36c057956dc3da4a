"""A net as a graph: layers, blobs with shapes and in-place versions, shared parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from ..caffe_pb2 import NetParameter
from ..errors import ShapeError
from ..layers.layer import Blob, Layer
from ..types import Array, Dims, Shape
from .sharing import Place


@dataclass(frozen=True)
class Value:
    """One version of a blob; a layer that works in place makes a new version of the same blob.

    Attributes:
        name: unique in the graph. The last version has the blob's own name, earlier ones have
            blob/layer; an input always has its own.
        blob: Caffe's name.
        shape: the shape that the net was built for.
        dims: the same with None on the axes that may vary from run to run.
    """

    name: str
    blob: str
    shape: Shape
    dims: Dims


@dataclass(frozen=True)
class Node:
    """A layer in its place in the net.

    Attributes:
        layer: the layer.
        bottoms: the values that it reads.
        tops: the values that it computes.
        blobs: its parameter blobs.
        owners: for each blob the (node, blob) that owns the data: its own unless shared.
        loss_weights: one for each top.
    """

    layer: Layer
    bottoms: tuple[Value, ...]
    tops: tuple[Value, ...]
    blobs: tuple[Blob, ...]
    owners: tuple[Place, ...]
    loss_weights: tuple[float, ...]

    @property
    def inplace(self) -> bool:
        """Whether the first top overwrites the first bottom's blob."""
        return bool(self.tops and self.bottoms) and self.tops[0].blob == self.bottoms[0].blob

    def named(self, arrays: Sequence[Array]) -> dict[str, Array]:
        """Return the arrays of the parameter blobs by the names that the layer gives these."""
        return dict(zip((blob.name for blob in self.blobs), arrays, strict=True))


@dataclass(frozen=True)
class Graph:
    """The layers of a net in the order in which they run.

    Attributes:
        net: the message that it was built from.
        nodes: the layers.
        inputs: the values that the caller feeds.
        outputs: the blobs that no layer reads, sorted by name as Caffe does.
        ignored: the unknown fields that the caller chose to do without, as `Message.field`.
    """

    net: NetParameter
    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    ignored: tuple[str, ...] = ()

    @property
    def values(self) -> Iterator[Value]:
        """Every value, in the order of computation."""
        for node in self.nodes:
            yield from node.tops

    @cached_property
    def size(self) -> int:
        """The bytes that all values take as float32."""
        return 4 * sum(prod(value.shape) for value in self.values)

    def blob(self, name: str) -> Value:
        """Return the last version of a blob.

        Raises:
            ShapeError: the net has no blob of that name.
        """
        versions = [value for value in self.values if value.blob == name]
        if not versions:
            raise ShapeError(f"the net has no blob '{name}'", remedies=("blobs",))
        return versions[-1]
