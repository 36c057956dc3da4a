"""Decode SSD's predictions with one row of variances if all default boxes have the same."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from ..lowering import Lowered
from ..rewriting import Rewriter, rewrite


def shrink_variances(lowered: Lowered) -> Lowered:
    """Return the model with 4 variances in place of the same 4 for each default box.

    They are factors of `(images, boxes, 4)` or `(images, labels, boxes, 4)` predictions, and
    constants after `fold_constants`.
    """
    return rewrite(lowered, {"Mul": _shrink})


def _shrink(g: Rewriter, node: onnx.NodeProto) -> str | None:
    predictions, variances = node.input[0], g.known(node.input[1])
    if variances is None or variances.ndim < 2:
        return None
    rows = variances.reshape(-1, variances.shape[-1])
    if len(rows) == 1 or not np.all(rows == rows[0]) or _boxes(g, predictions) != len(rows):
        return None
    return g.Mul(predictions, rows[0])


def _boxes(g: Rewriter, predictions: str) -> int | None:
    """Return how many boxes predictions of DetectionOutput are for; None of any other tensor."""
    node, axes = g.producer(predictions), 3
    if node is not None and node.op_type == "Gather":  # all labels but the background
        node = g.producer(node.input[0])
    if node is not None and node.op_type == "Transpose":  # (images, boxes, labels, 4)
        node, axes = g.producer(node.input[0]), 4
    if node is None or node.op_type != "Reshape":
        return None
    dims, target = g.values.get(node.input[0], ()), g.known(node.input[1])
    if target is None or len(target) != axes or target[:2].tolist() != [0, -1]:
        return None
    sizes = [size for size in dims[1:] if size is not None]
    return prod(sizes) // prod(target[2:].tolist()) if len(sizes) == len(dims) - 1 else None
