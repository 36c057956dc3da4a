"""A net's ends, at which gradients start, and the depth of its values."""

from __future__ import annotations

from collections.abc import Collection

from ..layers.layer import Layer
from ..net.fans import is_weighted
from ..net.graph import Graph, Value
from ..net.net import Net

_CONSTANTS = ("PriorBox",)  # layers whose outputs depend on their bottoms' sizes alone


def find_ends(graph: Graph, zeros: Collection[str] = ()) -> tuple[Value, ...]:
    """Return a net's outputs before Softmax, losses and layers without a gradient.

    Values that depend on the inputs' sizes alone do not count. A last layer whose weights are all
    0, by its name among `zeros`, passes no gradient before its first step: the end is before it.
    """
    makers = {top.name: node for node in graph.nodes for top in node.tops}
    live = _live(graph)
    ends: dict[str, Value] = {}
    todo = list(graph.outputs)
    while todo:
        value = todo.pop()
        node = makers[value.name]
        if value.name not in live or not node.bottoms:
            continue
        passed = node.layer.loss or node.layer.type == "Softmax" or node.layer.name in zeros
        if passed or not has_backward(node.layer):
            todo += node.bottoms
        else:
            ends[value.name] = value
    return tuple(ends.values())


def zeros_of(net: Net) -> frozenset[str]:
    """Return the names of the layers whose weights are all 0."""
    return frozenset(
        node.layer.name
        for node, arrays in zip(net.graph.nodes, net.arrays, strict=True)
        if is_weighted(node) and not arrays[0].any()
    )


def has_backward(layer: Layer) -> bool:
    """Return whether gradients pass a layer."""
    return type(layer).backward is not Layer.backward


def _live(graph: Graph) -> set[str]:
    live = {value.name for value in graph.inputs}
    for node in graph.nodes:
        if node.layer.type not in _CONSTANTS and any(v.name in live for v in node.bottoms):
            live |= {top.name for top in node.tops}
    return live


def depths_of(graph: Graph) -> dict[str, int]:
    """Return the number of layers with weights on the longest path to each value."""
    depths: dict[str, int] = {}
    for node in graph.nodes:
        before = max((depths[value.name] for value in node.bottoms), default=0)
        depths |= {top.name: before + is_weighted(node) for top in node.tops}
    return depths
