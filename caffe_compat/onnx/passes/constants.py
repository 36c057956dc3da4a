"""Fold tensors that are the same in every run, such as SSD's default boxes for one size."""

from __future__ import annotations

import onnx

from ...layers.folding import FOLDS, evaluate
from ..lowering import Lowered
from ..rewriting import Rewriter, rewrite

_GROWS = ("ConstantOfShape",)  # as a node it takes fewer bytes than its value


def fold_constants(lowered: Lowered) -> Lowered:
    """Return the model with constants in place of nodes that read constants alone.

    Parameters are no constants, so that their bytes stay in the weights file.
    """
    return rewrite(lowered, {op: _fold for op in FOLDS if op not in _GROWS})


def _fold(g: Rewriter, node: onnx.NodeProto) -> tuple[str, ...] | None:
    values = [g.known(name) for name in node.input]
    outputs = evaluate(node, [value for value in values if value is not None])
    return None if outputs is None else tuple(g.constant(output) for output in outputs)
