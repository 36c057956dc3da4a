"""The GPU that nets run on, as onnxruntime and PyTorch have it."""

from __future__ import annotations

import functools
import importlib.util

import onnx

from ..errors import DeviceError
from ..runtime.devices import devices, runtime
from . import mode

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


def place() -> str | None:
    """Return PyTorch's name of the GPU on which blobs have memory; None where they have none."""
    device = mode.device()
    return device if device is not None and _torch_has(device) else None


@functools.cache
def _torch_has(device: str) -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.device(device).type == "cpu" or torch.cuda.is_available()


def synchronize(device: str) -> None:
    """Wait until PyTorch has done what it was told to do on a device."""
    import torch

    if torch.device(device).type != "cpu":
        torch.cuda.synchronize(device)
