"""Keep a net whose only data are constants computable at every run."""

from __future__ import annotations

import onnx
from onnx import helper, numpy_helper

from ...types import AnyArray
from ..lowering import Lowered
from ..rewriting import Rewriter, attributes


def open_constants(lowered: Lowered) -> Lowered:
    """Return the model of a net without inputs with its constants' values as optional inputs.

    Such a net, fed by Caffe's DummyData alone, is a benchmark. A session would compute all of it
    while it opens, and a run would measure nothing. The default of an optional input is not
    folded, and needs no feed.
    """
    if lowered.model.graph.input:
        return lowered
    g = Rewriter(lowered)
    names: list[str] = []

    def expand(g: Rewriter, node: onnx.NodeProto) -> str | None:
        if g.known(node.input[0]) is None:
            return None
        names.append(g.unique(f"{node.output[0]}/value"))
        value = numpy_helper.to_array(attributes(node)["value"])
        g.arrays[names[-1]] = value.reshape(())  # which expands to a scalar too
        return g.Expand(names[-1], node.input[0])

    for node in lowered.model.graph.node:
        g.rewrite(node, expand if node.op_type == "ConstantOfShape" else None)
    opened = g.lowered()
    opened.model.graph.input.extend(
        helper.make_tensor_value_info(name, _kind(opened.arrays[name]), opened.arrays[name].shape)
        for name in names
        if name in opened.arrays
    )
    return opened


def _kind(array: AnyArray) -> int:
    return helper.np_dtype_to_tensor_dtype(array.dtype)
