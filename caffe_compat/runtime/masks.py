"""Layers that draw at random in every run: compared by the engine's own mask."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import numpy as np

from ..net.graph import Graph, Node
from ..types import AnyArray, Array

_SIGMAS = 6  # beyond which one of 10**9 shares of random zeros lies


def adopt_masks(
    graph: Graph, computed: Mapping[str, AnyArray], values: Mapping[str, Array]
) -> dict[str, Array]:
    """Return the reference's values, where Dropout drops what the engine's Dropout dropped.

    A layer whose share of zeros is not its dropout_ratio keeps the reference's own mask, from which
    the engine's then differs.

    Args:
        graph: the net's.
        computed: the engine's values, each from the reference's bottoms, by `Value.name`.
        values: the reference's.
    """
    masked = dict(values)
    for node in graph.nodes:
        top = node.tops[0].name if node.layer.samples else ""
        if top in computed:
            x, mask = values[node.bottoms[0].name], computed[top] != 0
            if mask.shape == x.shape and _is_fair(node, mask[_large(x)]):
                masked[top] = node.layer.forward(x, mask.astype(np.float32))
    return masked


def _large(x: Array) -> AnyArray:
    """Return which numbers no rounding, to int8 at the worst, takes to 0."""
    size: AnyArray = np.abs(x)
    large: AnyArray = size >= size.mean() / 2
    return large


def _is_fair(node: Node, mask: AnyArray) -> bool:
    """Return whether a mask may well be drawn with the layer's ratio."""
    ratio, count = node.layer.p.dropout_ratio, max(mask.size, 1)
    slack = _SIGMAS * sqrt(ratio * (1 - ratio) / count) + 1 / count
    return bool(abs(np.sum(~mask) / count - ratio) <= slack)


def settled(graph: Graph) -> tuple[set[str], str]:
    """Return the values by name that are the same in every run, and the first random layer."""
    random: set[str] = set()
    first = ""
    for node in graph.nodes:
        if node.layer.samples or not random.isdisjoint(value.name for value in node.bottoms):
            random.update(top.name for top in node.tops)
            first = first or f"'{node.layer.name}' ({node.layer.proto.type})"
    return {value.name for value in graph.values} - random, first
