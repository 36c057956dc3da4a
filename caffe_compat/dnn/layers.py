"""A net's layers by OpenCV's names and numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ShapeError
from ..net.graph import Graph, Node
from ..runtime.reshaping import Reshaping
from ..types import Array


class Layer:
    """A layer, as getLayer returns it.

    Attributes:
        name: its name.
        type: Caffe's type.
    """

    def __init__(self, name: str, type: str, reshaping: Reshaping, index: int) -> None:
        self.name, self.type = name, type
        self._reshaping, self._index = reshaping, index

    @property
    def blobs(self) -> tuple[Array, ...]:
        """Its parameters; setting them changes the net, and the ones left out become zeros.

        Raises:
            ShapeError: there are more than the layer has, or one is of another size.
        """
        return self._reshaping.net.arrays[self._index]

    @blobs.setter
    def blobs(self, arrays: Sequence[ArrayLike]) -> None:
        self._reshaping.change(self._index, [np.array(array, np.float32) for array in arrays])


def named_nodes(graph: Graph) -> dict[str, Node]:
    """Return the layers by OpenCV's names; a name's second use gets `_1`, inputs have none."""
    nodes: dict[str, Node] = {}
    uses: dict[str, int] = {}
    for node in graph.nodes:
        if not node.tops or len(node.layer.feeds()) == len(node.tops):
            continue
        name = node.layer.name
        count = uses[name] = uses.get(name, -1) + 1
        nodes[f"{name}_{count}" if count else name] = node
    return nodes


def find_node(nodes: dict[str, Node], layer: str | int) -> Node:
    """Return a layer by its name or its number, from 1 on.

    Raises:
        ShapeError: there is no such layer.
    """
    if isinstance(layer, int):
        if not 1 <= layer <= len(nodes):
            raise ShapeError(f"layers are numbered 1 to {len(nodes)}, not {layer}")
        return list(nodes.values())[layer - 1]
    if layer not in nodes:
        raise ShapeError(f"the net has no layer '{layer}'; its last: {list(nodes)[-1]}")
    return nodes[layer]


def unconnected(nodes: dict[str, Node]) -> list[int]:
    """Return the numbers of the layers whose outputs no layer reads."""
    bottoms = {value.name for node in nodes.values() for value in node.bottoms}
    return [
        number
        for number, node in enumerate(nodes.values(), 1)
        if all(value.name not in bottoms for value in node.tops)
    ]
