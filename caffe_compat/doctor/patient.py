"""A net to examine, and its fillers beside those that would preserve the variance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from .. import fillers
from ..caffe_pb2 import FillerParameter
from ..fillers.moments import second_moment
from ..net.fans import is_weighted
from ..net.graph import Graph, Node
from ..net.net import Net
from ..net.residual import branch_shares, is_fixed, std_by_node
from ..types import Array
from .flow import Flow

OFF = 1.5  # the factor by which a variance must be wrong to be reported


@dataclass(frozen=True)
class Patient:
    """A net to examine.

    Attributes:
        net: the net with its weights.
        written: the graph as the prototxt has it.
        from_file: the layers whose weights come from a file.
        feeds: the input of the first trial.
        own_data: whether the caller provided that input.
        flow: the measurements of all trials.
        measure: measures another graph as this one was measured, with so many trials.
    """

    net: Net
    written: Graph
    from_file: frozenset[str]
    feeds: Mapping[str, Array]
    own_data: bool
    flow: Flow
    measure: Callable[[Graph, int], Flow]

    @property
    def nodes(self) -> Sequence[Node]:
        """The layers."""
        return self.net.graph.nodes

    @cached_property
    def stds(self) -> dict[int, float]:
        """The std that keeps the variance at each layer with weights, by index."""
        return std_by_node(self.net.graph)

    @cached_property
    def shares(self) -> dict[int, float]:
        """The share of its trunk that each residual branch may add, by its last layer's index."""
        return branch_shares(self.net.graph)

    @cached_property
    def drawn(self) -> tuple[int, ...]:
        """The indices of the layers whose weights the prototxt's own fillers drew."""
        return tuple(
            index
            for index, node in enumerate(self.nodes)
            if is_weighted(node)
            and node.bottoms
            and node.layer.name not in self.from_file
            and not is_fixed(node)
            and node.owners[0] == (index, 0)
            and self.written.nodes[index].blobs[0].filler == node.blobs[0].filler
        )

    def factor(self, index: int) -> float:
        """Return the factor of a layer's variance: its filler's over the one that keeps it."""
        blob, right = self.nodes[index].blobs[0], self.stds[index]
        moment = second_moment(blob.shape, blob.filler)
        return 1.0 if moment is None or not right else moment / right**2

    def names(self, indices: Sequence[int]) -> tuple[str, ...]:
        """Return the names of layers, each once."""
        return tuple(dict.fromkeys(self.nodes[index].layer.name for index in sorted(indices)))


def type_of(node: Node) -> str:
    """Return the type of the filler of a layer's weights; `zero` of one that fills with 0."""
    filler = node.blobs[0].filler
    if filler is None or (filler.type == "constant" and not filler.value):
        return "zero"
    return str(filler.type)


def filler_with(std: float, node: Node) -> FillerParameter:
    """Return the filler of a std: msra, with its slope where Caffe's count of n gives one.

    A gaussian where no slope from 0 to 1 has this std.
    """
    norm = node.blobs[0].filler.variance_norm if node.blobs[0].filler else FillerParameter.FAN_IN
    shape = node.blobs[0].shape
    square = 2 / (std**2 * float(fillers.fan(shape, norm))) - 1 if std else -1.0
    slope = float(f"{max(square, 0.0) ** 0.5:.6g}")
    filler = FillerParameter(type="msra")
    if norm:
        filler.variance_norm = norm
    if slope > 1e-3:
        filler.a = slope
    own = float(fillers.sigma(shape, filler))
    if slope < 0.999 and abs(own - std) <= 1e-3 * std:
        return filler
    return FillerParameter(type="gaussian", std=float(f"{std:.6g}"))
