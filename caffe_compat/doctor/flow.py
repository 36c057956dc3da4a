"""The places where a net's signal is lost on its way, forward and backward.

A signal has several ways through a net of sums, concatenations and gates, and one that is alive
carries it: a branch that adds little to its sum is sound, whatever its own gain, and a sum that
grows from block to block is not, however good each filler. So a signal is lost where no way is
left on which every layer with weights reads values between 1e-3 and 1e3: forward of E[x²] at the
first of these layers, backward of the gradient's sum of squares at the net's ends.

Two things are no loss. Values that a normalisation scales before any layer with weights reads them
count after it. And the last layer with weights before an end may be as small as it likes, since
its own training mends that; what follows is measured from there, and from before the mean over a
picture that it may read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import inf, prod
from typing import Literal, TypeAlias

from ..caffe_pb2 import PoolingParameter
from ..net.fans import is_weighted
from ..net.graph import Graph, Node, Value
from ..net.residual import is_fixed
from .ends import depths_of, find_ends
from .signals import Stats

Way: TypeAlias = Literal["forward", "backward"]

LOW, HIGH = 1e-3, 1e3
TAMED = 1e9  # a gradient before a normalised layer: it grows with depth, and larger weights mean
# smaller steps (Yang et al. 2019, "A Mean Field Theory of Batch Normalization"); ResNet-152: 3e7
_NORMAL = ("BatchNorm", "MVN")
_RESTARTS = {"Normalize"}  # the length of a vector, not its elements, is what it makes 1


@dataclass(frozen=True)
class Loss:
    """A signal that is lost.

    Attributes:
        way: the direction.
        layer: the layer with weights whose output is out of range (forward), or that reads it.
        share: the signal there, over that at its start.
        depth: the depth of that layer.
    """

    way: Way
    layer: str
    share: float
    depth: int


@dataclass(frozen=True)
class Flow:
    """The ways through a net, and the measured levels on them.

    Attributes:
        graph: the net.
        stats: its measurements.
        zeros: the layers with weights that are all 0.
    """

    graph: Graph
    stats: Stats
    zeros: frozenset[str] = frozenset()

    @cached_property
    def ends(self) -> tuple[Value, ...]:
        """The values at which gradients start."""
        return find_ends(self.graph, self.zeros)

    @cached_property
    def depths(self) -> dict[str, int]:
        """The number of layers with weights before each value, by name."""
        return depths_of(self.graph)

    @property
    def depth(self) -> int:
        """The number of layers with weights on the longest way."""
        return max(self.depths.values(), default=0)

    @cached_property
    def heads(self) -> frozenset[int]:
        """The nodes with weights behind which no other comes."""
        above: set[str] = set()  # values that lead to weights
        heads = set()
        for index, node in reversed([*enumerate(self.graph.nodes)]):
            onward = any(top.name in above for top in node.tops)
            if _learns(node) and not onward:
                heads.add(index)
            if onward or _learns(node):
                above.update(value.name for value in node.bottoms)
        return frozenset(heads)

    @cached_property
    def read(self) -> frozenset[str]:
        """The names of the values that layers with weights read."""
        nodes = (node for node in self.graph.nodes if is_weighted(node))
        return frozenset(value.name for node in nodes for value in node.bottoms)

    @cached_property
    def tamed(self) -> frozenset[str]:
        """The names of the values that are normalised before any layer with weights reads them."""
        open_ends = {end.name for end in self.ends}  # and those that are not
        for node in reversed(self.graph.nodes):
            if node.layer.type in _NORMAL:
                continue
            if is_weighted(node) or any(top.name in open_ends for top in node.tops):
                open_ends.update(value.name for value in node.bottoms)
        return frozenset(v.name for v in self.graph.values if v.name not in open_ends)

    @cached_property
    def highest(self) -> dict[str, float]:
        """The level of a gradient from which it explodes, by the value that weights read."""
        highest: dict[str, float] = {}
        for node in self.graph.nodes:
            if is_weighted(node):
                most = TAMED if node.tops[0].name in self.tamed else HIGH
                for value in node.bottoms:
                    highest[value.name] = min(most, highest.get(value.name, most))
        return highest

    @cached_property
    def starts(self) -> tuple[Value, ...]:
        """The values that the first layers with weights read."""
        values = {
            value.name: value
            for node in self.graph.nodes
            for value in node.bottoms
            if is_weighted(node) and not self.depths[value.name]
        }
        return tuple(values.values())

    @cached_property
    def forward(self) -> dict[str, float]:
        """Var[y] over the mean square at the first layers with weights, by `Value.name`."""
        units: dict[str, float] = {}
        levels = {}
        for node in self.graph.nodes:
            below = [units[v.name] for v in node.bottoms if self.depths[v.name]]
            below = below or [self.stats.moments.get(v.name, 1.0) or 1.0 for v in node.bottoms]
            for top in node.tops:
                if top.name not in self.stats.variances:
                    continue
                own = self.stats.moments[top.name] or 1.0
                restart = not self.depths[top.name] or node.layer.type in _RESTARTS
                units[top.name] = own if restart else max(below, default=own)
                levels[top.name] = self.stats.variances[top.name] / units[top.name]
            for top in node.tops:
                units.setdefault(top.name, max(below, default=1.0))
        return levels

    @cached_property
    def backward(self) -> dict[str, float]:
        """The gradient's sum of squares over that at the ends, by `Value.name`."""
        size = sum(prod(end.shape) for end in self.ends) or 1
        gradients, values = self.stats.gradients, {v.name: v for v in self.graph.values}
        return {
            name: moment * prod(values[name].shape) / size for name, moment in gradients.items()
        }

    @cached_property
    def unit(self) -> float:
        """E[x²] of what the first layers with weights read; 1 if there is none."""
        moments = [self.stats.moments.get(value.name, 0.0) for value in self.starts]
        return max(moments, default=1.0) or 1.0

    def losses(self) -> tuple[Loss, ...]:
        """Return where the signal is lost forward, and backward, if it is."""
        return (*self._lost_forward(), *self._lost_backward())

    def arrivals(self) -> tuple[float, float]:
        """Return the levels at which the signal arrives: forward at the end, backward at the start.

        At the deepest end, or what its last layer reads, before it is averaged; of several starts
        at the worst.
        """
        ahead = 1.0
        if self.ends:
            end = max(self.ends, key=lambda value: self.depths[value.name])
            name = self._before_head(end)
            ahead = self.forward.get(name, 1.0) if self.depths[name] else self.forward[end.name]
        units = self.backward_units
        back = [
            self.backward[v.name] / units.get(v.name, 1.0)
            for v in self.starts
            if v.name in self.backward
        ]
        return ahead, max(back, key=distance, default=1.0)

    def _before_head(self, end: Value) -> str:
        """Return what the deepest last layer before an end reads, if all ways there pass one."""
        makers = {top.name: node for node in self.graph.nodes for top in node.tops}
        passed: set[str] = set()
        for index, node in enumerate(self.graph.nodes):
            behind = all(value.name in passed for value in node.bottoms)
            if index in self.heads or (node.bottoms and behind):
                passed.update(top.name for top in node.tops)
        if end.name not in passed:
            return end.name
        before = _ancestors(self.graph, [end])
        nodes = [self.graph.nodes[index] for index in self.heads]
        reads = [node.bottoms[0] for node in nodes if node.tops[0].name in before]
        value = max(reads, key=lambda value: self.depths[value.name])
        while self.depths[value.name] and _averages(makers[value.name]):
            value = makers[value.name].bottoms[0]
        return value.name

    def _lost_forward(self) -> Iterable[Loss]:
        levels, carried = self.forward, set[str]()
        fronts: list[tuple[Node, Value]] = []
        ends = {end.name for end in self.ends}
        tested = self.read | ends
        free = self._behind_heads()
        for node in self.graph.nodes:
            for top in node.tops:
                if not self.depths[top.name]:
                    carried.add(top.name)
                elif any(value.name in carried for value in node.bottoms):
                    level = levels.get(top.name, 1.0)
                    low = 0.0 if top.name in free else LOW
                    if top.name not in tested or low <= level <= HIGH:
                        carried.add(top.name)
                    else:
                        fronts.append((node, top))
        lost = [end for end in self.ends if end.name not in carried]
        before = _ancestors(self.graph, lost)
        fronts = [(node, top) for node, top in fronts if top.name in before]
        if fronts:
            node, top = fronts[-1]
            maker = self._maker(node)
            yield Loss("forward", maker.layer.name, levels[top.name], self.depths[top.name])

    def _behind_heads(self) -> frozenset[str]:
        behind: set[str] = set()
        for index, node in enumerate(self.graph.nodes):
            if index in self.heads or any(value.name in behind for value in node.bottoms):
                behind.update(top.name for top in node.tops)
        return frozenset(behind)

    def _maker(self, node: Node) -> Node:
        """Return the node itself or the nearest one before it that has weights."""
        makers = {top.name: node for node in self.graph.nodes for top in node.tops}
        while not is_weighted(node):
            deepest = max(node.bottoms, key=lambda value: self.depths[value.name])
            node = makers[deepest.name]
        return node

    @cached_property
    def backward_units(self) -> dict[str, float]:
        """The unit of each gradient, by `Value.name`: less behind a small last layer."""
        units = {end.name: 1.0 for end in self.ends}
        near: set[str] = set()  # values that nothing but the mean's layer parts from the last one
        for index, node in reversed([*enumerate(self.graph.nodes)]):
            above = [units[top.name] for top in node.tops if top.name in units]
            last = index in self.heads
            mean = _averages(node) and node.tops[0].name in near
            for value in node.bottoms if above else ():
                level = self.backward.get(value.name, 1.0)
                unit = (min(1.0, level) or 1.0) if last or mean else max(above)
                units[value.name] = max(unit, units.get(value.name, 0.0))
            if last or (len(node.bottoms) == 1 and node.tops[0].name in near):
                near.update(value.name for value in node.bottoms)
        return units

    def _lost_backward(self) -> Iterable[Loss]:
        levels, nodes = self.backward, self.graph.nodes
        reached = {end.name for end in self.ends}
        fronts: list[tuple[Value, float, Node]] = []
        readers: dict[str, Node] = {}
        for node in reversed(nodes):
            for top in node.tops:
                if top.name not in readers:
                    continue
                level = levels.get(top.name, 0.0) / self.backward_units[top.name]
                if not LOW <= level <= self.highest[top.name]:
                    fronts.append((top, level, readers[top.name]))
                    reached.discard(top.name)
            if not any(top.name in reached for top in node.tops):
                continue
            for value in node.bottoms:
                if value.name in levels:
                    reached.add(value.name)
                    if is_weighted(node):
                        readers[value.name] = node
        starts = [value for value in self.starts if value.name in levels]
        before = _ancestors(self.graph, [value for value, _, _ in fronts])
        lost = {v.name for v in starts if v.name not in reached and v.name in before}
        for value, level, node in reversed(fronts):
            if lost & _ancestors(self.graph, [value]):
                depth = self.depths[node.tops[0].name]
                yield Loss("backward", node.layer.name, level, depth)
                return


def _learns(node: Node) -> bool:
    """Return whether a layer has weights that are no bilinear kernel."""
    return is_weighted(node) and not is_fixed(node)


def _averages(node: Node) -> bool:
    """Return whether a layer takes means, whose variance is less than that of the values."""
    return node.layer.type == "Pooling" and node.layer.p.pool == PoolingParameter.AVE


def distance(level: float) -> float:
    """Return how many times above or below 1 a level is; infinity for 0."""
    return max(level, 1 / level) if 0 < level < inf else inf


def _ancestors(graph: Graph, values: Iterable[Value]) -> set[str]:
    """Return the names of the values and of all that they are computed from."""
    names = {value.name for value in values}
    for node in reversed(graph.nodes):
        if any(top.name in names for top in node.tops):
            names.update(value.name for value in node.bottoms)
    return names
