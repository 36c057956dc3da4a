"""Compute the logarithm of a sigmoid without the sigmoid, whose small values some readers lose."""

from __future__ import annotations

import onnx

from ..lowering import Lowered
from ..rewriting import Rewriter, rewrite


def join_logarithms(lowered: Lowered) -> Lowered:
    """Return the model with -log(1 + exp(-x)) in place of log(sigmoid(x)).

    onnxruntime's Sigmoid on a CPU is 0 below -18, of which the logarithm is -inf.
    """
    return rewrite(lowered, {"Log": _join})


def _join(g: Rewriter, node: onnx.NodeProto) -> str | None:
    producer = g.producer(node.input[0])
    if producer is None or producer.op_type != "Sigmoid":
        return None
    return g.Neg(g.Softplus(g.Neg(producer.input[0])))
