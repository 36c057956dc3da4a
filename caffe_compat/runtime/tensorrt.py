"""TensorRT's engines, kept beside the model, so that only its first session builds them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from . import cuda
from .devices import Device, log_once, runtime

_PACKAGES = ("tensorrt_cu13_libs", "tensorrt_cu12_libs", "tensorrt_libs")


def keep_engines(device: Device, model: Path) -> Device:
    """Return a TensorRT device that keeps the model's engines in MODEL.engines/KEY.

    The key is of the file's bytes, the GPU's name and the versions of onnxruntime and TensorRT.
    Without write access to the model's folder the device stays as it is.

    Args:
        device: any device; only TensorRT's changes.
        model: the ONNX file.
    """
    if device.kind != "tensorrt":
        return device
    folder = model.with_name(f"{model.name}.engines") / _key(device, model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log_once(f"device {device.name}: no engines are kept, since {folder}: {error.strerror}")
        return device
    (provider, options), *others = device.providers
    kept = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}
    timing = {"trt_timing_cache_enable": "1", "trt_timing_cache_path": str(folder)}
    return replace(device, providers=((provider, {**options, **kept, **timing}), *others))


def _key(device: Device, model: Path) -> str:
    digest = hashlib.sha256()
    with model.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    gpu, version = cuda.gpu_name(device.index), runtime().__version__
    parts = (digest.hexdigest()[:16], gpu, version, _version())
    return "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", part) for part in parts)


def _version() -> str:
    """Return TensorRT's version; `system` if no package of pip's has it."""
    versions = {each.name: each.version for each in metadata.distributions()}
    return next((versions[name] for name in _PACKAGES if name in versions), "system")
