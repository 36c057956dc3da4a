"""He et al. 2015's prediction of a net's signals: products of ½ (1 + a²) n E[w²] over its layers.

Forward (eq. 9) n counts the inputs of an output and a is the slope of the rectifier that feeds the
layer; backward (eq. 13) the outputs of an input, and the rectifier that it feeds. Activations other
than rectifiers are integrated at the variance predicted for their input. A normalisation restarts
the product, Concat and Eltwise join several, and pooling is ignored, as in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..caffe_pb2 import EltwiseParameter
from ..fillers.moments import of_activation
from ..layers.families.batch_norm import BatchNorm
from ..layers.families.rectifier import PReLU
from ..layers.layer import Layer
from ..net.fans import connections, is_weighted
from ..net.graph import Node, Value
from ..net.net import Net
from ..types import Array

Array64: TypeAlias = NDArray[np.float64]

_CURVED = {
    "AbsVal",
    "BNLL",
    "Clip",
    "ELU",
    "HardSwish",
    "Mish",
    "ReLU6",
    "Sigmoid",
    "Swish",
    "TanH",
}
_MOVING = {
    "Bias",
    "Crop",
    "Dropout",
    "Flatten",
    "Im2col",
    "LRN",
    "Permute",
    "Pooling",
    "Reshape",
    "SPP",
    "ShuffleChannel",
    "Slice",
    "Split",
    "Tile",
    "Transpose",
}
"""Layers that pass values on about as they are."""
_NORMAL = {"BatchNorm", "MVN"}
_JOINING = {"Concat", "Eltwise"}


def predict_forward(net: Net, moments: Mapping[str, float]) -> dict[str, float]:
    """Return E[y²] of the values that theory covers, by `Value.name`, from E[x²] of each input."""
    known = dict(moments)
    with np.errstate(all="ignore"):
        for index, node in enumerate(net.graph.nodes):
            parts = [known.get(value.name) for value in node.bottoms]
            if parts and parts[0] is not None:
                y = _ahead(node, net.blobs_of(index), parts[0], parts)
                known |= {} if y is None else {top.name: y for top in node.tops}
    return known


def predict_backward(
    net: Net, ahead: Mapping[str, float], ends: Sequence[Value]
) -> dict[str, float]:
    """Return E[dx²] of the values that theory covers, by `Value.name`, from 1 at the net's ends.

    Args:
        net: the net with its weights.
        ahead: the result of `predict_forward`.
        ends: the values at which gradients start.
    """
    grads = dict.fromkeys((end.name for end in ends), 1.0)
    with np.errstate(all="ignore"):
        for index, node in reversed(list(enumerate(net.graph.nodes))):
            reached = {top.name: grads[top.name] for top in node.tops if top.name in grads}
            if reached and node.bottoms:
                dy = sum(reached.values())
                if node.layer.type == "Slice":  # each top's gradient reaches its own part
                    dy = sum(grads.get(v.name, 0.0) * prod(v.shape) for v in node.tops) / prod(
                        node.bottoms[0].shape
                    )
                factors = _back(node, net.blobs_of(index), ahead.get(node.bottoms[0].name))
                for value, factor in zip(node.bottoms, factors, strict=False):
                    grads[value.name] = grads.get(value.name, 0.0) + factor * dy
    return grads


def gain(layer: Layer, blobs: Mapping[str, Array]) -> float | None:
    """Return ½ (1 + a²) of a rectifier, the mean over its channels; None of any other layer."""
    if isinstance(layer, PReLU):
        return (1 + _square(blobs["slope"])) / 2
    if layer.type in ("ReLU", "CReLU"):
        return float(1 + layer.p.negative_slope**2) / 2
    return None


def _ahead(
    node: Node, blobs: Mapping[str, Array], x: float, parts: Sequence[float | None]
) -> float | None:
    layer, arrays = node.layer, list(blobs.values())
    if is_weighted(node):
        return connections(node)[0] * _square(arrays[0]) * x + sum(map(_square, arrays[1:]))
    rectified = gain(layer, blobs)
    if rectified is not None:
        return rectified * x
    if layer.type in _CURVED and isfinite(x):
        return of_activation(lambda z: layer.forward(_scaled(z, x)))
    if layer.type in _NORMAL:
        return _normal(layer, arrays, x)
    if layer.type in _JOINING and None not in parts:
        return _join(node, [part for part in parts if part is not None])
    if layer.type == "Scale" and len(node.bottoms) == 1:
        return _square(arrays[0]) * x + sum(map(_square, arrays[1:]))
    if layer.type == "Power" and layer.p.power == 1:
        return float(layer.p.scale) ** 2 * x + float(layer.p.shift) ** 2
    return x if layer.type in _MOVING else None


def _normal(layer: Layer, arrays: Sequence[Array], x: float) -> float:
    if isinstance(layer, BatchNorm) and layer.stored:
        return x * _rate(layer, arrays)
    return x if layer.type == "MVN" and not layer.p.normalize_variance else 1.0


def _rate(layer: BatchNorm, arrays: Sequence[Array]) -> float:
    """Return the mean of 1 / (variance + eps) over the channels, as stored."""
    _, variance, factor, *_ = arrays
    rate = 1 / float(factor[0]) if factor[0] else 0.0
    return float(np.mean(1 / (variance.astype(np.float64) * rate + layer.p.eps)))


def _join(node: Node, parts: Sequence[float]) -> float:
    layer = node.layer
    if layer.type == "Concat":
        sizes = [prod(value.shape) for value in node.bottoms]
        return sum(size * part for size, part in zip(sizes, parts, strict=True)) / sum(sizes)
    if layer.p.operation == EltwiseParameter.PROD:
        return prod(parts)
    if layer.p.operation == EltwiseParameter.MAX:
        return sum(parts) / len(parts)
    coefficients = list(layer.p.coeff) or [1.0] * len(parts)
    return float(sum(c * c * part for c, part in zip(coefficients, parts, strict=True)))


def _back(node: Node, blobs: Mapping[str, Array], x: float | None) -> Sequence[float]:
    """Return each bottom's factor of the gradient's mean square; none if theory has none."""
    layer, arrays, count = node.layer, list(blobs.values()), len(node.bottoms)
    if is_weighted(node):
        return [connections(node)[1] * _square(arrays[0])] * count
    rectified = gain(layer, blobs)
    if rectified is not None:
        return [rectified]
    if layer.type in _CURVED and x is not None and isfinite(x):
        return [
            of_activation(lambda z: layer.backward(np.ones(z.shape, np.float32), _scaled(z, x)))
        ]
    if layer.type in _NORMAL:
        if isinstance(layer, BatchNorm) and layer.stored:
            return [_rate(layer, arrays)]
        return [_normal(layer, arrays, x) / x] if x else []
    if layer.type == "Concat":
        return [1.0] * count
    if layer.type == "Eltwise" and layer.p.operation == EltwiseParameter.SUM:
        return [c * c for c in layer.p.coeff] or [1.0] * count
    if layer.type == "Eltwise" and layer.p.operation == EltwiseParameter.MAX:
        return [1 / count] * count
    if layer.type == "Scale" and count == 1:
        return [_square(arrays[0])]
    if layer.type == "Power" and layer.p.power == 1:
        return [float(layer.p.scale**2)]
    return [1.0] if layer.type in _MOVING else []


def _scaled(z: Array64, x: float) -> Array:
    scaled: Array = (z * np.sqrt(x)).astype(np.float32)
    return scaled


def _square(x: Array) -> float:
    return float(np.mean(np.square(x, dtype=np.float64))) if x.size else 0.0
