"""A net's layers, shapes, parameters and fillers in numbers, as `show` prints them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..caffe_pb2 import FillerParameter
from ..fillers import moments
from ..types import Dims, Shape
from ..weights.trained import Weights
from . import slopes
from .graph import Graph, Node, Value
from .rectifiers import Rectifier


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

    def _count(self, *, shared: bool) -> int:
        blobs = [blob for layer in self.layers for blob in layer.blobs if blob.shared == shared]
        return sum(math.prod(blob.shape) for blob in blobs)


@dataclass(frozen=True)
class FillerSummary:
    """The filler of a blob of weights, and the rule that its rectifiers ask for.

    Attributes:
        layer: the layer's name.
        blob: the blob's name.
        filler: the filler's type.
        norm: its variance_norm.
        n: the divisor that the norm selects.
        rectifiers: the rectifiers that count for the norm.
        std: the std that they ask for; only msra with `slopes="auto"` uses it.
        rms: the root mean square of the filler's own values; None if it has no closed form.
    """

    layer: str
    blob: str
    filler: str
    norm: str
    n: float
    rectifiers: tuple[Rectifier, ...]
    std: float
    rms: float | None


def summarize(graph: Graph) -> Summary:
    """Return the layers, shapes and parameters of a net."""
    return Summary(
        graph.net.name,
        tuple(_layer(index, node) for index, node in enumerate(graph.nodes)),
        _dims(graph.inputs),
        _dims(graph.outputs),
    )


def summarize_fillers(graph: Graph, weights: Weights | None = None) -> tuple[FillerSummary, ...]:
    """Return the filler of every blob of weights, and what its rectifiers ask for.

    Args:
        graph: the net.
        weights: a file whose PReLU slopes count in place of those of their fillers.

    Raises:
        CaffeCompatError: as for `resolve_slopes`.
    """
    rows = []
    for each in slopes.resolve(graph, weights):
        index, i = each.place
        node = graph.nodes[index]
        with node.layer.named():
            moment = moments.second_moment(node.blobs[i].shape, each.filler)
        rows.append(
            FillerSummary(
                node.layer.name,
                node.blobs[i].name,
                each.filler.type,
                FillerParameter.VarianceNorm.Name(each.filler.variance_norm),
                each.n,
                each.rectifiers,
                float(each.sigma),
                None if moment is None else math.sqrt(moment),
            )
        )
    return tuple(rows)


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
