"""Devices by name, and the execution providers with which onnxruntime serves them."""

from __future__ import annotations

import importlib
import logging
import sys
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from ..errors import DeviceError
from . import cuda
from .kinds import CPU, KINDS, Kind

log = logging.getLogger("caffe_compat")

ConvSearch = Literal["heuristic", "exhaustive", "default"]
"""How cuDNN chooses a convolution's algorithm; see Session."""

_TF32_NOTE = (
    "device tensorrt: TensorRT may multiply in TF32, 10 bits instead of 23, and onnxruntime cannot "
    "turn that off; NVIDIA_TF32_OVERRIDE=0 in the environment does"
)
_logged: set[str] = set()
_registered: set[str] = set()  # the providers of plug-ins; onnxruntime takes each library once


_INDEXED = ("cuda", "tensorrt")  # the kinds of which a machine may have several by index
_AUTO = ("cuda", "migraphx", "rocm", "directml", "cpu")  # the best first


@dataclass(frozen=True)
class Device:
    """A place to run.

    Attributes:
        name: `cpu`, `cuda:0`, `tensorrt:1`, `openvino`, ...
        providers: onnxruntime's providers by preference, as InferenceSession takes them.
    """

    name: str
    providers: tuple[Any, ...]

    @property
    def kind(self) -> str:
        """The device's name without its index."""
        return self.name.partition(":")[0]

    @property
    def index(self) -> int:
        """The index of the GPU; 0 on the CPU."""
        return int(self.name.partition(":")[2] or 0)

    @property
    def on_gpu(self) -> bool:
        """Whether its arrays can stay in a GPU's memory from run to run: CUDA's."""
        return self.kind in _INDEXED

    @property
    def records(self) -> bool:
        """Whether it records CUDA graphs."""
        return any("enable_cuda_graph" in options for _, options in self.providers[:-1])

    @property
    def provider(self) -> str:
        """The name of the provider that must start for the net to run here."""
        return KINDS[self.kind].provider

    def check(self) -> None:
        """Raise DeviceError with the cause if an NVIDIA GPU cannot be used here.

        onnxruntime itself would print the cause, or print banners and return a CPU's session.
        """
        fault = cuda.find_fault(self.provider, self.index) if self.on_gpu else None
        if fault:
            raise DeviceError(f"device '{self.name}': {fault}")

    @property
    def fuses(self) -> bool:
        """Whether cuDNN adds the bias within the convolution."""
        return any(options.get("fuse_conv_bias") == "1" for _, options in self.providers[:-1])

    def with_tensor_cores(self, *, channels_last: bool, fuse: bool) -> Device:
        """Return the device for a model whose products are all of float16.

        onnxruntime's `use_tf32=0` keeps convolutions of every type from the tensor cores, and not
        float32's alone. On an H100 VGG-16 then takes 20.2 ms for 64 images: 11.5 ms on the tensor
        cores, 9.1 ms with the channels last besides, and 7.0 ms with the bias added within the
        convolution, for which cuDNN compiles kernels in the first run, for seconds.

        Args:
            channels_last: arrange the images for the tensor cores.
            fuse: add the bias within the convolution, if the search is exhaustive.
        """
        *others, cpu = self.providers
        suited = []
        for name, options in others:
            if name == KINDS["cuda"].provider:
                thorough = options["cudnn_conv_algo_search"] == "EXHAUSTIVE"
                fuses = fuse and channels_last and thorough and self.kind == "cuda"
                layout = {"prefer_nhwc": str(int(channels_last)), "fuse_conv_bias": str(int(fuses))}
                suited.append((name, {**options, "use_tf32": "1", **layout}))
            else:
                suited.append((name, options))
        return replace(self, providers=(*suited, cpu))

    def start(self, source: str | bytes, options: Any) -> Any:
        """Open onnxruntime's session on the device.

        Args:
            source: the model's path or bytes.
            options: onnxruntime's SessionOptions.
        """
        kind = KINDS[self.kind]
        if kind.plugin is None or kind.provider in runtime().get_available_providers():
            return runtime().InferenceSession(
                source, options, providers=list(self.providers), enable_fallback=0
            )
        found = [each for each in runtime().get_ep_devices() if each.ep_name == kind.provider]
        if not found:
            raise DeviceError(
                f"device '{self.name}': its library knows none of this machine's hardware"
            )
        options.add_provider_for_devices(found[:1], dict(kind.options))
        return runtime().InferenceSession(source, options)


def runtime() -> Any:
    """Import onnxruntime when it is first needed.

    Returns:
        The module.

    Raises:
        DeviceError: it is not installed.
    """
    first = "onnxruntime" not in sys.modules
    try:
        import onnxruntime
    except ImportError as error:
        raise DeviceError(
            f"onnxruntime is not installed here ({error}); pip install caffe_compat[cpu], or "
            "caffe_compat[gpu] on a machine with an NVIDIA GPU"
        ) from error
    if first:  # else its logger is the caller's, whose severity cannot be read to be set back
        onnxruntime.set_default_logger_severity(4)  # its exceptions repeat what it would print
    return onnxruntime


def devices(
    name: str, *, cuda_graph: bool = False, conv_search: ConvSearch | None = None
) -> list[Device]:
    """Return the devices to try for a name, in order of preference.

    Args:
        name: a key of `KINDS`, with `:N` behind `cuda` and `tensorrt` for the GPU's index; or
            `auto`: the GPU for which this onnxruntime was built, then the CPU.
        cuda_graph: record the GPU's work at the first run and replay it at every later one;
            `auto` is then CUDA alone.
        conv_search: as for Session.

    Raises:
        DeviceError: no device has that name, or this onnxruntime lacks its provider.
    """
    if conv_search not in (None, *get_args(ConvSearch)):
        raise DeviceError(
            f"conv_search is {conv_search!r}; it is one of {', '.join(get_args(ConvSearch))}"
        )
    available: list[str] = runtime().get_available_providers()
    # Every new shape searches again; a recorded graph has one shape and runs often.
    search = conv_search or ("exhaustive" if cuda_graph else "heuristic")
    if name == "auto" and cuda_graph:
        name = "cuda"  # the CPU has no CUDA graphs to fall back to
    if name == "auto":
        kinds = [kind for kind in _AUTO if KINDS[kind].provider in available]
        if kinds == ["cpu"]:
            log_once("device auto: this onnxruntime has no CUDA; running on the CPU")
        return [_device(kind, "0", available, cuda_graph, search) for kind in kinds]
    kind, sign, index = name.partition(":")
    if kind not in KINDS or (sign and (kind not in _INDEXED or not index.isdecimal())):
        raise DeviceError(f"device '{name}': one of auto, {', '.join(KINDS)}, cuda:N, tensorrt:N")
    _check_available(name, KINDS[kind], available)
    return [_device(kind, index or "0", available, cuda_graph, search)]


def log_once(note: str) -> None:
    """Log a note the first time only, not at every session."""
    if note not in _logged:
        _logged.add(note)
        log.info(note)


def _check_available(name: str, kind: Kind, available: list[str]) -> None:
    if kind.provider in available:
        return
    if kind.plugin is not None:
        _register(name, kind, kind.plugin)
    else:
        raise DeviceError(
            f"device '{name}': this onnxruntime has no {kind.provider}, only "
            f"{', '.join(available)}; to get it: pip install {kind.install}"
        )


def _register(name: str, kind: Kind, plugin: str) -> None:
    """Load the library of a provider that is a package of its own."""
    try:
        module = importlib.import_module(plugin)
    except ImportError as error:
        raise DeviceError(
            f"device '{name}': {error}; to get it: pip install {kind.install}"
        ) from error
    if kind.provider in _registered:
        return
    try:
        runtime().register_execution_provider_library(kind.provider, module.get_library_path())
    except Exception as error:  # onnxruntime raises many types
        raise DeviceError(f"device '{name}': its library does not load: {error}") from error
    _registered.add(kind.provider)


def _device(
    kind: str, index: str, available: list[str], cuda_graph: bool, search: ConvSearch
) -> Device:
    if kind not in _INDEXED:
        if cuda_graph:
            raise DeviceError(f"device '{kind}': CUDA graphs need a GPU: cuda or tensorrt")
        row = KINDS[kind]
        first = (row.provider, dict(row.options)) if row.options else row.provider
        return Device(kind, (first,) if kind == "cpu" else (first, CPU))
    options = {
        "device_id": index,
        **KINDS["cuda"].options,
        "cudnn_conv_algo_search": search.upper(),
    }
    tensorrt = {"device_id": index}
    if cuda_graph:
        options["enable_cuda_graph"] = tensorrt["trt_cuda_graph_enable"] = "1"
    chain: list[Any] = [("CUDAExecutionProvider", options), CPU]
    if kind == "tensorrt":
        log_once(_TF32_NOTE)
        if "CUDAExecutionProvider" not in available:
            del chain[0]
        chain.insert(0, ("TensorrtExecutionProvider", tensorrt))
    return Device(f"{kind}:{int(index)}", tuple(chain))
