"""Runs an ONNX model, or a net, with onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import ArrayLike, NDArray

from ..errors import CaffeCompatError, DeviceError, ShapeError
from ..net.net import Net
from ..onnx import writer
from ..onnx.lowering import Lowered, lower
from ..onnx.passes import simplify
from ..onnx.passes.cpu import is_slow, tune
from ..onnx.reader import OutsideError, check_inside, outline
from ..types import Dims
from ..weights import mapped
from .binding import Bindings
from .devices import Device, devices, runtime, say_once

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


_LARGE = 16_000_000  # bytes of an ONNX file that onnxruntime had better not parse


class Session:
    """A net ready to run; threads may share it.

    Args:
        model: a Net, a lowered net, an ONNX file's path, or its bytes.
        device: `cpu`, `cuda[:N]`, `tensorrt[:N]`, or `auto`: the first of CUDA and the CPU that
            this machine has.
        blobs: blobs to give as outputs beside the net's own, by Caffe's name.
        threads: how many threads one operator may use; 0 leaves it to onnxruntime.
        cuda_graph: on a GPU, record the first run and replay it at later ones, which saves the
            launches; for nets whose inputs and outputs have no open axis.

    Attributes:
        inputs: each input's shape by name; None on an axis of any size.
        outputs: likewise for the outputs.
        dtypes: the dtype of each input and output by name.
        device: where it runs: `cpu`, `cuda:0`, ...
        properties: the model's own metadata.

    Raises:
        DeviceError: onnxruntime is missing, or cannot run on that device.
        ShapeError: the net has no such blob, or `cuda_graph` meets an open axis.
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
    ) -> None:
        choices = devices(device, cuda_graph=cuda_graph)
        options = runtime().SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # what it would print stands in its exceptions too
        on_cpu = not any(choice.on_gpu for choice in choices)
        source, values = _source(model, blobs, options, on_cpu=on_cpu)
        self._session, chosen = _open(source, options, choices)
        del values  # onnxruntime reads them where they are until the session stands
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
        made = {name: (dims, self.dtypes[name]) for name, dims in self.outputs.items()}
        self._bindings = Bindings(self._session, memory, index, made, single=single)

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
        """Let go of the model and its memory; runs that are under way still end well."""
        self._session = self._bindings = None

    def run(self, feeds: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        """Run the net once.

        Args:
            feeds: an array for each input, by name; integers and other floats are converted
                where nothing is lost but precision.

        Returns:
            The outputs by name.

        Raises:
            ShapeError: an input is missing, unknown, or of another rank, size or type.
            CaffeCompatError: onnxruntime failed, or the session is closed.
        """
        session, bindings = self._session, self._bindings
        if session is None:
            raise CaffeCompatError("the session is closed")
        checked = self._check(feeds)
        names = list(self.outputs)
        try:
            made = session.run(names, checked) if bindings is None else bindings.run(checked)
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
            try:
                array, dtype = np.asarray(feeds[name]), self.dtypes[name]
            except ValueError as error:
                raise ShapeError(f"input '{name}' was fed what is no array: {error}") from None
            if not np.can_cast(array.dtype, dtype, "same_kind"):
                raise ShapeError(f"input '{name}' is {np.dtype(dtype)}, and was fed {array.dtype}")
            if len(array.shape) != len(dims) or any(
                d is not None and n != d for n, d in zip(array.shape, dims, strict=True)
            ):
                raise ShapeError(f"input '{name}' is {_say(dims)}, and was fed {_say(array.shape)}")
            checked[name] = np.ascontiguousarray(array, dtype).reshape(array.shape)
        return checked


def _source(
    model: Net | Lowered | str | Path | bytes, blobs: Sequence[str], options: Any, *, on_cpu: bool
) -> tuple[str | bytes, list[Any]]:
    """What InferenceSession opens, and the weights in memory that it gets through `options`."""
    if isinstance(model, str | Path) and not Path(model).is_file():
        raise CaffeCompatError(f"{model}: no such file")
    if isinstance(model, Net):
        model = simplify(lower(model, extra=[model.graph.blob(name) for name in blobs]))
    elif isinstance(model, str | Path) and not blobs:
        model = _outlined(Path(model), on_cpu=on_cpu)
    elif blobs and not isinstance(model, Lowered):
        model = _parsed(model)
    if isinstance(model, Lowered):
        mapped.check(model.arrays.values())
        model = replace(model, model=_with_outputs(model.model, blobs))
        if on_cpu:
            model = tune(model)
        shell, large = writer.shell(model)
        values = [runtime().OrtValue.ortvalue_from_numpy(array) for array in large.values()]
        options.add_external_initializers(list(large), values)
        return shell, [*values, *large.values()]
    return model if isinstance(model, bytes) else str(model), []


def _outlined(path: Path, *, on_cpu: bool) -> Lowered | Path:
    """An ONNX file whose weights stay where they are; itself where that gains nothing."""
    try:
        model, arrays = outline(path)
    except OutsideError:  # which onnxruntime up to 1.23 would read
        raise
    except Exception:  # onnxruntime says what is wrong with it
        _check_inside(path)
        return path
    gains = path.stat().st_size >= _LARGE or (on_cpu and is_slow(model))
    return Lowered(model, arrays, ()) if gains else path


def _check_inside(path: Path) -> None:
    with suppress(DecodeError, OSError):
        check_inside(onnx.load(path, load_external_data=False), path)


def _parsed(model: str | Path | bytes) -> Lowered:
    """An ONNX file, its initializers taken out of it, wherever they lie."""
    what = "the model" if isinstance(model, bytes) else str(model)
    try:
        if not isinstance(model, bytes):
            return Lowered(*outline(Path(model)), ())
        message = onnx.load_from_string(model)
        check_inside(message, None)
        held = message.graph.initializer
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in held}
    except OutsideError:
        raise
    except Exception as error:  # protobuf's own error type depends on its implementation
        raise CaffeCompatError(f"{what}: not an ONNX file that can be read: {error}") from error
    del held[:]
    return Lowered(message, arrays, ())


def _with_outputs(model: onnx.ModelProto, blobs: Sequence[str]) -> onnx.ModelProto:
    """The model with these blobs among its outputs, under Caffe's names."""
    have = {value.name for value in model.graph.output}
    made = {name for node in model.graph.node for name in node.output if name}
    made |= {value.name for value in model.graph.input}
    props = {prop.key: prop.value for prop in model.metadata_props}
    aliases: dict[str, str] = json.loads(props.get("caffe_compat.aliases", "{}"))
    wider = onnx.ModelProto()
    wider.CopyFrom(model)
    for blob in dict.fromkeys(blobs):
        if blob in have:
            continue
        tensor = aliases.get(blob, blob)
        while tensor in aliases and tensor not in made:
            tensor = aliases[tensor]
        if tensor not in made:
            named = [*sorted(made - _inner(made)), *aliases]
            raise ShapeError(f"the net has no blob '{blob}'; its blobs: {', '.join(named)}")
        if tensor != blob:
            wider.graph.node.append(onnx.helper.make_node("Identity", [tensor], [blob]))
        wider.graph.output.append(onnx.ValueInfoProto(name=blob))
    return wider


def _inner(names: set[str]) -> set[str]:
    """The tensors that stand inside a layer: those under another's name."""
    return {name for name in names if name.partition("/")[1]}


def _open(source: str | bytes, options: Any, choices: Sequence[Device]) -> tuple[Any, Device]:
    """A session on the first of the devices that starts."""
    what = "the model" if isinstance(source, bytes) else source
    for choice in choices:
        try:
            session = runtime().InferenceSession(source, options, providers=list(choice.providers))
        except Exception as error:  # onnxruntime raises a dozen types of its own
            if choice is not choices[-1]:
                say_once(f"device auto: {choice.name} failed; running on the CPU: {error}")
                continue
            raise CaffeCompatError(f"{what}: onnxruntime cannot load it: {error}") from error
        if choice.provider in session.get_providers():
            return session, choice
        if choice is not choices[-1]:
            say_once(f"device auto: {choice.provider} did not start; running on the CPU")
    raise DeviceError(
        f"device '{choices[-1].name}': onnxruntime could not start {choices[-1].provider}, and "
        f"fell back to {', '.join(session.get_providers())}; are its driver and libraries there?"
    )


def _check_fixed(shapes: Mapping[str, Dims]) -> None:
    for name, dims in shapes.items():
        if None in dims:
            raise ShapeError(
                f"a CUDA graph needs fixed shapes, and '{name}' is {_say(dims)}; "
                "convert with --input or --batch"
            )


def _dims(shape: Sequence[Any]) -> Dims:
    return tuple(n if isinstance(n, int) else None for n in shape)


def _dtype(value: Any) -> Any:
    if value.type not in _DTYPES:
        raise CaffeCompatError(f"'{value.name}' is a {value.type}, which this does not handle")
    return _DTYPES[value.type]


def _say(dims: Sequence[int | None]) -> str:
    return "x".join("?" if n is None else str(n) for n in dims) or "a scalar"
