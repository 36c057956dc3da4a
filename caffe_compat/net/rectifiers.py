"""The rectifiers before and behind every layer with weights (He et al. 2015, eq. 10 and 14).

½ (1 + a²) of the variance passes a rectifier of slope a. For other activations f it is E[f(z)²],
z ~ N(0, 1), forward and backward; without an activation, 1. `gain` is twice that: 1 + a².

The path from a layer to its rectifier leads through layers that move values or pick among them, and
through Scale and Bias, which start as the identity. It ends at layers that renormalise (BatchNorm,
LRN, MVN), at other weights, at the net's ends and at any other layer: linear. At a branch
gains are averaged: of a Concat or an Eltwise by the elements of each bottom, of a Slice by those of
each top, of several readers alike. Recurrent layers are the nets that Caffe unrolls: RNN's two
products end in a TanH each, and LSTM's in an LSTMUnit, which is no rectifier.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..fillers import moments
from ..layers.families.rectifier import PReLU
from ..layers.families.recurrent import RNN, Recurrent
from ..layers.layer import Blob, Layer
from ..types import Array
from .graph import Graph, Node
from .params import carried
from .sharing import Place


@dataclass(frozen=True)
class Rectifier:
    """The activations between two layers with weights.

    Attributes:
        layers: the names of the activation layers; none: linear.
        gain: 1 + a² of a ReLU or PReLU, 2 E[f(z)²] of another activation f, 2 where it is linear;
            the mean of several. A float32.
    """

    layers: tuple[str, ...]
    gain: float

    @property
    def slope(self) -> float | None:
        """The a of this gain; None below 1 (Sigmoid, TanH), where no real slope has it."""
        return float(np.sqrt(self.gain - 1)) if self.gain >= 1 else None


LINEAR = Rectifier((), 2.0)


class Rectifiers:
    """The rectifiers of a net.

    Args:
        graph: the net.
        slopes: trained PReLU slopes, by the place that owns them; fillers give the others.

    Raises:
        CaffeCompatError: a PReLU's filler is refused.
    """

    def __init__(self, graph: Graph, slopes: Mapping[Place, Array]) -> None:
        rectifiers = [rectifier_of(graph, node, slopes) for node in graph.nodes]
        self._before, self._after = _before(graph, rectifiers), _after(graph, rectifiers)

    def around(self, node: Node, blob: Blob) -> tuple[Rectifier, Rectifier]:
        """Return the rectifiers before and behind one blob of weights."""
        before, after = self._before, self._after
        if not isinstance(node.layer, Recurrent):
            feeding = _mean([(before[value.name], 1) for value in node.bottoms])
            return feeding, _mean([(after[value.name], 1) for value in node.tops])
        inner = LINEAR
        if isinstance(node.layer, RNN):
            inner = before[node.tops[0].name]
        if blob.name.startswith("W_x"):
            bottom = node.bottoms[2 if blob.name.endswith("_static") else 0]
            return before[bottom.name], inner
        return inner, inner


# ---- the gain of an activation -------------------------------------------------------------------

# The points where the slope jumps, of activations where that is not 0.
_KINKS: dict[str, Callable[[Any], tuple[float, ...]]] = {
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


def rectifier_of(graph: Graph, node: Node, slopes: Mapping[Place, Array]) -> Rectifier | None:
    """Return the rectifier that a layer is; None: no activation."""
    layer = node.layer
    with layer.named(), np.errstate(all="ignore"):  # an extreme parameter shows in the std
        if isinstance(layer, PReLU):
            return Rectifier((layer.name,), _gain(_rms(graph, node, slopes)))
        if layer.type in ("ReLU", "CReLU"):
            return Rectifier((layer.name,), _gain(layer.p.negative_slope))
        if layer.type in _ACTIVATIONS:
            kinks = _KINKS[layer.type](layer.p) if layer.type in _KINKS else (0.0,)
            moment = moments.of_activation(layer.forward, kinks)
            return Rectifier((layer.name,), float(np.float32(2 * moment)))
        if isinstance(layer, RNN):  # its tops, and its weights inside
            return Rectifier((layer.name,), float(np.float32(2 * moments.of_activation(np.tanh))))
    return None


def _gain(slope: float) -> float:
    """Return 1 + a², in float32 as msra computes it."""
    a = np.float32(slope)
    return float(np.float32(1) + a * a)


def _rms(graph: Graph, node: Node, slopes: Mapping[Place, Array]) -> float:
    """Return the root mean square of a PReLU's slopes: trained, in the prototxt, or filled."""
    ((index, i),) = node.owners
    owner = graph.nodes[index]
    arrays = [slopes[index, i]] if (index, i) in slopes else carried(owner)[i : i + 1]
    if arrays:
        return float(np.sqrt(np.mean(np.square(arrays[0], dtype=np.float64))))
    moment = moments.second_moment(owner.blobs[i].shape, owner.blobs[i].filler)
    assert moment is not None  # with one value per output there is a closed form
    return float(np.sqrt(moment))


# ---- the path to it ------------------------------------------------------------------------------

_THROUGH = {  # layers that move values or pick among them: the first bottom comes out
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
    """Return the (bottom, top) pairs between which a layer passes values unchanged."""
    if layer.type == "Filter":  # the last bottom selects
        return [(i, i) for i in range(min(bottoms - 1, tops))]
    if layer.type in _JOINED:
        return [(i, 0) for i in range(bottoms)]
    if layer.type in _THROUGH or (layer.type == "Power" and layer.p.power == 1):
        # Pooling's second top is a mask.
        return [(0, i) for i in range(1 if layer.type == "Pooling" else tops)]
    return []


def _before(graph: Graph, rectifiers: Sequence[Rectifier | None]) -> dict[str, Rectifier]:
    """Return the rectifier that every value comes from, by its name."""
    before: dict[str, Rectifier] = {}
    for node, rectifier in zip(graph.nodes, rectifiers, strict=True):
        pairs = _passages(node.layer, len(node.bottoms), len(node.tops))
        for k, top in enumerate(node.tops):
            sources = [node.bottoms[b] for b, t in pairs if t == k]
            parts = [(before[value.name], prod(value.shape)) for value in sources]
            before[top.name] = rectifier or _mean(parts)
    return before


def _after(graph: Graph, rectifiers: Sequence[Rectifier | None]) -> dict[str, Rectifier]:
    """Return the rectifier that every value goes to, by its name."""
    readers: dict[str, list[Rectifier]] = {value.name: [] for value in graph.values}
    after: dict[str, Rectifier] = {}
    for node, rectifier in zip(reversed(graph.nodes), reversed(rectifiers), strict=True):
        for top in node.tops:
            after[top.name] = _mean([(reader, 1) for reader in readers[top.name]])
        if node.layer.type in _DEAD_ENDS:
            continue
        pairs = _passages(node.layer, len(node.bottoms), len(node.tops))
        inside = isinstance(node.layer, Recurrent)  # its own weights come first
        for i, bottom in enumerate(node.bottoms):
            onward = [node.tops[t] for b, t in pairs if b == i]
            if i and node.layer.type in _REFERENCES:
                continue
            if rectifier and not inside:
                readers[bottom.name].append(rectifier)
            else:
                parts = [(after[value.name], prod(value.shape)) for value in onward]
                readers[bottom.name].append(_mean(parts))
    return after


def _mean(parts: Sequence[tuple[Rectifier, int]]) -> Rectifier:
    """Return the mean gain by these weights; linear if there is none."""
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
