"""A pass to float16: half the size, and on GPUs with tensor cores a multiple of the speed."""

from __future__ import annotations

from dataclasses import replace

from ..onnx.lowering import Lowered
from .models import join, split
from .placement import graphs, infer_types, types_of
from .tools import quiet

_PRODUCTS = ("Conv", "ConvTranspose", "Einsum", "Gemm", "LSTM", "MatMul", "RNN")


def to_float16(lowered: Lowered) -> Lowered:
    """Convert weights and arithmetic to float16; inputs and outputs stay as they are.

    Raises:
        DeviceError: onnxruntime, which converts, is not installed.
        CaffeCompatError: its converter fails.
    """
    with quiet("convert the model to float16"):
        from onnxruntime.quantization.onnx_model import ONNXModel
        from onnxruntime.transformers.float16 import convert_float_to_float16

        half = ONNXModel(convert_float_to_float16(join(lowered), keep_io_types=True))
        half.topological_sort()  # the converter appends its casts, which later passes would drop
    return replace(split(half.model), changed=tuple(lowered.params), dims=lowered.dims)


def multiplies_in_float16(lowered: Lowered) -> bool:
    """Return whether every product of a model is of float16; one of an unknown type is not."""
    kinds = {
        types.get(node.input[0])
        for graph in graphs(infer_types(lowered).graph)
        for types in [types_of(graph)]
        for node in graph.node
        if node.op_type in _PRODUCTS
    }
    return kinds == {"float16"}
