"""Where onnxruntime runs: device names, its execution providers, and what is missing here."""

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
_said: set[str] = set()


@dataclass(frozen=True)
class Device:
    """A place to run.

    Attributes:
        name: `cpu`, `cuda:0`, `tensorrt:1`, ...
        providers: onnxruntime's providers, first choice first, as InferenceSession takes them.
    """

    name: str
    providers: tuple[Any, ...]

    @property
    def index(self) -> int:
        """The number of the GPU; 0 on the CPU."""
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
    """The module onnxruntime, imported when it is first needed.

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
    """The devices to try for a name, first choice first.

    Args:
        name: `cpu`, `cuda[:N]`, `tensorrt[:N]`, or `auto`: CUDA where this onnxruntime has it,
            then the CPU.
        cuda_graph: record the GPU's work at the first run and replay it at every later one;
            `auto` is then CUDA alone.

    Raises:
        DeviceError: the name is none, or this onnxruntime lacks the provider.
    """
    available: list[str] = runtime().get_available_providers()
    if name == "auto" and cuda_graph:
        name = "cuda"  # which the CPU cannot stand in for
    if name == "auto":
        found = [
            _device(kind, "0", available, cuda_graph=cuda_graph)
            for kind in ("cuda", "cpu")
            if _PROVIDERS[kind][0] in available
        ]
        if len(found) == 1:
            say_once("device auto: this onnxruntime has no CUDA; running on the CPU")
        return found
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


def say_once(note: str) -> None:
    """Log a note that need not be read again at every session."""
    if note not in _said:
        _said.add(note)
        log.info(note)


def _device(kind: str, index: str, available: list[str], *, cuda_graph: bool) -> Device:
    cpu = "CPUExecutionProvider"
    if kind == "cpu":
        if cuda_graph:
            raise DeviceError("device 'cpu': CUDA graphs need a GPU: cuda or tensorrt")
        return Device("cpu", (cpu,))
    _preload()
    # TF32 rounds float32's factors to 10 bits, which Caffe's float32 does not.
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
    """Load CUDA's libraries from where pip puts them; without these the provider cannot start."""
    load = getattr(runtime(), "preload_dlls", None)  # onnxruntime 1.21 and later
    if load is not None:
        with contextlib.redirect_stdout(io.StringIO()):
            load()
