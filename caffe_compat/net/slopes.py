"""The slope `a` of msra's variance, found in the net itself (He et al. 2015, eq. 15).

½ (1 + a²) n Var[w] = 1 keeps the variance from layer to layer, where ½ (1 + a²) of it passes the
rectifier between two layers: forward (FAN_IN) the rectifier that feeds the layer, backward
(FAN_OUT) the one that the layer feeds. `rectifiers` finds both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from .. import fillers
from ..caffe_pb2 import FillerParameter
from ..errors import ShapeError
from ..layers.families.conv import Convolution
from ..layers.families.dense import Embed, InnerProduct
from ..layers.families.rectifier import PReLU
from ..layers.families.recurrent import Recurrent
from ..weights.trained import Weights
from .graph import Graph
from .params import match_weights
from .rectifiers import Rectifier, Rectifiers
from .sharing import Place


@dataclass(frozen=True)
class Resolved:
    """The std that the rule gives one blob of weights.

    Attributes:
        place: the blob's (node, blob).
        filler: the net's own.
        fan_in: Caffe's count of inputs, from the blob's shape.
        fan_out: Caffe's count of outputs.
        feeding: the rectifier that feeds the layer.
        fed: the rectifier that the layer feeds.
    """

    place: Place
    filler: FillerParameter
    fan_in: int
    fan_out: int
    feeding: Rectifier
    fed: Rectifier

    @property
    def n(self) -> float:
        """The divisor of the filler's variance_norm."""
        norm = self.filler.variance_norm
        if norm == FillerParameter.AVERAGE:
            return (self.fan_in + self.fan_out) / 2
        return self.fan_out if norm == FillerParameter.FAN_OUT else self.fan_in

    @property
    def rectifiers(self) -> tuple[Rectifier, ...]:
        """The rectifiers that count: feeding (FAN_IN), fed (FAN_OUT), or both (AVERAGE)."""
        norm = self.filler.variance_norm
        if norm == FillerParameter.AVERAGE:
            return self.feeding, self.fed
        return (self.fed,) if norm == FillerParameter.FAN_OUT else (self.feeding,)

    @property
    def sigma(self) -> np.float32:
        """The std: σ² = 2 / ((1 + a²) n), or 4 / ((1 + a_in²) fan_in + (1 + a_out²) fan_out).

        Computed in msra's own order of operations, so that it is msra's to the last bit.
        """
        if self.filler.variance_norm == FillerParameter.AVERAGE:
            share = (self.feeding.gain * self.fan_in + self.fed.gain * self.fan_out) / 2
        else:
            share = self.rectifiers[0].gain * float(np.float32(self.n))
        with np.errstate(over="ignore", divide="ignore"):
            return np.float32(np.sqrt(np.float32(2) / np.float32(share)))


def resolve(graph: Graph, weights: Weights | None = None) -> tuple[Resolved, ...]:
    """Apply the rule to every blob of weights, whatever its filler, and to no bias.

    Args:
        graph: the net.
        weights: a file whose PReLU slopes count in place of those of their fillers.

    Raises:
        CaffeCompatError: the weights do not fit the net; a PReLU's filler is refused.
    """
    rectifiers = Rectifiers(graph, match_weights(graph, weights)[0] if weights else {})
    resolved = []
    for index, node in enumerate(graph.nodes):
        if not isinstance(node.layer, (Convolution, InnerProduct, Embed, Recurrent)):
            continue
        for i, blob in enumerate(node.blobs):
            if blob.filler is not None and len(blob.shape) > 1:
                feeding, fed = rectifiers.around(node, blob)
                fan_in, fan_out = fillers.fans(blob.shape)
                resolved.append(Resolved((index, i), blob.filler, fan_in, fan_out, feeding, fed))
    return tuple(resolved)


def apply(graph: Graph, resolved: Sequence[Resolved]) -> Graph:
    """Replace each msra filler by the gaussian of the rule's std: other σ, the same draws.

    A gaussian, since no `a` has the gain of a TanH, or of both sides of an AVERAGE.

    Args:
        graph: the net.
        resolved: its blobs of weights, from `resolve`.

    Raises:
        ShapeError: an activation gives a std that is 0 or not finite.
    """
    nodes = list(graph.nodes)
    for each in resolved:
        if each.filler.type != "msra":
            continue
        index, i = each.place
        blobs, sigma = list(nodes[index].blobs), float(each.sigma)
        if not 0 < sigma < inf:
            with nodes[index].layer.named():
                gains = " and ".join(f"{r.gain:g} ({_names(r)})" for r in each.rectifiers)
                raise ShapeError(f"filler 'msra': the std is {sigma:g} at a gain of {gains}")
        blobs[i] = replace(blobs[i], filler=FillerParameter(type="gaussian", std=sigma))
        nodes[index] = replace(nodes[index], blobs=tuple(blobs))
    return replace(graph, nodes=tuple(nodes))


def decayed(graph: Graph) -> list[str]:
    """Return the PReLU layers whose slopes weight decay would pull to 0, which makes them ReLUs.

    He et al. 2015, section 2, trains them without decay: `param { decay_mult: 0 }`.
    """
    return [
        node.layer.name
        for node in graph.nodes
        if isinstance(node.layer, PReLU)
        and not any(s.decay_mult == 0 or s.lr_mult == 0 for s in node.layer.proto.param[:1])
    ]


def _names(rectifier: Rectifier) -> str:
    return ", ".join(rectifier.layers) or "linear"
