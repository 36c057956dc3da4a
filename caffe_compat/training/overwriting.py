"""Gradients of layers whose bottom or top in Caffe's memory a layer in place overwrote."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from ..layers.layer import Layer
from ..net.aliasing import left_of
from ..net.graph import Graph, Node
from ..net.needs import Needs
from ..types import Array

# Layers that compute their gradient from the top alone, or from what it has kept.
_OF_TOP = frozenset(("ELU", "Exp", "ReLU", "ReLU6", "Sigmoid", "Softmax", "Swish", "TanH"))


def overwritten(graph: Graph, needs: Needs) -> list[int]:
    """Return the layers whose gradient is not the derivative, since Caffe overwrote what it reads.

    Where nothing but the layer itself wrote to its top, those that read the top alone are as
    exact as ever. So is a ReLU before a Dropout in place: what is dropped gets no gradient.
    """
    writers: dict[str, list[str]] = {}  # the types that wrote to each value's memory behind it
    for node in graph.nodes:
        if node.inplace:
            for name, kinds in writers.items():
                if needs.left.get(name) == needs.left.get(node.bottoms[0].name):
                    kinds.append(node.layer.type)
        writers.update({top.name: [] for top in node.tops})
    found = []
    for index, node in enumerate(graph.nodes):
        special = type(node.layer).backward_left is not Layer.backward_left
        if not (special and needs.runs[index] and node.bottoms and node.tops):
            continue
        bottom, top = node.bottoms[0].name, node.tops[0].name
        if bottom not in needs.left and top not in needs.left:
            continue
        kind, later = node.layer.type, writers[top] if top in needs.left else []
        slopes = (getattr(node.layer.p, name, 0.0) for name in ("negative_slope", "alpha"))
        rising = node.layer.p is None or all(slope >= 0 for slope in slopes)
        drops = kind == "ReLU" and set(later) <= {"Dropout"} and node.layer.p.negative_slope == 0
        if not (kind in _OF_TOP and rising and ((top not in needs.left) or drops)):
            found.append(index)
    return found


def reading(node: Node, left: Mapping[str, str], memory: Mapping[str, Array]) -> Layer:
    """Return a layer whose gradient is Caffe's, from what is left in its memory."""
    layer = copy.copy(node.layer)

    def backward(dy: Any, *x: Array, **arrays: Any) -> Any:
        pair = left_of(node, memory, left)
        assert pair is not None
        return node.layer.backward_left(dy, *x, left=pair[0], y=pair[1], **arrays)

    layer.backward = backward  # type: ignore[method-assign]
    return layer
