"""A net to examine, and how its fillers compare with those that would keep its variance."""

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

OFF = 1.5  # a variance this many times off is worth a word


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        rule: which rule says so, in a word or two.
        severity: `severe`: the net will hardly train; `warning`; `note`.
        layers: the layers that it is true of, first to last.
        number: what was measured or computed, as the message has it.
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
    """A net to look at.

    Attributes:
        net: with its weights.
        written: the net as the prototxt has it.
        loaded: the layers whose weights come from a file.
        feeds: what its signals were measured on.
        given: whether that came from the caller.
    """

    net: Net
    written: Graph
    loaded: frozenset[str]
    feeds: dict[str, Array]
    given: bool

    @cached_property
    def moment(self) -> float:
        """E[x²] of the first input; 1 where there is none."""
        inputs = self.net.graph.inputs
        x = self.feeds[inputs[0].blob] if inputs else np.ones(1, np.float32)
        return float(np.mean(np.square(x, dtype=np.float64))) or 1.0

    @cached_property
    def resolved(self) -> dict[int, Resolved]:
        """What the slope rule says about the weights of a node, by its index."""
        graph = self.net.graph
        every = {each.place: each for each in resolve(graph)}
        return {
            index: every[index, 0]
            for index, node in enumerate(graph.nodes)
            if is_weighted(node) and (index, 0) in every
        }

    def drawn(self, *types: str) -> Iterator[tuple[int, Node, Resolved]]:
        """The layers whose weights a filler of these types drew, as the prototxt has it."""
        for index, each in self.resolved.items():
            node = self.net.graph.nodes[index]
            carried = node.layer.name in self.loaded or len(node.layer.proto.blobs)
            own = self.written.nodes[index].blobs[0].filler == each.filler
            if own and not carried and each.filler.type in types:
                yield index, node, each


def is_right(node: Node, each: Resolved) -> bool:
    """Whether a filler's variance is about what keeps it from layer to layer."""
    std = std_of(node.blobs[0].shape, each.filler)
    return std is not None and 1 / OFF < (std / float(each.sigma)) ** 2 < OFF


def std_of(shape: Sequence[int], p: FillerParameter) -> float | None:
    """The std of a filler whose mean is 0; None of others."""
    if p.type == "msra":
        return float(fillers.sigma(shape, p))
    if p.type == "xavier":
        return float(1 / fillers.fan(shape, p.variance_norm) ** 0.5)
    steady = p.type == "gaussian" and p.sparse == -1 and not p.mean
    return float(p.std) if steady else None


def factor_of(node: Node, each: Resolved) -> float:
    """By what a layer multiplies the variance: its own over that which keeps it."""
    std = std_of(node.blobs[0].shape, each.filler)
    return 1.0 if std is None else (std / float(each.sigma)) ** 2


def remedy(each: Resolved) -> str:
    """The line of the filler that keeps the variance at a layer."""
    norm = each.filler.variance_norm
    name = FillerParameter.VarianceNorm.Name(norm)
    said = "" if norm == FillerParameter.FAN_IN else f" variance_norm: {name}"
    rectifiers = {r for r in each.rectifiers if r.layers}
    if len(rectifiers) > 1 or any(r.slope is None for r in rectifiers):
        return f'weight_filler {{ type: "gaussian" std: {float(each.sigma):.6g} }}'
    a = next((r.slope for r in rectifiers), None)
    return f'weight_filler {{ type: "msra"{f" a: {a:.6g}" if a else ""}{said} }}'
