"""The cost of a net: multiply-adds, other operations, parameters, memory, receptive fields.

Every layer is counted by its ONNX form, the forks' layers too. Multiply-adds are weights times
positions, as Netscope counted them: a convolution, a deconvolution or an inner product of w
weights at p positions costs w p; biases are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

import numpy as np

from ..caffe_pb2 import NetParameter
from ..errors import ShapeError, UnsupportedError
from ..layers.families.recurrent import Recurrent
from ..net.build import build
from ..net.graph import Graph, Node
from ..net.net import Net
from .counting import START, Count, Field, count
from .lowering import Lowered, lower

_BYTES = 4  # of a float32


@dataclass(frozen=True)
class Cost:
    """The cost of one layer for one image.

    Attributes:
        layer: its name.
        type: Caffe's type string.
        multiply_adds: weights times positions.
        operations: all others: one for each value that an elementwise operator computes, and one
            for each value that a window or a reduction reads.
        parameters: values of the blobs that it owns.
        activations: bytes of its tops; a top in place takes none of its own.
        moved: bytes that it reads (bottoms, parameters) and writes (tops).
        field: what a value of the first top sees; None: all of the image, or there is no image.
        note: what is not counted, and why; empty where all is.
    """

    layer: str
    type: str
    multiply_adds: int
    operations: int
    parameters: int
    activations: int
    moved: int
    field: Field | None = None
    note: str = ""


@dataclass(frozen=True)
class Costs:
    """The cost of a net for one image.

    Attributes:
        net: its name.
        layers: the cost of each layer, in order.
        peak: the most bytes in use at once: all parameters, and the blobs that are still read.
    """

    net: str
    layers: tuple[Cost, ...]
    peak: int

    def total(self, what: str) -> int:
        """Return the sum over the layers of an attribute of `Cost`."""
        return sum(getattr(cost, what) for cost in self.layers)

    def dearest(self, number: int = 5) -> list[Cost]:
        """Return the layers with the most multiply-adds, the dearest first."""
        ranked = sorted(self.layers, key=lambda cost: -cost.multiply_adds)
        return [cost for cost in ranked[:number] if cost.multiply_adds]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain values, for JSON."""
        sums = ("multiply_adds", "operations", "parameters", "activations", "moved")
        totals = {name: self.total(name) for name in sums}
        layers = [asdict(cost) for cost in self.layers]
        return {"net": self.net, **totals, "peak": self.peak, "layers": layers}


def costs(net: Net | Graph) -> Costs:
    """Count the cost of a net for one image, whatever its batch.

    Args:
        net: a net or its graph; weights do not matter.

    Returns:
        The cost of each layer. A layer without an ONNX form, and one whose size only the data
        decide, has a note and counts as far as it is known.
    """
    graph, batch = _single(net.graph if isinstance(net, Net) else net)
    fields: dict[str, Field | None] = {v.name: START for v in graph.inputs if len(v.shape) == 4}
    layers = tuple(_cost(index, node, fields, batch) for index, node in enumerate(graph.nodes))
    return Costs(graph.net.name, layers, _peak(graph, batch))


def _single(graph: Graph) -> tuple[Graph, int]:
    """Return the graph at a batch of 1, or at its own batch where it takes no other."""
    sources = [value for node in graph.nodes if not node.bottoms for value in node.tops]
    images = [value.shape[0] for value in sources if len(value.shape) == 4]
    if not images and any(isinstance(node.layer, Recurrent) for node in graph.nodes):
        return graph, 1  # the first axis is time
    batch = max(images or [value.shape[0] for value in graph.inputs if value.shape] or [1])
    if batch == 1:
        return graph, 1
    sizes = {v.blob: (v.shape[0] // batch or 1, *v.shape[1:]) for v in graph.inputs if v.shape}
    try:
        single = build(graph.net, sizes)
    except (ShapeError, UnsupportedError):
        return graph, batch
    constant = {v.blob for v in sources if v.shape[:1] == (batch,)} - {v.blob for v in graph.inputs}
    return (graph, batch) if constant else (single, 1)


def _cost(index: int, node: Node, fields: dict[str, Field | None], batch: int) -> Cost:
    sizes = [prod(blob.shape) for blob in node.blobs]
    owned = sum(n for i, n in enumerate(sizes) if node.owners[i] == (index, i))
    read = sum(prod(value.shape) for value in node.bottoms)
    written = sum(prod(value.shape) for value in node.tops)
    fed = len(node.layer.feeds()) == len(node.tops) > 0
    result = Count() if fed else _count(node, fields)
    for value in node.tops:
        fields.setdefault(value.name, result.fields.get(value.name))
    return Cost(
        node.layer.name,
        node.layer.proto.type,
        result.multiply_adds // batch,
        result.operations // batch,
        owned,
        0 if node.inplace else _BYTES * written // batch,
        0 if fed else _BYTES * ((read + written) // batch + sum(sizes)),
        fields[node.tops[0].name] if node.tops else None,
        result.note,
    )


def _count(node: Node, fields: dict[str, Field | None]) -> Count:
    try:
        return count(_lowered(node), {v.name: fields.get(v.name) for v in node.bottoms})
    except UnsupportedError as error:
        return Count(note=str(error).partition("): ")[2])


def _lowered(node: Node) -> Lowered:
    """Return one layer's ONNX form; its parameters have no memory."""
    alone = replace(node, owners=tuple((0, i) for i in range(len(node.blobs))))
    inputs = tuple(dict.fromkeys(node.bottoms))
    graph = Graph(NetParameter(), (alone,), inputs, node.tops)
    zeros = tuple(np.broadcast_to(np.float32(0), blob.shape) for blob in node.blobs)
    return lower(Net(graph, (zeros,)))


def _peak(graph: Graph, batch: int) -> int:
    """Return the most bytes in use at once; what an in-place layer writes takes no more."""
    last: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        for value in (*node.bottoms, *node.tops):
            last[value.blob] = index
    last |= dict.fromkeys((value.blob for value in graph.outputs), len(graph.nodes))
    alive: dict[str, int] = {}
    most = 0
    for index, node in enumerate(graph.nodes):
        alive |= {value.blob: prod(value.shape) for value in node.tops}
        most = max(most, sum(alive.values()))
        alive = {blob: size for blob, size in alive.items() if last[blob] > index}
    return _BYTES * (most // batch + _parameters(graph.nodes))


def _parameters(nodes: Sequence[Node]) -> int:
    return sum(
        prod(blob.shape)
        for index, node in enumerate(nodes)
        for i, blob in enumerate(node.blobs)
        if node.owners[i] == (index, i)
    )
