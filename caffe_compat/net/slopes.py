"""The slope `a` of msra's variance, found in the net itself (He et al. 2015, eq. 15).

½ (1 + a²) n Var[w] = 1 keeps the variance from layer to layer, where ½ (1 + a²) is what the
rectifier between two layers leaves of it: forward (FAN_IN) the one that feeds the layer, backward
(FAN_OUT) the one that the layer feeds. For other activations f it is E[f(z)²], z ~ N(0, 1), in both
directions; where nothing stands between, 1. Everywhere below `gain` is twice that: 1 + a².

The way from a layer to its rectifier leads through layers that move values or pick among them, and
through Scale and Bias, which start as the identity. It ends at what renormalises (BatchNorm, LRN,
MVN), at other weights, at the net's ends and at any other layer: linear. Where it branches, gains
are averaged: of a Concat or an Eltwise by the elements of each bottom, of a Slice by those of each
top, of several readers alike. Recurrent layers are the nets that Caffe unrolls: RNN's two products
end in a TanH each, and LSTM's in an LSTMUnit, which is none of the rectifiers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, prod
from typing import Any

import numpy as np

from .. import fillers
from ..caffe_pb2 import FillerParameter
from ..errors import ShapeError
from ..fillers import moments
from ..layers.families.activation import PReLU
from ..layers.families.conv import Convolution
from ..layers.families.dense import Embed, InnerProduct
from ..layers.families.recurrent import RNN, Recurrent
from ..layers.layer import Blob, Layer
from ..types import Array
from ..weights.trained import Weights
from .graph import Graph, Node
from .params import carried, match_weights
from .sharing import Place

__all__ = ["LINEAR", "Rectifier", "Resolved", "apply", "decayed", "resolve"]


@dataclass(frozen=True)
class Rectifier:
    """What stands between two layers with weights.

    Attributes:
        layers: the names of the activation layers found; none: linear.
        gain: 1 + a² of a ReLU or PReLU, 2 E[f(z)²] of another activation f, 2 where it is linear;
            the mean where several were found. A float32.
    """

    layers: tuple[str, ...]
    gain: float

    @property
    def slope(self) -> float | None:
        """The a of this gain; None where it is below 1 (Sigmoid, TanH): no real slope has it."""
        return float(np.sqrt(self.gain - 1)) if self.gain >= 1 else None


LINEAR = Rectifier((), 2.0)


@dataclass(frozen=True)
class Resolved:
    """What the rule says about one blob of weights.

    Attributes:
        place: the node and which of its blobs.
        filler: as the net has it.
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
        """What the filler's variance_norm divides by."""
        norm = self.filler.variance_norm
        if norm == FillerParameter.AVERAGE:
            return (self.fan_in + self.fan_out) / 2
        return self.fan_out if norm == FillerParameter.FAN_OUT else self.fan_in

    @property
    def rectifiers(self) -> tuple[Rectifier, ...]:
        """Those that count: feeding (FAN_IN), fed (FAN_OUT), or both (AVERAGE)."""
        norm = self.filler.variance_norm
        if norm == FillerParameter.AVERAGE:
            return self.feeding, self.fed
        return (self.fed,) if norm == FillerParameter.FAN_OUT else (self.feeding,)

    @property
    def sigma(self) -> np.float32:
        """The std: σ² = 2 / ((1 + a²) n), or 4 / ((1 + a_in²) fan_in + (1 + a_out²) fan_out).

        In msra's own order of operations, so that it is msra's to the last bit where `a` is.
        """
        if self.filler.variance_norm == FillerParameter.AVERAGE:
            share = (self.feeding.gain * self.fan_in + self.fed.gain * self.fan_out) / 2
        else:
            share = self.rectifiers[0].gain * float(np.float32(self.n))
        with np.errstate(over="ignore", divide="ignore"):
            return np.float32(np.sqrt(np.float32(2) / np.float32(share)))


def resolve(graph: Graph, weights: Weights | None = None) -> tuple[Resolved, ...]:
    """What the rule says about every blob of weights, whatever its filler; biases have no say.

    Args:
        graph: the net.
        weights: a file whose PReLU slopes count in the place of what their fillers give.

    Raises:
        CaffeCompatError: the weights do not fit the net; a PReLU's filler is refused.
    """
    held = match_weights(graph, weights)[0] if weights else {}
    found = [_rectifier(graph, node, held) for node in graph.nodes]
    before, after = _before(graph, found), _after(graph, found)
    resolved = []
    for index, node in enumerate(graph.nodes):
        if not isinstance(node.layer, (Convolution, InnerProduct, Embed, Recurrent)):
            continue
        for i, blob in enumerate(node.blobs):
            if blob.filler is not None and len(blob.shape) > 1:
                feeding, fed = _ends(node, blob, before, after)
                fan_in, fan_out = fillers.fans(blob.shape)
                resolved.append(Resolved((index, i), blob.filler, fan_in, fan_out, feeding, fed))
    return tuple(resolved)


def apply(graph: Graph, resolved: Sequence[Resolved]) -> Graph:
    """The net with each msra filler as the gaussian of the std found: other σ, the same draws.

    A gaussian, since no `a` has the gain of a TanH, or of both sides of an AVERAGE.

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
    """The PReLU layers whose slopes weight decay would pull to 0, which makes them ReLUs.

    He et al. 2015, section 2, trains them without; `param { decay_mult: 0 }` says so.
    """
    return [
        node.layer.name
        for node in graph.nodes
        if isinstance(node.layer, PReLU)
        and not any(s.decay_mult == 0 or s.lr_mult == 0 for s in node.layer.proto.param[:1])
    ]


def _names(rectifier: Rectifier) -> str:
    return ", ".join(rectifier.layers) or "linear"


# ---- what an activation leaves of the variance --------------------------------------------------

_KINKS: dict[str, Callable[[Any], tuple[float, ...]]] = {  # where the slope jumps, if not at 0
    "Clip": lambda p: (p.min, p.max),
    "HardSwish": lambda p: (-3, 3),
    "ReLU6": lambda p: (0, 6),
    "Threshold": lambda p: (p.threshold,),
}
_ACTIVATIONS = {
    *_KINKS,
    "AbsVal",
    "BNLL",
    "ELU",
    "Insanity",
    "Mish",
    "RReLU",
    "Sigmoid",
    "Swish",
    "TanH",
}


def _rectifier(graph: Graph, node: Node, held: Mapping[Place, Array]) -> Rectifier | None:
    """What a layer is to its neighbours; None: no activation."""
    layer = node.layer
    with layer.named(), np.errstate(all="ignore"):  # an extreme parameter shows in the std
        if isinstance(layer, PReLU):
            return Rectifier((layer.name,), _gain(_rms(graph, node, held)))
        if layer.type in ("ReLU", "CReLU"):
            return Rectifier((layer.name,), _gain(layer.p.negative_slope))
        if layer.type in _ACTIVATIONS:
            kinks = _KINKS[layer.type](layer.p) if layer.type in _KINKS else (0.0,)
            moment = moments.of_activation(layer.forward, kinks)
            return Rectifier((layer.name,), float(np.float32(2 * moment)))
        if isinstance(layer, RNN):  # its tops, and what its weights meet inside
            return Rectifier((layer.name,), float(np.float32(2 * moments.of_activation(np.tanh))))
    return None


def _gain(slope: float) -> float:
    """1 + a², in float32 as msra has it."""
    a = np.float32(slope)
    return float(np.float32(1) + a * a)


def _rms(graph: Graph, node: Node, held: Mapping[Place, Array]) -> float:
    """The root mean square of a PReLU's slopes: loaded, in the prototxt, or by its filler."""
    ((index, i),) = node.owners
    owner = graph.nodes[index]
    known = [held[index, i]] if (index, i) in held else carried(owner)[i : i + 1]
    if known:
        return float(np.sqrt(np.mean(np.square(known[0], dtype=np.float64))))
    moment = moments.second_moment(owner.blobs[i].shape, owner.blobs[i].filler)
    assert moment is not None  # of one value for each output it is closed
    return float(np.sqrt(moment))


# ---- the way to it ------------------------------------------------------------------------------

_THROUGH = {  # what moves values about or picks among them: the first bottom comes out
    "BatchReindex",
    "Bias",
    "Crop",
    "Dropout",
    "Flatten",
    "Im2col",
    "Permute",
    "Pooling",
    "Reorg",
    "Reshape",
    "Reverse",
    "SPP",
    "Scale",
    "ShuffleChannel",
    "Slice",
    "Split",
    "Tile",
    "Transpose",
}
_JOINED = {"Concat", "Eltwise"}  # likewise, from all bottoms
_DEAD_ENDS = {  # no gradient comes back
    "Accuracy",
    "ArgMax",
    "DetectionEvaluate",
    "DetectionOutput",
    "HDF5Output",
    "PriorBox",
    "Silence",
    "Threshold",
}
_REFERENCES = {"BatchReindex", "Crop"}  # their second bottom too


def _passages(layer: Layer, bottoms: int, tops: int) -> list[tuple[int, int]]:
    """The (bottom, top) pairs between which a layer lets values through as they are."""
    if layer.type == "Filter":  # the last bottom selects
        return [(i, i) for i in range(min(bottoms - 1, tops))]
    if layer.type in _JOINED:
        return [(i, 0) for i in range(bottoms)]
    if layer.type in _THROUGH or (layer.type == "Power" and layer.p.power == 1):
        # Pooling's second top is a mask.
        return [(0, i) for i in range(1 if layer.type == "Pooling" else tops)]
    return []


def _before(graph: Graph, found: Sequence[Rectifier | None]) -> dict[str, Rectifier]:
    """For every value, by name: the rectifier that it comes from."""
    before: dict[str, Rectifier] = {}
    for node, rectifier in zip(graph.nodes, found, strict=True):
        ways = _passages(node.layer, len(node.bottoms), len(node.tops))
        for k, top in enumerate(node.tops):
            sources = [node.bottoms[b] for b, t in ways if t == k]
            parts = [(before[value.name], prod(value.shape)) for value in sources]
            before[top.name] = rectifier or _mean(parts)
    return before


def _after(graph: Graph, found: Sequence[Rectifier | None]) -> dict[str, Rectifier]:
    """For every value, by name: the rectifier that it goes to."""
    readers: dict[str, list[Rectifier]] = {value.name: [] for value in graph.values}
    after: dict[str, Rectifier] = {}
    for node, rectifier in zip(reversed(graph.nodes), reversed(found), strict=True):
        for top in node.tops:
            after[top.name] = _mean([(reader, 1) for reader in readers[top.name]])
        if node.layer.type in _DEAD_ENDS:
            continue
        ways = _passages(node.layer, len(node.bottoms), len(node.tops))
        inside = isinstance(node.layer, Recurrent)  # its own weights come first
        for i, bottom in enumerate(node.bottoms):
            onward = [node.tops[t] for b, t in ways if b == i]
            if i and node.layer.type in _REFERENCES:
                continue
            if rectifier and not inside:
                readers[bottom.name].append(rectifier)
            else:
                parts = [(after[value.name], prod(value.shape)) for value in onward]
                readers[bottom.name].append(_mean(parts))
    return after


def _mean(parts: Sequence[tuple[Rectifier, int]]) -> Rectifier:
    """The mean gain by the weights given; of nothing, linear."""
    total = sum(share for _, share in parts)
    if not total:
        return LINEAR
    names = tuple(dict.fromkeys(name for part, _ in parts for name in part.layers))
    gains = {part.gain for part, _ in parts}
    if len(gains) == 1:
        return Rectifier(names, gains.pop())
    return Rectifier(
        names, float(np.float32(sum(part.gain * share for part, share in parts) / total))
    )


def _ends(
    node: Node, blob: Blob, before: Mapping[str, Rectifier], after: Mapping[str, Rectifier]
) -> tuple[Rectifier, Rectifier]:
    """The rectifiers before and behind one blob of weights."""
    if not isinstance(node.layer, Recurrent):
        feeding = _mean([(before[value.name], 1) for value in node.bottoms])
        return feeding, _mean([(after[value.name], 1) for value in node.tops])
    inner = LINEAR
    if isinstance(node.layer, RNN):
        inner = before[node.tops[0].name]
    if blob.name.startswith("W_x"):
        return before[node.bottoms[2 if blob.name.endswith("_static") else 0].name], inner
    return inner, inner
