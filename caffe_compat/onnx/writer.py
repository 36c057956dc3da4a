"""Write ONNX models to files: weights inline, in a file beside, or left in their own file.

The weights never pass through protobuf. In an ONNX file, which is a protobuf, initializers may be
anywhere in the graph, so their bytes are appended, straight from the weights file.
Format: onnx.proto and docs/ExternalData.md of ONNX.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from ..errors import CaffeCompatError, WeightsError
from ..files import writing
from ..weights import mapped
from ..weights.wire import head
from .lowering import Lowered

WeightsAs = Literal["inline", "external", "in-place"]
INLINE_LIMIT = 1_500_000_000  # bytes of weights; more go to a file beside by default
_PROTOBUF_LIMIT = 2**31 - 1  # bytes, for every reader of protobuf
_ALIGN = 4096  # a page, so that a reader can map each tensor by itself
_GRAPH, _INITIALIZER, _RAW_DATA = (
    onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number,
    onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number,
    onnx.TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number,
)


@dataclass(frozen=True)
class Saved:
    """The files that were written.

    Attributes:
        weights_as: how the weights were stored.
        files: the files written, the ONNX file first.
        stored: with `in-place`, the parameters stored in the ONNX file nevertheless: those that
            ONNX needs in another form, and those that no file has as contiguous float32.
    """

    weights_as: WeightsAs
    files: tuple[Path, ...]
    stored: tuple[str, ...] = ()


def save(lowered: Lowered, path: str | Path, weights_as: WeightsAs | None = None) -> Saved:
    """Write an ONNX model; if this fails, existing files stay.

    Args:
        lowered: the model.
        path: the ONNX file to write.
        weights_as: `inline` (the default below 1.5 GB), `external` (PATH.data, the default
            above), or `in-place`: the ONNX file refers to byte ranges of the weights' own file,
            which must be in its folder or below.

    Raises:
        CaffeCompatError: the file cannot be written, or would exceed protobuf's 2 GiB.
        WeightsError: `in-place` without such a file; the weights file was changed since it was
            opened, or is the output itself.
    """
    path = Path(path)
    if path.is_dir():
        raise CaffeCompatError(f"{path}: is a directory; name a file in it")
    if weights_as is None:
        total = sum(array.nbytes for array in lowered.arrays.values())
        weights_as = "inline" if total < INLINE_LIMIT else "external"
    beside = path.with_name(path.name + ".data")
    if weights_as == "external" and path.exists() and not path.is_file():
        raise CaffeCompatError(
            f"{path}: is no ordinary file, so weights cannot be written beside it"
        )
    _check_sources(lowered, (path, beside) if weights_as == "external" else (path,))
    with _plain_errors(path):
        if weights_as == "external":
            return _save_external(lowered, path, beside)
        if weights_as == "in-place":
            return _save_in_place(lowered, path)
        with writing(path) as file:
            _write(file, lowered.model, [_inline(name, a) for name, a in lowered.arrays.items()])
        return Saved("inline", (path,))


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CaffeCompatError(f"{path}: cannot be written: {error.strerror or error}") from None


def _check_sources(lowered: Lowered, outputs: Sequence[Path]) -> None:
    for file in mapped.files(lowered.arrays.values()):
        file.check()
        for output in outputs:
            if output.exists() and file.path.exists() and output.samefile(file.path):
                raise WeightsError(f"{output}: is the weights file itself; name another output")


def shell(lowered: Lowered) -> tuple[bytes, dict[str, NDArray[Any]]]:
    """Return an ONNX file's bytes without the large weights, and these by name.

    They are marked as external for onnxruntime's add_external_initializers, so that no protobuf
    copies them on their way into a session.

    Raises:
        WeightsError: the weights file was changed since it was opened.
    """
    mapped.check(lowered.arrays.values())
    large = {n: np.asarray(a, order="C") for n, a in lowered.arrays.items() if a.nbytes >= _ALIGN}
    file = io.BytesIO()
    _write(
        file,
        lowered.model,
        [
            _external(name, array, "memory", 0) if name in large else _inline(name, array)
            for name, array in lowered.arrays.items()
        ],
    )
    return file.getvalue(), large


def declare(lowered: Lowered) -> onnx.ModelProto:
    """Return the model with its initializers' types and shapes, for ONNX's shape inference.

    Only the small ones, among them sizes and axes, have their bytes too.
    """
    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    for name, array in lowered.arrays.items():
        tensor, _ = _external(name, array, "memory", 0)
        if array.nbytes < _ALIGN:
            tensor = onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)
        model.graph.initializer.append(tensor)
    return model


Entry = tuple[onnx.TensorProto, "NDArray[Any] | None"]


def _inline(name: str, array: NDArray[Any]) -> Entry:
    return _header(name, array), array


def _header(name: str, array: NDArray[Any]) -> onnx.TensorProto:
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.TensorProto(name=name, dims=array.shape, data_type=kind)


def _external(name: str, array: NDArray[Any], where: str, offset: int) -> Entry:
    tensor = _header(name, array)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", where), ("offset", offset), ("length", array.nbytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor, None


def _save_external(lowered: Lowered, path: Path, beside: Path) -> Saved:
    entries: list[Entry] = []
    with writing(path) as model, writing(beside) as data:
        for name, array in lowered.arrays.items():
            if array.nbytes < _ALIGN:
                entries.append(_inline(name, array))
                continue
            offset = -(-data.tell() // _ALIGN) * _ALIGN
            data.seek(offset)
            mapped.write(data, array)
            entries.append(_external(name, array, beside.name, offset))
        _write(model, lowered.model, entries)
    return Saved("external", (path, beside))


def _save_in_place(lowered: Lowered, path: Path) -> Saved:
    entries: list[Entry] = []
    stored = list(lowered.changed)
    for name, array in lowered.arrays.items():
        place = mapped.location(array)
        if place is None:
            entries.append(_inline(name, array))
            stored += [name] if name in lowered.params else []
        else:
            source, offset, _ = place
            entries.append(_external(name, array, _relative(source, path), offset))
    if stored and all(array is not None for _, array in entries):
        raise WeightsError(
            f"{path}: none of the weights can stay in place: in-place needs a weights file with "
            "contiguous float32 in the form that ONNX needs"
        )
    with writing(path) as file:
        _write(file, lowered.model, entries)
    return Saved("in-place", (path,), tuple(stored))


def _relative(source: Path, path: Path) -> str:
    """Return the location of a weights file for an ONNX file, with links resolved."""
    source, folder = source.resolve(), path.resolve().parent
    if not source.is_relative_to(folder):
        raise WeightsError(
            f"{path}: in-place weights must be in the ONNX file's own folder or below, as "
            f"ONNX requires; {source} is not"
        )
    where = source.relative_to(folder).as_posix()
    if (
        not where.isprintable()
    ):  # nor is it if it has bytes that are no text, which protobuf does not allow
        raise WeightsError(f"{path}: an ONNX file cannot name {where!r}; rename it")
    return where


def _write(file: BinaryIO, model: onnx.ModelProto, entries: Sequence[Entry]) -> None:
    """Write the model with its initializers appended, none of them copied in memory."""
    shell = onnx.ModelProto()
    shell.CopyFrom(model)
    shell.ClearField("graph")
    begin, graph = shell.SerializeToString(), model.graph.SerializeToString()
    heads = [_entry_head(tensor, array) for tensor, array in entries]
    size = len(graph) + sum(
        len(before) + (0 if array is None else array.nbytes)
        for before, (_, array) in zip(heads, entries, strict=True)
    )
    if len(begin) + size > _PROTOBUF_LIMIT:
        raise CaffeCompatError(
            f"{size / 1e9:.1f} GB do not fit into one ONNX file, whose limit is 2 GiB; "
            'store them with weights_as="external" or "in-place"',
            remedies=("weights_as",),
        )
    file.write(begin + head(_GRAPH, size) + graph)
    for before, (_, array) in zip(heads, entries, strict=True):
        file.write(before)
        if array is not None:
            mapped.write(file, array)


def _entry_head(tensor: onnx.TensorProto, array: NDArray[Any] | None) -> bytes:
    """Return the bytes before an initializer's raw data: its tag and length, its fields, theirs."""
    fields = tensor.SerializeToString()
    size = 0
    if array is not None:
        fields += head(_RAW_DATA, array.nbytes)
        size = array.nbytes
    return head(_INITIALIZER, len(fields) + size) + fields
