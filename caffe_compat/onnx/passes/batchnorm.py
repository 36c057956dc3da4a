"""Fuse a BatchNormalization with the scale and the shift behind it."""

from __future__ import annotations

import onnx

from ...types import AnyArray
from ..lowering import Lowered
from ..rewriting import Rewriter, rewrite


def fuse_scales(lowered: Lowered) -> Lowered:
    """Return the model with one node for BatchNorm and Scale, two layers in Caffe.

    A Mul and an Add by a number for each channel become scale and shift of the BatchNormalization
    before them, if these are 1 and 0 and nothing else reads the tensor between.
    """
    return rewrite(lowered, {"Mul": _scale, "Add": _shift})


def _scale(g: Rewriter, node: onnx.NodeProto) -> str | None:
    norm = _norm_before(g, node)
    if norm is None or not (_is(g, norm.input[1], 1) and _is(g, norm.input[2], 0)):
        return None
    x, _, shift, mean, variance = norm.input
    scale = g.view(node.input[1], (-1,))
    return g.again(norm, x, scale, shift, mean, variance)


def _shift(g: Rewriter, node: onnx.NodeProto) -> str | None:
    norm = _norm_before(g, node)
    if norm is None or not _is(g, norm.input[2], 0):
        return None
    x, scale, _, mean, variance = norm.input
    shift = g.view(node.input[1], (-1,))
    return g.again(norm, x, scale, shift, mean, variance)


def _norm_before(g: Rewriter, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """Return the BatchNormalization that a node reads with a number for each channel."""
    norm, part = g.sole(node.input[0]), g.initializer(node.input[1])
    if norm is None or norm.op_type != "BatchNormalization" or part is None:
        return None
    dims = g.values.get(norm.input[0])
    return norm if dims and part.shape == (dims[1], *(1,) * (len(dims) - 2)) else None


def _is(g: Rewriter, x: str, value: int) -> bool:
    array: AnyArray | None = g.known(x)
    return array is not None and bool((array == value).all())
