"""The fillers of a net's weights, and what their rectifiers ask for, as `show` prints them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..caffe_pb2 import FillerParameter
from ..fillers import moments
from ..weights.trained import Weights
from . import slopes
from .graph import Graph
from .rectifiers import Rectifier


@dataclass(frozen=True)
class FillerSummary:
    """The filler of a blob of weights, and the rule that its rectifiers ask for.

    Attributes:
        layer: the layer's name.
        blob: the blob's name.
        filler: the filler's type.
        norm: its variance_norm.
        n: the divisor that the norm selects.
        rectifiers: the rectifiers that count for the norm.
        std: the std that they ask for; only msra with `slopes="auto"` uses it; None of a bilinear
            kernel, which is no random filler.
        rms: the root mean square of the filler's own values; None if it has no closed form.
    """

    layer: str
    blob: str
    filler: str
    norm: str
    n: float
    rectifiers: tuple[Rectifier, ...]
    std: float | None
    rms: float | None


def summarize_fillers(graph: Graph, weights: Weights | None = None) -> tuple[FillerSummary, ...]:
    """Return the filler of every blob of weights, and what its rectifiers ask for.

    Args:
        graph: the net.
        weights: a file whose PReLU slopes count in place of those of their fillers.

    Raises:
        CaffeCompatError: as for `resolve_slopes`.
    """
    rows = []
    for each in slopes.resolve(graph, weights):
        index, i = each.place
        node = graph.nodes[index]
        with node.layer.named():
            moment = moments.second_moment(node.blobs[i].shape, each.filler)
        rows.append(
            FillerSummary(
                node.layer.name,
                node.blobs[i].name,
                each.filler.type,
                FillerParameter.VarianceNorm.Name(each.filler.variance_norm),
                each.n,
                each.rectifiers,
                None if each.filler.type == "bilinear" else float(each.sigma),
                None if moment is None else math.sqrt(moment),
            )
        )
    return tuple(rows)
