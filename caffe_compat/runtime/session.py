"""Runs an ONNX model, or a net, with onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import CaffeCompatError, DeviceError, ShapeError
from ..net.feeds import as_array, by_name
from ..net.net import Net
from ..onnx import writer
from ..onnx.lowering import Lowered
from ..onnx.passes.cpu import tune
from ..types import AnyArray, Dims
from ..weights import mapped
from .binding import Bindings
from .devices import ConvSearch, Device, devices, log_once, runtime
from .float16 import multiplies_in_float16
from .models import open_model, resolve
from .placement import check_recordable
from .tensorrt import keep_engines

_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}


class Session:
    """A net ready to run; threads may share it.

    Args:
        model: a Net, a lowered net, an ONNX file's path, or its bytes.
        device: `cpu`, `cuda[:N]`, `tensorrt[:N]`, another of `devices.KINDS`, or `auto`: the GPU
            for which this onnxruntime was built, else the CPU.
        blobs: blobs to return beside the net's own outputs, by Caffe's name.
        threads: the number of threads that one operator may use; 0 leaves it to onnxruntime.
        cuda_graph: on a GPU, record the first run and replay it at later ones, which saves the
            launches; for nets whose inputs and outputs have no open axis.
        conv_search: how cuDNN chooses the algorithms of convolutions at the first run of each
            shape: `heuristic` quickly; `exhaustive` thoroughly, so that the runs are up to a tenth
            faster; `default` by a short list, which is slow. By default exhaustive with
            `cuda_graph` and heuristic without.

    Attributes:
        inputs: each input's shape by name; None on an axis of any size.
        outputs: likewise for the outputs.
        dtypes: the dtype of each input and output by name.
        device: the device it runs on: `cpu`, `cuda:0`, ...
        properties: the model's own metadata.

    Raises:
        DeviceError: onnxruntime is missing, or cannot run on that device.
        ShapeError: the net has no such blob, or `cuda_graph` meets an open axis.
        UnsupportedError: `cuda_graph` meets a node that waits for the CPU.
        CaffeCompatError: onnxruntime cannot load the model.
    """

    def __init__(
        self,
        model: Net | Lowered | str | Path | bytes,
        device: str = "auto",
        *,
        blobs: Sequence[str] = (),
        threads: int = 0,
        cuda_graph: bool = False,
        conv_search: ConvSearch | None = None,
    ) -> None:
        choices = devices(device, cuda_graph=cuda_graph, conv_search=conv_search)
        self._session, chosen = _open(model, blobs, threads, choices)
        self.device = chosen.name
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self.inputs: dict[str, Dims] = {i.name: _dims(i.shape) for i in inputs}
        self.outputs: dict[str, Dims] = {o.name: _dims(o.shape) for o in outputs}
        self.dtypes: dict[str, Any] = {v.name: _dtype(v) for v in (*inputs, *outputs)}
        self.properties: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        self._bindings: Bindings | None = None
        if cuda_graph:
            _check_fixed({**self.inputs, **self.outputs})
        if chosen.on_gpu:
            self._bind("cuda", chosen.index, single=cuda_graph)

    def _bind(self, memory: str, index: int, *, single: bool = False) -> None:
        """Keep inputs and outputs in that memory from run to run."""
        inputs, outputs = (
            {name: (dims, self.dtypes[name]) for name, dims in values.items()}
            for values in (self.inputs, self.outputs)
        )
        self._bindings = Bindings(self._session, memory, index, inputs, outputs, single=single)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the model and its memory; runs that are under way still end well."""
        self._session = self._bindings = None

    def run(self, feeds: Mapping[str, ArrayLike] | ArrayLike) -> dict[str, AnyArray]:
        """Run the net once.

        Args:
            feeds: an array for each input, by name, or the array of the only input; integers and
                other floats are converted where nothing but precision is lost.

        Returns:
            The outputs by name.

        Raises:
            ShapeError: an input is missing, unknown, or of another rank, size or type.
            CaffeCompatError: onnxruntime failed, or the session is closed.
        """
        session, bindings = self._session, self._bindings
        if session is None:
            raise CaffeCompatError("the session is closed")
        checked = self._check(by_name(feeds, list(self.inputs)))
        names = list(self.outputs)
        try:
            arrays = session.run(names, checked) if bindings is None else bindings.run(checked)
        except Exception as error:  # onnxruntime raises a dozen types of its own
            raise CaffeCompatError(f"onnxruntime: {error}") from error
        return dict(zip(names, arrays, strict=True))

    def run_batches(
        self, batches: Iterable[Mapping[str, ArrayLike]]
    ) -> Iterator[dict[str, AnyArray]]:
        """Run the net on each of `batches` in turn, as they come."""
        return map(self.run, batches)

    def _check(self, feeds: Mapping[str, ArrayLike]) -> dict[str, AnyArray]:
        inputs = ", ".join(f"{name} {_say(dims)}" for name, dims in self.inputs.items())
        for name in feeds:
            if name not in self.inputs:
                raise ShapeError(f"the net has no input '{name}'; its inputs: {inputs}")
        checked = {}
        for name, dims in self.inputs.items():
            if name not in feeds:
                raise ShapeError(f"input '{name}' is not fed; the net's inputs: {inputs}")
            array, dtype = as_array(name, feeds[name]), self.dtypes[name]
            if not np.can_cast(array.dtype, dtype, "same_kind"):
                raise ShapeError(f"input '{name}' is {np.dtype(dtype)}, and was fed {array.dtype}")
            if len(array.shape) != len(dims) or any(
                d is not None and n != d for n, d in zip(array.shape, dims, strict=True)
            ):
                raise ShapeError(f"input '{name}' is {_say(dims)}, and was fed {_say(array.shape)}")
            checked[name] = np.ascontiguousarray(array, dtype).reshape(array.shape)
        return checked


def _open(
    model: Net | Lowered | str | Path | bytes,
    blobs: Sequence[str],
    threads: int,
    choices: Sequence[Device],
) -> tuple[Any, Device]:
    """Open a session on the first of the devices that starts."""
    *firsts, last = choices
    for choice in firsts:
        try:
            return _start(model, blobs, threads, choice), choice
        except DeviceError as error:  # noqa: PERF203  # devices are few, and slow to start
            log_once(f"device auto: {error}; trying the next")
    return _start(model, blobs, threads, last), last


def _start(
    model: Net | Lowered | str | Path | bytes, blobs: Sequence[str], threads: int, device: Device
) -> Any:
    """Open a session on a device, with the model prepared for it.

    Raises:
        DeviceError: the device does not start, or onnxruntime cannot load the model there.
    """
    device.check()
    on_cpu = device.kind == "cpu"
    source = resolve(model, blobs, on_cpu=on_cpu)
    name = source if isinstance(source, str) else "the model"
    if isinstance(model, str | Path):
        name = str(model)
        device = keep_engines(device, Path(model))
    if device.on_gpu:
        device = _fit(device, source)
    options = runtime().SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # its exceptions repeat what it would print
    source, values = _source(source, options, on_cpu=on_cpu)
    try:
        session = device.start(source, options)
    except DeviceError:
        raise
    except Exception as error:  # onnxruntime raises a dozen types of its own
        if on_cpu:
            raise CaffeCompatError(f"{name}: onnxruntime cannot load it: {error}") from error
        raise DeviceError(
            f"device '{device.name}': onnxruntime cannot load {name}: {error}"
        ) from error
    del values  # onnxruntime reads them in place until the session stands
    if device.provider not in session.get_providers():
        raise DeviceError(
            f"device '{device.name}': onnxruntime could not start {device.provider}, and gives no "
            f"cause; it would run on {', '.join(session.get_providers())}"
        )
    return session


def _fit(device: Device, source: Lowered | str | bytes) -> Device:
    """Return a GPU with options that suit the model.

    Raises:
        UnsupportedError: no CUDA graph can record it.
    """
    try:
        lowered = source if isinstance(source, Lowered) else open_model(source)
    except CaffeCompatError:  # onnxruntime's own message is the better one
        return device
    if device.records:
        check_recordable(lowered)
    return device.with_tensor_cores() if multiplies_in_float16(lowered) else device


def _source(
    model: Lowered | str | bytes, options: Any, *, on_cpu: bool
) -> tuple[str | bytes, list[Any]]:
    """Return what InferenceSession opens, and the weights that `options` point to."""
    if not isinstance(model, Lowered):
        return model, []
    mapped.check(model.arrays.values())
    model = tune(model) if on_cpu else model
    shell, large = writer.shell(model)
    values = [runtime().OrtValue.ortvalue_from_numpy(array) for array in large.values()]
    options.add_external_initializers(list(large), values)
    return shell, [*values, *large.values()]


def _check_fixed(shapes: Mapping[str, Dims]) -> None:
    for name, dims in shapes.items():
        if None in dims:
            raise ShapeError(
                f"a CUDA graph needs fixed shapes, and '{name}' is {_say(dims)}; "
                "convert with inputs={...} or batch=N",
                remedies=("inputs", "batch"),
            )


def _dims(shape: Sequence[Any]) -> Dims:
    return tuple(n if isinstance(n, int) else None for n in shape)


def _dtype(value: Any) -> Any:
    if value.type not in _DTYPES:
        raise CaffeCompatError(f"'{value.name}' is a {value.type}, which this does not handle")
    return _DTYPES[value.type]


def _say(dims: Sequence[int | None]) -> str:
    return "x".join("?" if n is None else str(n) for n in dims) or "a scalar"
