"""Which device onnxruntime has."""

from __future__ import annotations

import functools

import onnx

from ..errors import DeviceError
from ..runtime.devices import devices, runtime

_IR_VERSION = 8


@functools.cache
def has_gpu(index: int = 0) -> bool:
    """Return whether onnxruntime's CUDA runs a model: installed, with a GPU of that number."""
    try:
        if "CUDAExecutionProvider" not in runtime().get_available_providers():
            return False
        device = devices(f"cuda:{index}")[0]
        device.check()
    except DeviceError:
        return False
    options = runtime().SessionOptions()
    options.log_severity_level = 4
    try:
        session = device.start(_identity(), options)
    except Exception:  # onnxruntime's own, of many types: no driver, no such GPU
        return False
    return "CUDAExecutionProvider" in session.get_providers()


def _identity() -> bytes:
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "x", [x], [y])
    opset = onnx.helper.make_opsetid("", 17)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
    data: bytes = model.SerializeToString()
    return data
