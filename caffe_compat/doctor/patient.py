"""A net to examine, and its fillers beside those that would preserve the variance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np

from .. import fillers
from ..caffe_pb2 import FillerParameter
from ..net.graph import Graph, Node
from ..net.net import Net
from ..net.slopes import Resolved, resolve
from ..types import Array
from .theory import is_weighted

Severity: TypeAlias = Literal["severe", "warning", "note"]

OFF = 1.5  # the factor by which a variance must be wrong to be reported


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        rule: the rule's name, one word.
        severity: `severe`: the net will hardly train; `warning`; `note`.
        layers: the layers concerned, first to last.
        number: the measured or computed number in the message.
        message: one sentence.
        remedy: a line for the prototxt of each of these layers.
    """

    rule: str
    severity: Severity
    layers: tuple[str, ...]
    number: float
    message: str
    remedy: str


@dataclass(frozen=True)
class Patient:
    """A net to examine.

    Attributes:
        net: the net with its weights.
        written: the graph as the prototxt has it.
        from_file: the layers whose weights come from a file.
        feeds: the input that its signals were measured on.
        own_data: whether the caller provided that input.
    """

    net: Net
    written: Graph
    from_file: frozenset[str]
    feeds: dict[str, Array]
    own_data: bool

    @cached_property
    def moment(self) -> float:
        """E[x²] of the first input; 1 if there is none."""
        inputs = self.net.graph.inputs
        x = self.feeds[inputs[0].blob] if inputs else np.ones(1, np.float32)
        return float(np.mean(np.square(x, dtype=np.float64))) or 1.0

    @cached_property
    def resolved(self) -> dict[int, Resolved]:
        """The fillers that the rectifiers ask for, by the node's index."""
        graph = self.net.graph
        every = {each.place: each for each in resolve(graph)}
        return {
            index: every[index, 0]
            for index, node in enumerate(graph.nodes)
            if is_weighted(node) and (index, 0) in every
        }

    def drawn(self, *types: str) -> Iterator[tuple[int, Node, Resolved]]:
        """Yield the layers whose weights a filler of these types, the prototxt's own, drew."""
        for index, each in self.resolved.items():
            node = self.net.graph.nodes[index]
            stored = node.layer.name in self.from_file or len(node.layer.proto.blobs)
            own = self.written.nodes[index].blobs[0].filler == each.filler
            if own and not stored and each.filler.type in types:
                yield index, node, each


def is_right(node: Node, each: Resolved) -> bool:
    """Return whether a filler about preserves the variance from layer to layer."""
    std = std_of(node.blobs[0].shape, each.filler)
    return std is not None and 1 / OFF < (std / float(each.sigma)) ** 2 < OFF


def std_of(shape: Sequence[int], p: FillerParameter) -> float | None:
    """Return the std of a filler whose mean is 0; None of any other."""
    if p.type == "msra":
        return float(fillers.sigma(shape, p))
    if p.type == "xavier":
        return float(1 / fillers.fan(shape, p.variance_norm) ** 0.5)
    steady = p.type == "gaussian" and p.sparse == -1 and not p.mean
    return float(p.std) if steady else None


def factor_of(node: Node, each: Resolved) -> float:
    """Return the factor of a layer's variance: its filler's over the one that preserves it."""
    std = std_of(node.blobs[0].shape, each.filler)
    return 1.0 if std is None else (std / float(each.sigma)) ** 2


def remedy(each: Resolved) -> str:
    """Return the prototxt line of the filler that preserves the variance at a layer."""
    norm = each.filler.variance_norm
    name = FillerParameter.VarianceNorm.Name(norm)
    suffix = "" if norm == FillerParameter.FAN_IN else f" variance_norm: {name}"
    rectifiers = {r for r in each.rectifiers if r.layers}
    if len(rectifiers) > 1 or any(r.slope is None for r in rectifiers):
        return f'weight_filler {{ type: "gaussian" std: {float(each.sigma):.6g} }}'
    a = next((r.slope for r in rectifiers), None)
    return f'weight_filler {{ type: "msra"{f" a: {a:.6g}" if a else ""}{suffix} }}'
