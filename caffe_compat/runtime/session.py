"""Runs an ONNX model, or a net, with onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import CaffeCompatError, ShapeError
from ..net.feeds import as_array, by_name
from ..net.net import Net
from ..onnx.lowering import Lowered
from ..types import AnyArray, Dims
from .binding import Bindings
from .devices import ConvSearch, Device, devices, log_once
from .opening import open_session

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
            faster, and in float16 with fixed shapes, where kernels are compiled when the session
            opens, for seconds, up to a third; `default` by a short list, which is slow. By default
            exhaustive with `cuda_graph` and heuristic without.

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
        chosen = self._open(*open_session(model, blobs, threads, choices), cuda_graph)
        if chosen.fuses and not self._runs():
            log_once(f"device {self.device}: cuDNN cannot add a bias within every convolution")
            self._open(*open_session(model, blobs, threads, [chosen], fuse=False), cuda_graph)

    def _open(self, session: Any, chosen: Device, cuda_graph: bool) -> Device:
        """Take a session of onnxruntime's, and return its device."""
        self._session = session
        self.device = chosen.name
        inputs, outputs = session.get_inputs(), session.get_outputs()
        self.inputs: dict[str, Dims] = {i.name: _dims(i.shape) for i in inputs}
        self.outputs: dict[str, Dims] = {o.name: _dims(o.shape) for o in outputs}
        self.dtypes: dict[str, Any] = {v.name: _dtype(v) for v in (*inputs, *outputs)}
        self.properties: dict[str, str] = session.get_modelmeta().custom_metadata_map
        self._bindings: Bindings | None = None
        if cuda_graph:
            _check_fixed({**self.inputs, **self.outputs})
        if chosen.on_gpu:
            self._bind("cuda", chosen.index, single=cuda_graph)
        return chosen

    def _runs(self) -> bool:
        """Return whether a run succeeds; cuDNN says in one only what it has no kernel for."""
        zeros = {
            name: np.zeros([n or 1 for n in dims], self.dtypes[name])
            for name, dims in self.inputs.items()
        }
        try:
            self.run(zeros)
        except CaffeCompatError:
            return False
        return True

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
                raise ShapeError(
                    f"input '{name}' is not fed; the net's inputs: {inputs}", remedies=("feeds",)
                )
            array, dtype = as_array(name, feeds[name]), self.dtypes[name]
            if not np.can_cast(array.dtype, dtype, "same_kind"):
                raise ShapeError(f"input '{name}' is {np.dtype(dtype)}, and was fed {array.dtype}")
            if len(array.shape) != len(dims) or any(
                d is not None and n != d for n, d in zip(array.shape, dims, strict=True)
            ):
                raise ShapeError(f"input '{name}' is {_say(dims)}, and was fed {_say(array.shape)}")
            checked[name] = np.ascontiguousarray(array, dtype).reshape(array.shape)
        return checked


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
