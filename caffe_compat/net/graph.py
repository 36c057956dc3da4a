"""A net as a graph: its layers, blobs with shapes and in-place versions, shared parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..caffe_pb2 import NetParameter
from ..errors import ShapeError
from ..layers.layer import Blob, Layer
from ..types import Dims, Shape
from .sharing import Place


@dataclass(frozen=True)
class Value:
    """One version of a blob: a layer that works in place makes a new one of the same blob.

    Attributes:
        name: unique in the graph. The last writer has the blob's own name, earlier ones
            blob/layer; what the caller feeds always has its own.
        blob: Caffe's name.
        shape: the size that the net was built for.
        dims: the same with None on the axes that may vary from run to run.
    """

    name: str
    blob: str
    shape: Shape
    dims: Dims


@dataclass(frozen=True)
class Node:
    """A layer in its place.

    Attributes:
        layer: what it computes.
        bottoms: the values that it reads.
        tops: the values that it makes.
        blobs: its parameter blobs.
        owners: for each blob the (node, blob) that owns the data: itself unless shared.
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


@dataclass(frozen=True)
class Graph:
    """The layers of a net in the order in which they run.

    Attributes:
        net: the message that it was built from.
        nodes: the layers.
        inputs: what the caller feeds.
        outputs: the blobs that no layer reads, sorted by name as Caffe does.
    """

    net: NetParameter
    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    @property
    def values(self) -> Iterator[Value]:
        """Every value, in the order in which it is made."""
        for node in self.nodes:
            yield from node.tops

    def blob(self, name: str) -> Value:
        """The last version of a blob.

        Raises:
            ShapeError: the net has no blob of that name.
        """
        found = [value for value in self.values if value.blob == name]
        if not found:
            raise ShapeError(f"the net has no blob '{name}'")
        return found[-1]
