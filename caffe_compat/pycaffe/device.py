"""Which device onnxruntime has."""

from __future__ import annotations

from ..errors import DeviceError
from ..runtime.devices import runtime


def has_gpu() -> bool:
    """Return whether onnxruntime is installed with CUDA."""
    try:
        return "CUDAExecutionProvider" in runtime().get_available_providers()
    except DeviceError:
        return False
