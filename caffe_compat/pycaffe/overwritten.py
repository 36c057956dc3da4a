"""Gradients as Caffe computes them from the memory that is left when backward runs.

A layer that ran in place has overwritten its bottom. Some layers of Caffe's take the gradient from
their top, which is still there, or keep what they need; others read the overwritten bottom, or
overwrite the gradient that they still have to read, and get other numbers than the derivative's.
Those numbers are what a live net shows, so they are computed here. Each function names its file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ..caffe_pb2 import EltwiseParameter, LayerParameter
from ..layers import layer as package
from ..layers.families.eltwise import LEAST, largest
from ..types import Array
from .blob import Blob, BlobVec, shape_of


class Computed(Protocol):
    """What the functions here need of a layer in its place; see `steps.Computed`."""

    layer: package.Layer
    proto: LayerParameter
    bottoms: list[Blob]
    tops: list[Blob]
    propagate: list[bool]
    param_propagate: list[bool]
    kept: Blob | None
    extra: dict[str, Any]

    @property
    def blobs(self) -> BlobVec:
        """Its parameter blobs."""

    @property
    def in_place(self) -> bool:
        """Whether the first top is the first bottom."""

    def arrays(self) -> dict[str, Array]:
        """Return the parameters by name."""


# Layers whose backward, in place, reads the overwritten bottom.
_READS_BOTTOM = {
    "ReLU", "Clip", "BNLL", "Threshold", "ReLU6", "HardSwish", "Power", "Log", "Eltwise",
}  # fmt: skip


def keeps_bottom(layer: package.Layer) -> bool:
    """Whether Caffe keeps what this layer's backward needs when it runs in place."""
    return layer.proto.type not in _READS_BOTTOM and layer.proto.type not in _FROM_TOP


def anew(step: Computed) -> tuple[str, ...]:
    """Return the names of the parameters whose gradients are written over those that are there."""
    return step.layer.overwrites(*(shape_of(blob) for blob in step.bottoms))


def true_backward(step: Computed, x: Sequence[Array]) -> Sequence[Array | None]:
    """Return the gradients at a layer's bottoms and parameters.

    Args:
        step: the layer; the gradients at its tops stand in their `diff`.
        x: the bottoms' data as Caffe would read them.
    """
    layer, kind = step.layer, step.proto.type
    dys = tuple(top.diff for top in step.tops)
    if kind in _FROM_TOP:
        return (_FROM_TOP[kind](layer, x[0], step.tops[0].data, dys[0]),)
    if step.in_place and kind in _IN_PLACE:
        flows = _IN_PLACE[kind](step, x, dys[0])
        if flows is not None:
            return flows
    flows = layer.backward(dys[0] if len(dys) == 1 else dys, *x, **step.arrays(), **step.extra)
    return flows if isinstance(flows, tuple) else (flows,)


# -- by the top ------------------------------------------------------------------------------


def _sigmoid(layer: Any, x: Array, y: Array, dy: Array) -> Array:
    """sigmoid_layer.cpp."""
    return dy * y * (1 - y)


def _tanh(layer: Any, x: Array, y: Array, dy: Array) -> Array:
    """tanh_layer.cpp."""
    return dy * (1 - y * y)


def _exp(layer: Any, x: Array, y: Array, dy: Array) -> Array:
    """exp_layer.cpp."""
    p = layer.p
    rate = np.float32(1 if p.base == -1 else np.log(np.float32(p.base)))
    return dy * y * (rate * np.float32(p.scale))


def _elu(layer: Any, x: Array, y: Array, dy: Array) -> Array:
    """elu_layer.cpp; in place x is the top."""
    flow: Array = dy * np.where(x > 0, np.float32(1), np.float32(layer.p.alpha) + y)
    return flow


def _softmax(layer: Any, x: Array, y: Array, dy: Array) -> Array:
    """softmax_layer.cpp."""
    axis = layer.p.axis
    along: Array = np.sum(dy * y, axis=axis, keepdims=True)
    return (dy - along) * y


_FROM_TOP: dict[str, Callable[[Any, Array, Array, Array], Array]] = {
    "Sigmoid": _sigmoid,
    "TanH": _tanh,
    "Exp": _exp,
    "ELU": _elu,
    "Softmax": _softmax,
}


# -- in place --------------------------------------------------------------------------------


def _power(step: Computed, x: Sequence[Array], dy: Array) -> Sequence[Array]:
    """power_layer.cpp: dy/dx is written over the top's gradient before it is multiplied by it."""
    p, y = step.layer.p, step.tops[0].data
    power, scale, shift = np.float32(p.power), np.float32(p.scale), np.float32(p.shift)
    rate = power * scale
    if rate == 0 or power == 1:
        slope = np.full_like(dy, rate)
    elif power == 2:
        slope = rate * scale * y + rate * shift
    elif shift == 0:
        with np.errstate(invalid="ignore"):
            slope = power * (y / y)
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = rate * (y / (scale * y + shift))
    return (slope if rate == 0 else slope * slope,)


def _log(step: Computed, x: Sequence[Array], dy: Array) -> Sequence[Array]:
    """log_layer.cpp: as Power."""
    p, y = step.layer.p, step.tops[0].data
    rate = np.float32(1) if p.base == -1 else 1 / np.log(np.float32(p.base))
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.float32(rate * p.scale) / (np.float32(p.scale) * y + np.float32(p.shift))
    return (slope * slope,)


def _mvn(step: Computed, x: Sequence[Array], dy: Array) -> Sequence[Array] | None:
    """mvn_layer.cpp: the top's gradient is overwritten by the first product."""
    p, y = step.layer.p, step.tops[0].data
    if not p.normalize_variance:
        return None
    axes = (1, 2, 3) if p.across_channels else (2, 3)
    size = np.prod([y.shape[axis] for axis in axes])
    deviation = np.sqrt(np.var(x[0].reshape(y.shape), axis=axes, keepdims=True))
    flow = y * np.sum(y * dy, axis=axes, keepdims=True)
    flow = flow + np.sum(flow, axis=axes, keepdims=True)
    flow = flow * np.float32(-2 / size) / (deviation + np.float32(p.eps))
    return (flow.astype(np.float32, copy=False),)


def _eltwise(step: Computed, x: Sequence[Array], dy: Array) -> Sequence[Array] | None:
    """eltwise_layer.cpp: the first bottom's gradient is the top's, overwritten."""
    operation = step.layer.p.operation
    if operation != EltwiseParameter.PROD:
        coeff = [np.float32(c) for c in step.layer.p.coeff] or [np.float32(1)] * len(x)
        if operation == EltwiseParameter.MAX:
            winner = largest((np.full_like(dy, LEAST), *(blob.data for blob in step.bottoms[1:])))[
                1
            ]
            masks: list[Any] = [winner == i for i in range(len(x))]
        else:
            masks = [*coeff]
        dy = dy * masks[0] if step.propagate[0] else dy
        return [dy, *(dy * mask for mask in masks[1:])]
    data, y = [blob.data for blob in step.bottoms], step.tops[0].data
    flows = []
    for i in range(len(data)):
        if not step.propagate[i]:
            flows.append(dy)
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            if step.layer.p.stable_prod_grad:
                slope = np.prod([a for j, a in enumerate(data) if j != i], axis=0)
            else:
                slope = y / data[i]
        if i == 0:
            dy = slope  # the same memory
        flows.append(slope * dy)
        if i == 0:
            dy = flows[0]
    return flows


def _scale(step: Computed, x: Sequence[Array], dy: Array) -> Sequence[Array | None]:
    """scale_layer.cpp: the product with the gradient is written over the bottom that it keeps."""
    flows: Sequence[Array | None] = step.layer.backward(dy, *x, **step.arrays())
    factors = step.bottoms[1] if len(x) > 1 else step.blobs[0]
    wanted = step.propagate[1] if len(x) > 1 else step.param_propagate[0]
    if wanted and factors.count < step.bottoms[0].count and step.kept is not None:
        step.kept.data[...] = dy * x[0]
    return flows


_IN_PLACE: dict[
    str, Callable[[Computed, Sequence[Array], Array], Sequence[Array | None] | None]
] = {
    "Power": _power,
    "Log": _log,
    "MVN": _mvn,
    "Eltwise": _eltwise,
    "Scale": _scale,
}
