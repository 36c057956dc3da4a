"""A net's layers by OpenCV's names and numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ShapeError
from ..net.graph import Graph, Node, Value
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


class Named(NamedTuple):
    """A layer of OpenCV's: a node, or of a Convolution of several bottoms one of them.

    Attributes:
        place: the node's index in the graph.
        node: the layer.
        outputs: the values that it returns.
    """

    place: int
    node: Node
    outputs: tuple[Value, ...]


def named_layers(graph: Graph) -> dict[str, Named]:
    """Return the layers by OpenCV's names; inputs have none.

    A Convolution is named by its top, and one of several bottoms is a layer for each. The second
    use of another layer's name gets `_1`. A Silence returns its bottom.
    """
    layers: dict[str, Named] = {}
    uses: Counter[str] = Counter()
    for index, node in enumerate(graph.nodes):
        if node.tops and len(node.layer.feeds()) == len(node.tops):
            continue
        name = node.layer.name
        uses[name] += 1
        name += f"_{uses[name] - 1}" if uses[name] > 1 else ""
        if node.layer.proto.type == "Convolution":
            layers.update((top.blob, Named(index, node, (top,))) for top in node.tops)
        elif node.tops or node.bottoms:
            layers[name] = Named(index, node, node.tops or node.bottoms[:1])
    return layers


def find_layer(layers: Mapping[str, Named], layer: str | int) -> Named:
    """Return a layer by its name or its number, from 1 on.

    Raises:
        ShapeError: there is no such layer.
    """
    if isinstance(layer, int):
        if not 1 <= layer <= len(layers):
            raise ShapeError(f"layers are numbered 1 to {len(layers)}, not {layer}")
        return list(layers.values())[layer - 1]
    if layer not in layers:
        raise ShapeError(f"the net has no layer '{layer}'; its last: {list(layers)[-1]}")
    return layers[layer]


def unconnected(layers: Mapping[str, Named]) -> list[int]:
    """Return the numbers of the layers whose outputs no layer reads."""
    bottoms = {value.name for layer in layers.values() for value in layer.node.bottoms}
    return [
        number
        for number, layer in enumerate(layers.values(), 1)
        if not layer.node.tops or all(value.name not in bottoms for value in layer.outputs)
    ]


def as_opencv(layer: Named, outputs: Sequence[Array], images: int) -> list[Array]:
    """Return a layer's outputs in OpenCV's shapes.

    DetectionOutput has keep_top_k rows an image, by falling score, and Proposal post_nms_topn, each
    with rows of 0 behind its own; an array has two axes at least.
    """
    proto = layer.node.layer.proto
    outputs = [array.reshape(-1, 1) if array.ndim < 2 else array for array in outputs]
    if proto.type == "Proposal":
        count = proto.proposal_param.post_nms_topn
        return [np.pad(rows, ((0, max(0, count - len(rows))), (0, 0))) for rows in outputs]
    if proto.type == "DetectionOutput":
        count = images * proto.detection_output_param.keep_top_k
        return [_sorted_rows(rows, count) for rows in outputs]
    return outputs


def _sorted_rows(rows: Array, count: int) -> Array:
    padded = np.zeros((1, 1, max(count, rows.shape[2]), 7), np.float32)
    if rows[0, 0, 0, 1] != -1:  # Caffe's sign for no detections
        order = np.lexsort((-rows[0, 0, :, 2], rows[0, 0, :, 0]))
        padded[:, :, : len(order)] = rows[:, :, order]
    return padded
