"""A pass to float16: half the size, and on GPUs with tensor cores a multiple of the speed."""

from __future__ import annotations

from dataclasses import replace

from ..onnx.lowering import Lowered
from .models import join, split
from .tools import quiet


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
