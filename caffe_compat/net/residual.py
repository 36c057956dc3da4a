"""Fillers that keep the variance of a net of sums: msra with slopes, branches scaled by depth.

msra makes Var[y] = n Var[w] E[x²] the variance before the rectifier in front of the layer. On a
chain E[x²] is ½ (1 + a²) of it (He et al. 2015, eq. 10). A sum adds the E[x²] of its bottoms, and
its rectifier halves nothing that was rectified before: of z = s + b with s ≥ 0 only the branch b
loses. So L branches in series that each add as much as their trunk has make it 2^L. With the last
layer of each such that it adds 1 / L of E[s²], the sum grows by (1 + 1/L)^L < e, forward and
backward (Zhang et al. 2019, "Fixup Initialization", whose L^(-1/(2m - 2)) on the m - 1 first of
m layers is the same product).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, prod, sqrt

from ..caffe_pb2 import EltwiseParameter, FillerParameter
from ..weights.trained import Weights
from .fans import connections, is_weighted, true_n
from .graph import Graph, Node
from .params import match_weights
from .rectifiers import Rectifier, rectifier_of

_NORMAL = ("BatchNorm", "MVN")
_RECTIFIERS = ("ReLU", "PReLU", "CReLU", "ELU", "ReLU6")


@dataclass(frozen=True)
class Branch:
    """A way around a sum's trunk.

    Attributes:
        sum: the index of the Eltwise node that adds it.
        trunk: the name of the value that it is added to.
        last: the indices of its last layers with weights; none: a normalisation comes after them.
        inside: the indices of all its nodes, as bits.
        rectified: whether a rectifier comes after its last weights.
    """

    sum: int
    trunk: str
    last: tuple[int, ...]
    inside: int
    rectified: bool


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
                last, rectified = self._last(value.name, own[i])
                yield Branch(index, node.bottoms[trunk].name, last, own[i], rectified)

    def _last(self, name: str, own: int) -> tuple[tuple[int, ...], bool]:
        """Return the last layers with weights before a value, and whether one is rectified.

        Among the nodes of `own`.
        """
        found, todo, rectified = set(), [name], False
        while todo:
            index = self._makers[todo.pop()]
            node = self._graph.nodes[index]
            if not own >> index & 1:
                continue
            if node.layer.type in _NORMAL:
                return (), False
            if is_weighted(node):
                found.add(index)
            else:
                rectified |= node.layer.type in _RECTIFIERS
                todo += [value.name for value in node.bottoms]
        return tuple(sorted(found)), rectified


def branch_shares(graph: Graph) -> dict[int, float]:
    """Return the share of the trunk's variance that each branch may add: 1 / L, by the last layer.

    Branches of one sum divide it, and so do several last layers of one branch. Of a branch that
    ends in a rectifier it is 1 / L², since the means of rectified values add up.
    """
    return {index: share for index, (share, _) in _shares(graph).items()}


def _shares(graph: Graph) -> dict[int, tuple[float, str]]:
    """Return the share and the trunk's name by the index of a branch's last layer."""
    branches = Branches(graph)
    counts: dict[int, int] = {}
    for branch in branches.all:
        counts[branch.sum] = counts.get(branch.sum, 0) + len(branch.last)
    shares = {}
    for branch in branches.all:
        for index in branch.last:
            share = 1 / (branches.series * counts[branch.sum])
            shares[index] = (share**2 if branch.rectified else share, branch.trunk)
    return shares


def std_by_node(
    graph: Graph, weights: Weights | None = None, *, inside: bool = False
) -> dict[int, float]:
    """Return the std of each layer's weights that keeps the variance, by the node's index.

    Args:
        graph: the net.
        weights: a file whose PReLU slopes count in place of those of their fillers.
        inside: count the inputs inside the picture alone; the padding's are 0.

    Raises:
        CaffeCompatError: the weights do not fit the net; a PReLU's filler is refused.
    """
    slopes = match_weights(graph, weights)[0] if weights else {}
    shares = _shares(graph)
    levels: dict[str, _Level] = {}
    stds: dict[int, float] = {}
    for index, node in enumerate(graph.nodes):
        parts = [levels.get(value.name, _Level(1.0, 1.0)) for value in node.bottoms]
        if is_weighted(node) and parts:
            wanted = parts[0].unit
            if index in shares:
                share, trunk = shares[index]  # a projection may come behind the branch
                wanted = share * (levels[trunk].square if trunk in levels else wanted)
            norm = node.blobs[0].filler.variance_norm if node.blobs[0].filler else 0
            n = connections(node)[0] if inside else true_n(node, norm)
            stds[index] = sqrt(wanted / (n * parts[0].square or inf))
            level = _Level(wanted, wanted)
        else:
            level = _pass(node, rectifier_of(graph, node, slopes), parts)
        levels |= {top.name: level for top in node.tops}
    return stds


def apply_residual(graph: Graph, weights: Weights | None = None) -> Graph:
    """Return the net with a gaussian of `std_by_node` for every layer's weights, without padding.

    Bilinear upsampling stays, as do blobs in the prototxt itself.
    """
    nodes = list(graph.nodes)
    for index, std in std_by_node(graph, weights, inside=True).items():
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
        unit: the variance before a rectifier that gives this E[x²], which msra is to keep.
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
        gain = rectifier.gain / 2
        square = first.trunk + gain * (first.square - first.trunk)
        unit = square / (gain or 1.0) if first.trunk else first.unit
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
        ratios = [part.unit / (part.square or inf) for part in parts if part.rectified]
        return _Level(square, square * max(ratios, default=1.0), trunk)
    if node.layer.type == "Power" and node.layer.p.power == 1:
        scale = float(node.layer.p.scale) ** 2
        return _Level(
            scale * first.square, scale * first.unit, scale * first.trunk, first.rectified
        )
    return first
