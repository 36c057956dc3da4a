"""Runs an ONNX model, or a net, with onnxruntime."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import ArrayLike, NDArray

from . import onnx_files
from .errors import CaffeCompatError, DeviceError, ShapeError
from .lowering import Lowered, lower
from .net import Net

log = logging.getLogger("caffe_compat")

_PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "pip install caffe_compat"),
    "cuda": ("CUDAExecutionProvider", "pip install caffe_compat[gpu]"),
    "tensorrt": ("TensorrtExecutionProvider", "pip install caffe_compat[gpu]"),
}
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
    "tensor(int64)": np.int64,
}


class Session:
    """A net ready to run; threads may share it.

    Args:
        model: a Net, a lowered net, an ONNX file's path, or its bytes.
        device: `cpu`, `cuda[:N]`, `tensorrt[:N]`, or `auto`: the first of CUDA and the CPU that
            this machine has.
        blobs: for a Net, blobs to make available beside its outputs.
        threads: how many threads one operator may use; 0 leaves it to onnxruntime.

    Attributes:
        inputs: each input's shape by name; None on an axis of any size.
        outputs: likewise for the outputs.
        device: where it runs: `cpu`, `cuda:0`, ...

    Raises:
        DeviceError: onnxruntime here cannot run on that device.
        CaffeCompatError: onnxruntime cannot load the model.
    """

    def __init__(
        self,
        model: Net | Lowered | str | Path | bytes,
        device: str = "auto",
        *,
        blobs: Sequence[str] = (),
        threads: int = 0,
    ) -> None:
        if isinstance(model, Net):
            model = lower(model, extra=[model.graph.blob(name) for name in blobs])
        if isinstance(model, Lowered):
            model = onnx_files.to_bytes(model)
        self.device, providers = _providers(device)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        source = model if isinstance(model, bytes) else str(model)
        if isinstance(source, str) and not Path(source).is_file():
            raise CaffeCompatError(f"{source}: no such file")
        try:
            self._session = ort.InferenceSession(source, options, providers=providers)
        except Exception as error:  # onnxruntime raises a dozen types of its own
            what = "the model" if isinstance(source, bytes) else source
            raise CaffeCompatError(f"{what}: onnxruntime cannot load it: {error}") from error
        if self.device != "cpu" and providers[0][0] not in self._session.get_providers():
            raise DeviceError(f"device '{self.device}': onnxruntime could not start "
                              f"{providers[0][0]} and fell back; are its driver and libraries there?")
        self.inputs = {i.name: _dims(i.shape) for i in self._session.get_inputs()}
        self.outputs = {o.name: _dims(o.shape) for o in self._session.get_outputs()}
        self._dtypes = {i.name: _DTYPES[i.type] for i in self._session.get_inputs()}
        props = self._session.get_modelmeta().custom_metadata_map
        self._aliases: dict[str, str] = json.loads(props.get("caffe_compat.aliases", "{}"))

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del self._session

    def run(self, feeds: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        """Run the net once.

        Args:
            feeds: an array for each input, by name; integers and other floats are converted
                where nothing is lost but precision.

        Returns:
            The outputs by name.

        Raises:
            ShapeError: an input is missing, unknown, or of another rank, size or type.
        """
        checked = self._check(feeds)
        names = list(self.outputs)
        try:
            made = self._session.run(names, checked)
        except Exception as error:  # onnxruntime raises a dozen types of its own
            raise CaffeCompatError(f"onnxruntime: {error}") from error
        return dict(zip(names, made, strict=True))

    def run_batches(
        self, batches: Iterable[Mapping[str, ArrayLike]]
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Run the net on each of `batches` in turn, as they come."""
        return map(self.run, batches)

    def _check(self, feeds: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        have = ", ".join(f"{name} {_say(dims)}" for name, dims in self.inputs.items())
        for name in feeds:
            if name not in self.inputs:
                raise ShapeError(f"the net has no input '{name}'; its inputs: {have}")
        checked = {}
        for name, dims in self.inputs.items():
            if name not in feeds:
                raise ShapeError(f"input '{name}' is not fed; the net's inputs: {have}")
            array, dtype = np.asarray(feeds[name]), self._dtypes[name]
            if not np.can_cast(array.dtype, dtype, "same_kind"):
                raise ShapeError(f"input '{name}' is {np.dtype(dtype)}, and was fed {array.dtype}")
            if len(array.shape) != len(dims) or any(
                d is not None and n != d for n, d in zip(array.shape, dims, strict=True)
            ):
                raise ShapeError(f"input '{name}' is {_say(dims)}, and was fed {_say(array.shape)}")
            checked[name] = np.ascontiguousarray(array, dtype).reshape(array.shape)
        return checked


def _dims(shape: Sequence[Any]) -> tuple[int | None, ...]:
    return tuple(n if isinstance(n, int) else None for n in shape)


def _say(dims: Sequence[int | None]) -> str:
    return "x".join("?" if n is None else str(n) for n in dims) or "a scalar"


def _providers(device: str) -> tuple[str, list[Any]]:
    """The device by its full name, and onnxruntime's providers for it.

    Raises:
        DeviceError: the name is none, or this onnxruntime lacks the provider.
    """
    available = ort.get_available_providers()
    if device == "auto":
        if "CUDAExecutionProvider" in available:
            try:
                return _providers("cuda")
            except DeviceError:
                pass
        log.info("device auto: this onnxruntime has no CUDA; running on the CPU")
        return _providers("cpu")
    name, _, index = device.partition(":")
    if name not in _PROVIDERS or (index and not index.isdecimal()) or (name == "cpu" and index):
        raise DeviceError(f"device '{device}': one of auto, cpu, cuda, cuda:N, tensorrt, tensorrt:N")
    provider, install = _PROVIDERS[name]
    if provider not in available:
        raise DeviceError(
            f"device '{device}': this onnxruntime has no {provider}, only "
            f"{', '.join(available)}; to get it: {install}"
        )
    if name == "cpu":
        return "cpu", [provider]
    number = int(index or 0)
    chain: list[Any] = [(provider, {"device_id": number})]
    if name == "tensorrt":
        chain.append(("CUDAExecutionProvider", {"device_id": number}))
    return f"{name}:{number}", [*chain, "CPUExecutionProvider"]
