"""Leave out of a net the losses and evaluations that have no ONNX form."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from ..layers.families.ends import Input
from ..prototxt.flow import with_layers
from .feeding import input_layer
from .graph import Node, Value
from .net import Net

log = logging.getLogger("caffe_compat")


def without_evaluations(net: Net, wanted: Collection[str] = ()) -> tuple[Net, Sequence[Node]]:
    """Return the net without the losses and evaluations that have no ONNX form, and these.

    What they alone read is an output then, or no input any more. One stays where
    something reads its tops, or where nothing would be left.

    Args:
        net: stays as it is.
        wanted: the values, by `Value.name`, that the caller reads.
    """
    read = _read(net.graph.nodes) | set(wanted)
    ends = [
        node
        for node in net.graph.nodes
        if node.layer.evaluates and read.isdisjoint(top.name for top in node.tops)
    ]
    cut = _without(net, ends, wanted) if ends else net
    return (cut, ends) if ends and cut.graph.outputs else (net, ())


def report_left(evaluations: Iterable[Node]) -> None:
    """Log which evaluations were left out."""
    names = [f"'{node.layer.name}' ({node.layer.type})" for node in evaluations]
    if names:
        some = names[:4] if len(names) > 5 else names
        more = f" and {len(names) - len(some)} more" if len(names) > len(some) else ""
        verb = "has" if len(names) == 1 else "have"
        log.info("left out: %s%s, which %s no ONNX form", ", ".join(some), more, verb)


def _without(net: Net, ends: Sequence[Node], wanted: Collection[str]) -> Net:
    """Return the net without nodes whose tops nothing reads."""
    graph = net.graph
    compared = {value.name: value for node in ends for value in node.bottoms}
    left = [node for node in graph.nodes if node not in ends]
    unread = compared.keys() - _read(left) - set(wanted)
    fed = {value.name for value in graph.inputs}
    gone = (unread & fed) | {top.name for node in ends for top in node.tops}
    kept = [
        (place, node if gone.isdisjoint(top.name for top in node.tops) else _fed(node, gone))
        for place, node in enumerate(graph.nodes)
        if not gone.issuperset(top.name for top in node.tops) or not node.tops
    ]
    index = {place: i for i, (place, _) in enumerate(kept)}
    nodes = tuple(
        replace(node, owners=tuple((index[owner], i) for owner, i in node.owners))
        for _, node in kept
    )
    outputs = {value.blob: value for value in graph.outputs if value.name not in gone}
    outputs |= {compared[name].blob: compared[name] for name in unread - fed}
    cut = replace(
        graph,
        net=with_layers(graph.net, (node.layer.proto for node in nodes)),
        nodes=nodes,
        inputs=tuple(value for value in graph.inputs if value.name not in gone),
        outputs=tuple(outputs[blob] for blob in sorted(outputs)),
    )
    return replace(net, graph=cut, arrays=tuple(net.arrays[place] for place, _ in kept))


def _fed(node: Node, gone: Collection[str]) -> Node:
    """Return an Input for the tops of a data layer that are still read."""
    tops: tuple[Value, ...] = tuple(top for top in node.tops if top.name not in gone)
    proto = input_layer(node.layer.name, [top.blob for top in tops], node.layer.proto)
    for top in tops:
        proto.input_param.shape.add(dim=top.shape)
    return replace(node, layer=Input(proto), tops=tops, loss_weights=(0.0,) * len(tops))


def _read(nodes: Iterable[Node]) -> set[str]:
    """Return the names of the values that nodes read."""
    return {value.name for node in nodes for value in node.bottoms}
