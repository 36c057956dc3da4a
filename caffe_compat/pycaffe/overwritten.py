"""Gradients as Caffe computes them from the memory that is left when backward runs.

A layer in place overwrites its bottom, which is the top of the layer before. Some layers of Caffe's
take the gradient from their top, or keep what they need; others read the overwritten bottom, or
overwrite the gradient that they still have to read, and get other numbers than the derivative's.
Those numbers are what a live net shows. Layers state them (`Layer.backward_left`); what depends on
the wanted gradients is here, and each function names its file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ..caffe_pb2 import EltwiseParameter, LayerParameter
from ..layers import layer as package
from ..layers.families.eltwise import LEAST, largest
from ..types import Array
from .blob import Blob, BlobVec, shape_of


class Computed(Protocol):
    """The part of `steps.Computed`, a layer in its place, that the functions here need."""

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


# Layers that keep nothing: their backward reads the overwritten bottom, or the top alone.
_KEEP_NOTHING = {
    "ReLU", "Clip", "BNLL", "Threshold", "ReLU6", "HardSwish", "Power", "Log", "Eltwise",
    "Sigmoid", "TanH", "Exp", "ELU", "Softmax",
}  # fmt: skip


def keeps_bottom(layer: package.Layer) -> bool:
    """Return whether Caffe keeps what this layer's backward needs when it runs in place."""
    return layer.proto.type not in _KEEP_NOTHING


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
    if kind == "Eltwise" and (flows := _eltwise(step, dys[0])) is not None:
        return flows
    if kind == "Scale" and step.in_place:
        return _scale(step, x, dys[0])
    arrays: dict[str, Any] = {**step.arrays(), **step.extra}
    if len(dys) == 1 and type(layer).backward_left is not package.Layer.backward_left:
        y = step.tops[0].data
        left = y if step.in_place else x[0]
        result = layer.backward_left(dys[0], *x, left=left, y=y, **arrays)
    else:
        result = layer.backward(dys[0] if len(dys) == 1 else dys, *x, **arrays)
    return result if isinstance(result, tuple) else (result,)


def _eltwise(step: Computed, dy: Array) -> Sequence[Array] | None:
    """Return the gradients of eltwise_layer.cpp where they are not the layer's own."""
    if step.layer.p.operation == EltwiseParameter.PROD:
        return _product(step, dy)
    return _cleared(step, dy) if step.in_place else None


def _product(step: Computed, dy: Array) -> Sequence[Array]:
    """eltwise_layer.cpp: in place the first bottom's gradient is the top's, overwritten."""
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
        first = step.in_place and i == 0
        flows.append(slope * (slope if first else dy))
        if first:
            dy = flows[0]
    return flows


def _cleared(step: Computed, dy: Array) -> Sequence[Array]:
    """eltwise_layer.cpp: SUM's and MAX's first bottom is cleared, and its gradient is the top's."""
    p, x = step.layer.p, [blob.data for blob in step.bottoms]
    rates: list[Any] = [*p.coeff] or [1] * len(x)
    if p.operation == EltwiseParameter.MAX:
        _, winner = largest((np.full_like(dy, LEAST), *x[1:]))
        rates = [winner == i for i in range(len(x))]
    dy = dy * np.float32(rates[0]) if step.propagate[0] else dy
    return [dy, *(dy * np.float32(rate) for rate in rates[1:])]


def _scale(step: Computed, x: Sequence[Array], dy: Array) -> Sequence[Array | None]:
    """scale_layer.cpp: the product with the gradient is written over the bottom that it keeps."""
    flows: Sequence[Array | None] = step.layer.backward(dy, *x, **step.arrays())
    factors = step.bottoms[1] if len(x) > 1 else step.blobs[0]
    wanted = step.propagate[1] if len(x) > 1 else step.param_propagate[0]
    if wanted and factors.count < step.bottoms[0].count and step.kept is not None:
        step.kept.data[...] = dy * x[0]
    return flows
