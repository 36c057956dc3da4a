"""The same net under other fillers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from .. import fillers
from ..caffe_pb2 import FillerParameter, LayerParameter
from ..errors import ParseError
from ..layers.layer import Blob
from ..net.fans import is_weighted
from ..net.graph import Graph, Node
from ..net.residual import apply_residual
from ..net.slopes import apply, resolve
from ..weights.trained import Weights
from .remedies import with_proto


@dataclass(frozen=True)
class Variant:
    """A choice of fillers.

    Attributes:
        label: its name.
        filler: the filler of every layer's weights; None: the net's own.
        slopes: `auto` finds the slope of every msra filler in the net; `residual` also counts
            what sums add, and scales the last filler of each of L branches by 1/√L.
    """

    label: str
    filler: FillerParameter | None = None
    slopes: Literal["auto", "residual"] | None = None


def variant(text: str) -> Variant:
    """Parse `xavier`, `msra`, `msra:auto`, `msra:residual`, `msra:0.25` or `gaussian:0.01`.

    Raises:
        ParseError: it is none of these.
    """
    name, _, setting = text.partition(":")
    filler = FillerParameter(type=name)
    if text == "msra:auto":
        return Variant(text, filler, "auto")
    if text == "msra:residual":
        return Variant(text, filler, "residual")
    field = {"msra": "a", "gaussian": "std", "constant": "value"}.get(name)
    if name not in fillers.FILLERS or (setting and field is None):
        raise ParseError(
            f"{text!r} is no filler to compare with; msra, msra:auto, msra:residual, msra:0.25, "
            "xavier, gaussian:0.01, constant:0 are"
        )
    if setting and field:
        try:
            setattr(filler, field, float(setting))
        except ValueError:
            raise ParseError(f"{text!r}: {setting!r} is no number") from None
    return Variant(text, filler)


def refill(graph: Graph, variant: Variant, weights: Weights | None = None) -> Graph:
    """Return the net with a variant's fillers for its weights; bilinear upsampling stays."""
    if variant.filler is not None:
        nodes = tuple(_refill(node, variant.filler) for node in graph.nodes)
        graph = replace(graph, nodes=nodes)
    if variant.slopes == "residual":
        return apply_residual(graph, weights)
    return apply(graph, resolve(graph, weights)) if variant.slopes else graph


def with_batch_statistics(graph: Graph) -> Graph:
    """Return the net with BatchNorm by the statistics of the batch, as in training."""
    nodes = tuple(with_proto(node, _use_batch_statistics) for node in graph.nodes)
    return replace(graph, nodes=nodes)


def _refill(node: Node, filler: FillerParameter) -> Node:
    if not is_weighted(node):
        return node
    weight, *biases = node.blobs
    if weight.filler is not None and weight.filler.type == "bilinear":
        return node
    node = replace(node, blobs=(Blob(weight.name, weight.shape, filler), *biases))
    return with_proto(node, lambda proto: proto.ClearField("blobs"))


def _use_batch_statistics(proto: LayerParameter) -> None:
    if proto.type == "BatchNorm":
        proto.batch_norm_param.use_global_stats = False
