"""Devices by name, and the execution providers with which onnxruntime serves them."""

from __future__ import annotations

import contextlib
import io
import logging
from dataclasses import dataclass
from typing import Any

from ..errors import DeviceError

log = logging.getLogger("caffe_compat")

_PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "pip install caffe_compat[cpu]"),
    "cuda": ("CUDAExecutionProvider", "pip install caffe_compat[gpu]"),
    "tensorrt": ("TensorrtExecutionProvider", "pip install caffe_compat[gpu]"),
}
_logged: set[str] = set()


@dataclass(frozen=True)
class Device:
    """A place to run.

    Attributes:
        name: `cpu`, `cuda:0`, `tensorrt:1`, ...
        providers: onnxruntime's providers by preference, as InferenceSession takes them.
    """

    name: str
    providers: tuple[Any, ...]

    @property
    def index(self) -> int:
        """The index of the GPU; 0 on the CPU."""
        return int(self.name.partition(":")[2] or 0)

    @property
    def on_gpu(self) -> bool:
        """Whether its arrays live in a GPU's memory."""
        return self.name != "cpu"

    @property
    def provider(self) -> str:
        """The name of the provider that must start for the net to run here."""
        first = self.providers[0]
        return str(first if isinstance(first, str) else first[0])


def runtime() -> Any:
    """Import onnxruntime when it is first needed.

    Returns:
        The module.

    Raises:
        DeviceError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise DeviceError(
            f"onnxruntime is not installed here ({error}); pip install caffe_compat[cpu], or "
            "caffe_compat[gpu] on a machine with an NVIDIA GPU"
        ) from error
    return onnxruntime


def devices(name: str, *, cuda_graph: bool = False) -> list[Device]:
    """Return the devices to try for a name, in order of preference.

    Args:
        name: `cpu`, `cuda[:N]`, `tensorrt[:N]`, or `auto`: CUDA if this onnxruntime has it,
            then the CPU.
        cuda_graph: record the GPU's work at the first run and replay it at every later one;
            `auto` is then CUDA alone.

    Raises:
        DeviceError: no device has that name, or this onnxruntime lacks its provider.
    """
    available: list[str] = runtime().get_available_providers()
    if name == "auto" and cuda_graph:
        name = "cuda"  # the CPU has no CUDA graphs to fall back to
    if name == "auto":
        choices = [
            _device(kind, "0", available, cuda_graph=cuda_graph)
            for kind in ("cuda", "cpu")
            if _PROVIDERS[kind][0] in available
        ]
        if len(choices) == 1:
            log_once("device auto: this onnxruntime has no CUDA; running on the CPU")
        return choices
    kind, sign, index = name.partition(":")
    if kind not in _PROVIDERS or (sign and (kind == "cpu" or not index.isdecimal())):
        raise DeviceError(f"device '{name}': one of auto, cpu, cuda, cuda:N, tensorrt, tensorrt:N")
    provider, install = _PROVIDERS[kind]
    if provider not in available:
        raise DeviceError(
            f"device '{name}': this onnxruntime has no {provider}, only "
            f"{', '.join(available)}; to get it: {install}"
        )
    return [_device(kind, index or "0", available, cuda_graph=cuda_graph)]


def log_once(note: str) -> None:
    """Log a note the first time only, not at every session."""
    if note not in _logged:
        _logged.add(note)
        log.info(note)


def _device(kind: str, index: str, available: list[str], *, cuda_graph: bool) -> Device:
    cpu = "CPUExecutionProvider"
    if kind == "cpu":
        if cuda_graph:
            raise DeviceError("device 'cpu': CUDA graphs need a GPU: cuda or tensorrt")
        return Device("cpu", (cpu,))
    _preload()
    # TF32 rounds the factors to 10 bits; Caffe's float32 keeps 23.
    cuda = {"device_id": index, "use_tf32": "0"}
    tensorrt = {"device_id": index}
    if cuda_graph:
        cuda["enable_cuda_graph"] = tensorrt["trt_cuda_graph_enable"] = "1"
    chain: list[Any] = [("CUDAExecutionProvider", cuda), cpu]
    if kind == "tensorrt":
        if "CUDAExecutionProvider" not in available:
            del chain[0]
        chain.insert(0, ("TensorrtExecutionProvider", tensorrt))
    return Device(f"{kind}:{int(index)}", tuple(chain))


def _preload() -> None:
    """Load CUDA's libraries from pip's packages; the provider cannot start without them."""
    load = getattr(runtime(), "preload_dlls", None)  # onnxruntime 1.21 and later
    if load is not None:
        with contextlib.redirect_stdout(io.StringIO()):
            load()
