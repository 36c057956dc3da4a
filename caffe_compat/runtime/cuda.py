"""NVIDIA's driver and libraries: loaded from pip's packages, and the cause if CUDA cannot start."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_LIBRARY = (
    "onnxruntime_providers_{}.dll"
    if sys.platform == "win32"
    else ("libonnxruntime_providers_{}.so")
)
# NVIDIA's packages, and in them what onnxruntime's providers need; TensorRT's are the last.
_PATTERNS = (
    *(
        f"*/{folder}/**/{prefix}{name}*{suffix}"
        for folder, prefix, suffix in (("lib", "lib", ".so.*"), ("bin", "", ".dll"))
        for name in ("cudart", "cublasLt", "cublas", "nvJitLink", "nvrtc", "cufft", "curand")
    ),
    "cudnn/lib/libcudnn*.so.*",
    "cudnn/bin/**/cudnn*.dll",
)
_TENSORRT = ("*nvinfer.so.*", "*nvonnxparser.so.*", "nvinfer_*.dll", "nvonnxparser_*.dll")


def find_fault(provider: str, index: int) -> str | None:
    """Return why onnxruntime cannot use a GPU of NVIDIA's here, None if nothing speaks against it.

    Args:
        provider: CUDAExecutionProvider or TensorrtExecutionProvider.
        index: the GPU's.
    """
    return _driver_fault(index) or _library_fault(provider)


def gpu_name(index: int) -> str:
    """Return a GPU's name as its driver has it.

    Raises:
        OSError: there is no driver.
    """
    text = ctypes.create_string_buffer(256)
    driver = _load(_DRIVER)
    device = ctypes.c_int()
    driver.cuInit(0)
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceGetName(text, len(text), device)
    return text.value.decode(errors="replace")


def _driver_fault(index: int) -> str | None:
    try:
        driver = _load(_DRIVER)
    except OSError as error:
        return f"there is no NVIDIA driver here: {error}"
    status = driver.cuInit(0)
    if status:
        return f"the NVIDIA driver does not start: {_message(driver, status)}"
    count = ctypes.c_int()
    status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status:
        return f"the NVIDIA driver counts no GPUs: {_message(driver, status)}"
    if index >= count.value:
        last = f"0 to {count.value - 1}" if count.value > 1 else "0 alone"
        return f"there is no GPU {index} here; the indices are {last}"
    return None


def _message(driver: Any, status: int) -> str:
    text = ctypes.c_char_p()
    with suppress(AttributeError):
        driver.cuGetErrorString(status, ctypes.byref(text))
    return f"{text.value.decode() if text.value else 'error'} ({status})"


@cache
def _library_fault(provider: str) -> str | None:
    """Load the provider's libraries and return what is missing.

    onnxruntime logs the cause, and goes on without the provider.
    """
    name = "tensorrt" if provider.startswith("Tensorrt") else "cuda"
    load_libraries()
    path = _capi() / _LIBRARY.format(name)
    try:
        _load(str(path))
    except OSError as error:
        # The symbol is onnxruntime's own; the loader has then found all libraries.
        if "Provider_GetHost" not in str(error):
            package = "'tensorrt-cu13<11'" if name == "tensorrt" else "caffe_compat[gpu]"
            return f"{path.name} does not load: {error}; pip install {package} has what it needs"
    return None


@cache
def load_libraries() -> None:
    """Load the libraries that pip's packages have, where the system's loader does not look."""
    for package, patterns in (("nvidia", _PATTERNS), ("tensorrt_libs", _TENSORRT)):
        for path in _files(package, patterns):
            with suppress(OSError):  # the provider's own error then names what is missing
                _load(str(path), ctypes.RTLD_GLOBAL)


def _files(package: str, patterns: tuple[str, ...]) -> Iterator[Path]:
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        for pattern in patterns:
            yield from sorted(Path(folder).glob(pattern))


def _capi() -> Path:
    """Return the folder of onnxruntime's own libraries."""
    spec = importlib.util.find_spec("onnxruntime")
    return Path(spec.origin or "").parent / "capi" if spec else Path()


def _load(path: str, mode: int = ctypes.DEFAULT_MODE) -> Any:
    return ctypes.CDLL(path, mode)
