"""Fillers that keep the variance of a net of sums: msra with slopes, branches scaled by depth.

msra makes Var[y] = n Var[w] E[x²] the variance before the rectifier in front of the layer. On a
chain E[x²] is ½ (1 + a²) of it (He et al. 2015, eq. 10). A sum adds the E[x²] of its bottoms, and
its rectifier halves nothing where the values were rectified before: of z = s + b with s ≥ 0 only
the branch b loses. L branches in series that each add as much as their trunk has make it 2^L; with
the last filler of each scaled by 1/√L the sum grows by (1 + 1/L)^L < e, forward and backward
(Zhang et al. 2019, "Fixup Initialization", whose L^(-1/(2m - 2)) on the m - 1 first of m layers is
the same product).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, prod, sqrt

import numpy as np

from ..caffe_pb2 import EltwiseParameter, FillerParameter
from ..weights.trained import Weights
from .fans import is_weighted, true_n
from .graph import Graph, Node
from .params import match_weights
from .rectifiers import Rectifier, rectifier_of

_NORMAL = ("BatchNorm", "MVN")


@dataclass(frozen=True)
class Branch:
    """A way around a sum's trunk.

    Attributes:
        sum: the index of the Eltwise node that adds it.
        last: the indices of its last layers with weights; none: a normalisation comes after them.
        inside: the indices of all its nodes, as bits.
    """

    sum: int
    last: tuple[int, ...]
    inside: int


class Branches:
    """The residual branches of a net: what an Eltwise adds to its way of the fewest weights.

    Args:
        graph: the net.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._makers = {
            top.name: index for index, node in enumerate(graph.nodes) for top in node.tops
        }
        before: dict[str, int] = {}  # of each value the nodes that it comes from, as bits
        for index, node in enumerate(graph.nodes):
            bits = 1 << index
            for value in node.bottoms:
                bits |= before.get(value.name, 0)
            before |= {top.name: bits for top in node.tops}
        self._before = before
        self._weights = sum(1 << i for i, node in enumerate(graph.nodes) if is_weighted(node))

    @cached_property
    def all(self) -> tuple[Branch, ...]:
        """The branches in the order of their sums."""
        return tuple(
            branch for index in range(len(self._graph.nodes)) for branch in self._at(index)
        )

    @cached_property
    def series(self) -> int:
        """The largest number of sums with branches that follow one another."""
        sums = {branch.sum for branch in self.all}
        counts: dict[str, int] = {}
        for index, node in enumerate(self._graph.nodes):
            before = max((counts.get(value.name, 0) for value in node.bottoms), default=0)
            counts |= {top.name: before + (index in sums) for top in node.tops}
        return max(counts.values(), default=0)

    @cached_property
    def inside(self) -> frozenset[int]:
        """The indices of the nodes that are part of a branch."""
        bits = 0
        for branch in self.all:
            bits |= branch.inside
        return frozenset(i for i in range(len(self._graph.nodes)) if bits >> i & 1)

    def _at(self, index: int) -> Iterator[Branch]:
        node = self._graph.nodes[index]
        if node.layer.type != "Eltwise" or node.layer.p.operation != EltwiseParameter.SUM:
            return
        ways = [self._before.get(value.name, 0) for value in node.bottoms]
        own = []
        for i, way in enumerate(ways):
            others = 0
            for j, other in enumerate(ways):
                others |= other if i != j else 0
            own.append(way & ~others)
        weights = [(bits & self._weights).bit_count() for bits in own]
        trunk = weights.index(min(weights))
        for i, value in enumerate(node.bottoms):
            if i != trunk and weights[i] and ways[i] & ways[trunk]:
                yield Branch(index, self._last(value.name, own[i]), own[i])

    def _last(self, name: str, own: int) -> tuple[int, ...]:
        """Return the last layers with weights before a value, among the nodes of `own`."""
        found, todo = set(), [name]
        while todo:
            index = self._makers[todo.pop()]
            node = self._graph.nodes[index]
            if not own >> index & 1:
                continue
            if node.layer.type in _NORMAL:
                return ()
            if is_weighted(node):
                found.add(index)
            else:
                todo += [value.name for value in node.bottoms]
        return tuple(sorted(found))


def branch_shares(graph: Graph) -> dict[int, float]:
    """Return the share of the trunk's variance that each branch may add: 1 / L, by the last layer.

    Branches of one sum divide it, and so do several last layers of one branch.
    """
    branches = Branches(graph)
    counts: dict[int, int] = {}
    for branch in branches.all:
        counts[branch.sum] = counts.get(branch.sum, 0) + len(branch.last)
    return {
        index: 1 / (branches.series * counts[branch.sum])
        for branch in branches.all
        for index in branch.last
    }


def std_by_node(graph: Graph, weights: Weights | None = None) -> dict[int, float]:
    """Return the std of each layer's weights that keeps the variance, by the node's index.

    Args:
        graph: the net.
        weights: a file whose PReLU slopes count in place of those of their fillers.

    Raises:
        CaffeCompatError: the weights do not fit the net; a PReLU's filler is refused.
    """
    slopes = match_weights(graph, weights)[0] if weights else {}
    shares = branch_shares(graph)
    levels: dict[str, _Level] = {}
    stds: dict[int, float] = {}
    for index, node in enumerate(graph.nodes):
        parts = [levels.get(value.name, _Level(1.0, 1.0)) for value in node.bottoms]
        if is_weighted(node) and parts:
            share = shares.get(index, 1.0)
            norm = node.blobs[0].filler.variance_norm if node.blobs[0].filler else 0
            with np.errstate(all="ignore"):
                variance = share * parts[0].unit / (true_n(node, norm) * parts[0].square or inf)
            stds[index] = sqrt(variance)
            level = _Level(share * parts[0].unit, share * parts[0].unit)
        else:
            level = _pass(node, rectifier_of(graph, node, slopes), parts)
        levels |= {top.name: level for top in node.tops}
    return stds


def apply_residual(graph: Graph, weights: Weights | None = None) -> Graph:
    """Return the net with a gaussian of `std_by_node` for every layer's weights.

    Bilinear upsampling stays, as do blobs in the prototxt itself.
    """
    nodes = list(graph.nodes)
    for index, std in std_by_node(graph, weights).items():
        first = nodes[index].blobs[0]
        if not is_fixed(nodes[index]):
            blob = replace(first, filler=FillerParameter(type="gaussian", std=std))
            nodes[index] = replace(nodes[index], blobs=(blob, *nodes[index].blobs[1:]))
    return replace(graph, nodes=tuple(nodes))


def is_fixed(node: Node) -> bool:
    """Return whether a layer's weights are not drawn: a bilinear kernel, or in the prototxt."""
    filler = node.blobs[0].filler
    return bool(node.layer.proto.blobs) or (filler is not None and filler.type == "bilinear")


# ---- E[x²] on the way ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Level:
    """A value in theory.

    Attributes:
        square: E[x²].
        unit: the variance before the rectifier that it comes from, which msra is to keep.
        trunk: the part of `square` that was rectified before, which a rectifier leaves alone.
        rectified: whether no weights followed the last rectifier.
    """

    square: float
    unit: float
    trunk: float = 0.0
    rectified: bool = False


def _pass(node: Node, rectifier: Rectifier | None, parts: Sequence[_Level]) -> _Level:
    """Return the level of a layer without weights."""
    if not parts:
        return _Level(1.0, 1.0)
    first = parts[0]
    if rectifier is not None:
        square = first.trunk + rectifier.gain / 2 * (first.square - first.trunk)
        unit = square if first.trunk else first.unit
        return _Level(square, unit, square, True)
    if node.layer.type in _NORMAL:
        return _Level(1.0, 1.0)
    if node.layer.type == "Concat":
        sizes = [prod(value.shape) for value in node.bottoms]
        total = sum(sizes) or 1
        shares = [size / total for size in sizes]
        return _Level(
            sum(s * part.square for s, part in zip(shares, parts, strict=True)),
            sum(s * part.unit for s, part in zip(shares, parts, strict=True)),
            sum(s * part.trunk for s, part in zip(shares, parts, strict=True)),
            all(part.rectified for part in parts),
        )
    if node.layer.type == "Eltwise" and node.layer.p.operation == EltwiseParameter.SUM:
        scales = [c * c for c in node.layer.p.coeff] or [1.0] * len(parts)
        pairs = list(zip(scales, parts, strict=True))
        square = sum(c * part.square for c, part in pairs)
        trunk = sum(c * part.square for c, part in pairs if part.rectified)
        return _Level(square, square, trunk)
    if node.layer.type == "Power" and node.layer.p.power == 1:
        scale = float(node.layer.p.scale) ** 2
        return _Level(
            scale * first.square, scale * first.unit, scale * first.trunk, first.rectified
        )
    return first
