"""Recurrent layers whose state enters and leaves a net as blobs, for an engine of functions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..layers.families.recurrent import Recurrent
from ..net.graph import Node, Value
from ..net.net import Net


@dataclass(frozen=True)
class Carried:
    """The state of one layer, as values of a graph.

    Attributes:
        entering: by the state's name, the input that is the state before the first step.
        leaving: likewise, the top that is the state after the last step.
    """

    entering: dict[str, Value]
    leaving: dict[str, Value]


def expose(net: Net) -> tuple[Net, dict[int, Carried]]:
    """Return a net whose recurrent layers have their state as bottoms and tops.

    Caffe's unrolled net carries the state from one pass to the next; whoever runs the net does so
    with this one.

    Args:
        net: the net.

    Returns:
        The net, whose inputs have the states behind the others; and the states by the index of
        their layer.
    """
    nodes, carried = list(net.graph.nodes), {}
    for index, node in enumerate(nodes):
        if isinstance(node.layer, Recurrent) and not node.layer.p.expose_hidden:
            nodes[index], carried[index] = _expose_node(node, node.layer)
    states = (value for each in carried.values() for value in each.entering.values())
    graph = replace(net.graph, nodes=tuple(nodes), inputs=(*net.graph.inputs, *states))
    return Net(graph, net.arrays), carried


def _expose_node(node: Node, layer: Recurrent) -> tuple[Node, Carried]:
    shape = (1, node.bottoms[0].shape[1], layer.hidden)

    def values(when: str) -> dict[str, Value]:
        names = {name: f"{layer.name}/{when}/{name}" for name in layer.state_names}
        return {name: Value(full, full, shape, shape) for name, full in names.items()}

    carried = Carried(values("entering"), values("leaving"))
    bottoms = (*node.bottoms, *carried.entering.values())
    tops = (*node.tops, *carried.leaving.values())
    weights = (*node.loss_weights, *(0.0 for _ in carried.leaving))
    exposed = replace(node, layer=layer.exposed(), bottoms=bottoms, tops=tops, loss_weights=weights)
    return exposed, carried
