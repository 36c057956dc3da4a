"""Layers in ONNX's words, one by one: what the torch module is built from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from ..fillers.rng import FastRng
from ..layers.builder import Builder
from ..layers.layer import Layer
from ..net.graph import Node
from ..types import AnyArray, Array, Shape

_OPSET = 18


@dataclass(frozen=True)
class Piece:
    """One layer as ONNX nodes.

    Attributes:
        bottoms: the names under which nodes read the bottoms.
        draws: the names under which they read the random numbers that the layer draws.
        params: of each tensor that is a parameter blob, its place among the layer's blobs and its
            shape here, which may differ from Caffe's.
        constants: the other tensors that are no node's output.
        nodes: in their order.
        tops: the tensor that is each top; None of a top that the caller feeds.
        baked: whether numbers of parameters went into the constants.
    """

    bottoms: tuple[str, ...]
    draws: tuple[str, ...]
    params: dict[str, tuple[int, Shape]]
    constants: dict[str, AnyArray]
    nodes: tuple[onnx.NodeProto, ...]
    tops: tuple[str | None, ...]
    baked: bool

    def same(self, other: object) -> bool:
        """Return whether the other is a piece that computes the same."""
        return (
            isinstance(other, Piece)
            and (self.nodes, self.tops, self.params) == (other.nodes, other.tops, other.params)
            and self.constants.keys() == other.constants.keys()
            and all(np.array_equal(a, other.constants[k]) for k, a in self.constants.items())
        )


def lower(layer: Layer, node: Node, arrays: Sequence[Array]) -> Piece:
    """Return the piece of a layer in its place.

    Args:
        layer: the layer, which may be of another phase than the graph's.
        node: where it stands.
        arrays: its parameter blobs.

    Raises:
        UnsupportedError: the layer has no ONNX form.
    """
    g = Builder(_OPSET, keeps_params=True)
    bottoms = tuple(f"bottom_{i}" for i in range(len(node.bottoms)))
    for name, value in zip(bottoms, node.bottoms, strict=True):
        g.value(name, value.dims)
    g.begin(layer.name)
    names = [f"@{i}" for i in range(len(arrays))]
    blobs = {}
    for name, blob, array in zip(names, node.blobs, arrays, strict=True):
        g.parameter(name, array)
        blobs[blob.name] = g.view(name, blob.shape)
    shapes = [value.shape for value in node.bottoms]
    drawn = {} if layer.feeds() else layer.draw(FastRng(0), *shapes)  # what is fed, is not drawn
    draws = {name: f"draw_{name}" for name in drawn}
    for name in draws.values():
        g.value(name, ())
    with layer.named():
        tops = layer.lower(g, *bottoms, **blobs, **draws)
    tensors = tops if isinstance(tops, tuple) else (tops,)
    tensors = tuple(x and g.resolve(x) for x in tensors)
    read = g.finish([x for x in tensors if x])
    params = {}
    for name in (name for name in g.params if name in read):
        i = names.index(g.params[name].name)
        params[name] = (i, arrays[i].shape if name in names else g.arrays[name].shape)
    constants = {n: a for n, a in g.arrays.items() if n in read and n not in params}
    return Piece(
        bottoms=bottoms,
        draws=tuple(draws.values()),
        params=params,
        constants=constants,
        nodes=tuple(g.nodes),
        tops=tensors,
        baked=bool(g.changed),
    )
