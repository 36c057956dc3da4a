"""Two rows of a batch in place of all of them."""

from __future__ import annotations

from dataclasses import replace

import onnx

from ..errors import CaffeCompatError
from ..net.build import connect
from ..net.net import Net
from ..onnx.lowering import Lowered

ROWS = 2  # so that a model that mixes up rows differs


def with_two_rows(net: Net) -> Net | None:
    """Return the net for a batch of two rows; None if it has no larger batch, or needs its own."""
    size = batch_of(net)
    if size is None or size <= ROWS:
        return None
    inputs = {value.blob: (ROWS, *value.shape[1:]) for value in net.graph.inputs}
    try:
        graph = connect(net.graph.net, [node.layer for node in net.graph.nodes], inputs)
    except CaffeCompatError:  # a layer that is written for one size
        return None
    shapes = [tuple(blob.shape for blob in node.blobs) for node in graph.nodes]
    fits = shapes == [tuple(blob.shape for blob in node.blobs) for node in net.graph.nodes]
    return replace(net, graph=graph) if fits else None


def batch_of(net: Net) -> int | None:
    """Return the size of the first axis, if all inputs have the same."""
    sizes = {value.shape[0] if value.shape else None for value in net.graph.inputs}
    return sizes.pop() if len(sizes) == 1 else None


def cut_batch(lowered: Lowered, size: int) -> Lowered:
    """Return the model with two rows in every input that has `size`."""
    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_value == size:
            dims[0].dim_value = ROWS
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return replace(lowered, model=model)
