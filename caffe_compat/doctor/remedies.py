"""Changes to a net, and what they do to its signals: measured on a copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite

from ..caffe_pb2 import FillerParameter, LayerParameter
from ..errors import CaffeCompatError
from ..layers.registry import find, registry
from ..net.build import connect
from ..net.fans import is_weighted
from ..net.graph import Graph, Node
from ..net.sharing import Place
from .flow import Flow, distance
from .patient import Patient


@dataclass(frozen=True)
class Change:
    """A line of prototxt for some layers.

    Attributes:
        layers: the layers' names; a line that is a layer itself goes behind each.
        line: the line: a field of the layer's parameter in place of the one it has, or a layer.
    """

    layers: tuple[str, ...]
    line: str


@dataclass(frozen=True)
class Effect:
    """A number before and after a remedy.

    Attributes:
        what: its name.
        before: as the net is written.
        after: with the remedy.
    """

    what: str
    before: float
    after: float

    def __str__(self) -> str:
        """Return it as one phrase."""
        return f"{self.what} {_say(self.before)} -> {_say(self.after)}"


@dataclass(frozen=True)
class Remedy:
    """Changes that were measured.

    Attributes:
        changes: the lines to write.
        effects: what they do.
    """

    changes: tuple[Change, ...]
    effects: tuple[Effect, ...]


@dataclass(frozen=True)
class Trial:
    """A way to change a net that may mend it.

    Attributes:
        name: what is done, for a message.
        fillers: the new fillers by the blob's place, the node's index and 0 or 1 (the bias).
        normalise: the indices of the nodes to put a BatchNorm behind.
    """

    name: str
    fillers: Mapping[Place, FillerParameter]
    normalise: tuple[int, ...] = ()

    def apply(self, graph: Graph) -> Graph:
        """Return the changed net."""
        nodes = list(graph.nodes)
        for (index, i), filler in self.fillers.items():
            blobs = list(nodes[index].blobs)
            blobs[i] = replace(blobs[i], filler=filler)
            nodes[index] = replace(nodes[index], blobs=tuple(blobs))
        changed = replace(graph, nodes=tuple(nodes))
        return _normalise(changed, self.normalise) if self.normalise else changed

    def changes(self, graph: Graph) -> tuple[Change, ...]:
        """Return the lines that make the same of the prototxt."""
        lines: dict[str, list[str]] = {}
        for index, i in sorted(self.fillers):
            line = filler_line(self.fillers[index, i], "bias" if i else "weight")
            lines.setdefault(line, []).append(graph.nodes[index].layer.name)
        changes = [Change(tuple(dict.fromkeys(names)), line) for line, names in lines.items()]
        for index in self.normalise:
            node = graph.nodes[index]
            changes.append(Change((node.layer.name,), _normal_line(node)))
        return tuple(changes)

    def size(self) -> int:
        """Return the number of layers that it changes."""
        return len(self.fillers) + len(self.normalise)


def filler_line(filler: FillerParameter, blob: str = "weight") -> str:
    """Return a filler as a line of prototxt."""
    if filler.type == "constant":
        return f"{blob}_filler {{ value: {filler.value:g} }}"
    if filler.type == "gaussian":
        return f'{blob}_filler {{ type: "gaussian" std: {filler.std:.6g} }}'
    norm = FillerParameter.VarianceNorm.Name(filler.variance_norm)
    slope = f" a: {filler.a:.6g}" if filler.a else ""
    suffix = f" variance_norm: {norm}" if filler.variance_norm else ""
    return f'{blob}_filler {{ type: "{filler.type}"{slope}{suffix} }}'


def first_that_mends(
    patient: Patient, trials: Sequence[Trial]
) -> tuple[Trial | None, Flow | None, str]:
    """Measure ways to mend a net, the smallest first.

    Returns:
        The first that mends and its measurements, and what the others gave, for a message.
    """
    tried: dict[str, tuple[float, float]] = {}
    done: list[Mapping[Place, FillerParameter]] = []
    for trial in sorted(trials, key=lambda trial: (bool(trial.normalise), trial.size())):
        if not trial.size() or (not trial.normalise and trial.fillers in done):
            continue
        done.append(trial.fillers)
        try:
            flow = patient.measure(trial.apply(patient.net.graph), 1)
        except CaffeCompatError:  # a BatchNorm that does not fit
            continue
        if mends(patient.flow, flow):
            return trial, flow, ""
        tried[trial.name] = flow.arrivals()
    said = "; ".join(
        f"{name} gives {_say(ahead)} forward and {_say(back)} backward"
        for name, (ahead, back) in list(tried.items())[-3:]
    )
    return None, None, said


def mends(before: Flow, after: Flow) -> bool:
    """Return whether nothing is lost any more, and nothing went from near 1 to far from it."""
    if after.losses():
        return False
    pairs = zip(before.arrivals(), after.arrivals(), strict=True)
    return all(distance(new) <= max(30.0, distance(old)) for old, new in pairs)


def effects(before: Flow, after: Flow) -> tuple[Effect, ...]:
    """Return what arrives at the end and, of the gradient, at the start, before and after."""
    (ahead, back), (ahead_after, back_after) = before.arrivals(), after.arrivals()
    return Effect("forward", ahead, ahead_after), Effect("backward", back, back_after)


def with_proto(node: Node, change: Callable[[LayerParameter], object]) -> Node:
    """Return the node with its layer created again from a changed copy of its message."""
    proto = LayerParameter()
    proto.CopyFrom(node.layer.proto)
    change(proto)
    return node if proto == node.layer.proto else replace(node, layer=type(node.layer)(proto))


def _normalise(graph: Graph, indices: Sequence[int]) -> Graph:
    """Return the net with a BatchNorm of the batch behind these layers, in place."""
    types, chosen = registry(), set(indices)
    layers, net = [], type(graph.net)()
    net.CopyFrom(graph.net)
    del net.layer[:]
    fillers = {}
    for index, node in enumerate(graph.nodes):
        layers.append(node.layer)
        fillers[len(layers) - 1] = node.blobs
        net.layer.add().CopyFrom(node.layer.proto)
        if index in chosen:
            proto = net.layer.add()
            proto.CopyFrom(_normal(node))
            layers.append(find(proto, types, None, None)(proto))
    inputs = {value.blob: value.shape for value in graph.inputs}
    built = connect(net, layers, inputs)
    nodes = [
        replace(node, blobs=fillers.get(index, node.blobs))
        for index, node in enumerate(built.nodes)
    ]
    return replace(built, nodes=tuple(nodes))


def _normal(node: Node) -> LayerParameter:
    top = node.tops[0].blob
    proto = LayerParameter(name=f"{node.layer.name}_bn", type="BatchNorm", bottom=[top], top=[top])
    proto.batch_norm_param.use_global_stats = False
    return proto


def _normal_line(node: Node) -> str:
    top = node.tops[0].blob
    name = f"{node.layer.name}_bn"
    return f'layer {{ name: "{name}" type: "BatchNorm" bottom: "{top}" top: "{top}" }}'


def hidden(patient: Patient) -> tuple[int, ...]:
    """Return the layers with weights behind which a BatchNorm may go: all but the last ones."""
    flow = patient.flow
    return tuple(
        index
        for index, node in enumerate(patient.nodes)
        if is_weighted(node) and index not in flow.heads and node.tops[0].name not in flow.tamed
    )


def _say(number: float) -> str:
    return f"{number:.2g}" if isfinite(number) else "overflow"
