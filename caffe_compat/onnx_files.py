"""ONNX models to files: weights inline, in a file beside, or where they already lie.

The weights never pass through protobuf: an ONNX file is a protobuf whose initializers may
stand anywhere in the graph, so they are appended as bytes, straight from the file they lie in.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from .errors import CaffeCompatError, WeightsError
from .files import atomic
from .lowering import Lowered
from .weights import location

WeightsAs = Literal["inline", "external", "in-place"]
INLINE_LIMIT = 1_500_000_000  # a protobuf ends at 2 GiB; above this, weights go to a file beside
_ALIGN = 4096                 # a page, so that a reader can map each tensor by itself
_CHUNK = 1 << 23
_GRAPH, _INITIALIZER, _RAW_DATA = (
    onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number,
    onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number,
    onnx.TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number,
)


@dataclass(frozen=True)
class Saved:
    """What was written.

    Attributes:
        weights_as: how the weights were stored.
        files: the files written, the ONNX file first.
        stored: with `in-place`, the initializers that had to be stored in the ONNX file.
    """

    weights_as: WeightsAs
    files: tuple[Path, ...]
    stored: tuple[str, ...] = ()


def save(lowered: Lowered, path: str | Path, weights_as: WeightsAs | None = None) -> Saved:
    """Write an ONNX model; a failure leaves what was there before.

    Args:
        lowered: the model.
        path: the ONNX file to write.
        weights_as: `inline` (the default below 1.5 GB), `external` (PATH.data, the default
            above), or `in-place`: the ONNX file names the byte ranges of the caffemodel that
            the weights were read from, which must lie in its folder or below.

    Raises:
        CaffeCompatError: the file cannot be written.
        WeightsError: `in-place` without such a caffemodel.
    """
    path = Path(path)
    total = sum(array.nbytes for array in lowered.arrays.values())
    if weights_as is None:
        weights_as = "inline" if total < INLINE_LIMIT else "external"
    if weights_as == "inline" and total >= INLINE_LIMIT:
        raise CaffeCompatError(
            f"{path}: {total / 1e9:.1f} GB of weights do not fit into one ONNX file, whose limit "
            "is 2 GiB; use --weights-as external or in-place"
        )
    if weights_as == "external":
        return _save_external(lowered, path)
    if weights_as == "in-place":
        return _save_in_place(lowered, path)
    with atomic(path) as target, target.open("wb") as file:
        _write(file, lowered.model, [_inline(name, a) for name, a in lowered.arrays.items()])
    return Saved("inline", (path,))


def to_bytes(lowered: Lowered) -> bytes:
    """The model as one ONNX file's bytes, weights inline."""
    file = io.BytesIO()
    _write(file, lowered.model, [_inline(name, a) for name, a in lowered.arrays.items()])
    return file.getvalue()


def shell(lowered: Lowered) -> tuple[bytes, dict[str, NDArray[Any]]]:
    """One ONNX file's bytes without the large weights, and these by name.

    They are marked as lying elsewhere, for onnxruntime's add_external_initializers: so they go
    from where they lie into the session, and never through a protobuf.
    """
    large = {n: np.asarray(a, order="C") for n, a in lowered.arrays.items() if a.nbytes >= _ALIGN}
    file = io.BytesIO()
    _write(file, lowered.model, [
        _external(name, array, "memory", 0) if name in large else _inline(name, array)
        for name, array in lowered.arrays.items()
    ])  # fmt: skip
    return file.getvalue(), large


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


def _save_external(lowered: Lowered, path: Path) -> Saved:
    beside = path.with_name(path.name + ".data")
    entries: list[Entry] = []
    with (
        atomic(path) as model_target,
        atomic(beside) as data_target,
        model_target.open("wb") as model,
        data_target.open("wb") as data,
    ):
        for name, array in lowered.arrays.items():
            if array.nbytes < _ALIGN:
                entries.append(_inline(name, array))
                continue
            offset = -(-data.tell() // _ALIGN) * _ALIGN
            data.seek(offset)
            _copy(data, array)
            entries.append(_external(name, array, beside.name, offset))
        _write(model, lowered.model, entries)
    return Saved("external", (path, beside))


def _save_in_place(lowered: Lowered, path: Path) -> Saved:
    entries: list[Entry] = []
    stored: list[str] = []
    folder = path.resolve().parent
    for name, array in lowered.arrays.items():
        place = location(array)
        if place is None:
            entries.append(_inline(name, array))
            if array.nbytes > 64:
                stored.append(name)
            continue
        source, offset, _ = place
        source = source.resolve()
        if not source.is_relative_to(folder):
            raise WeightsError(
                f"{path}: in-place weights must lie in the ONNX file's own folder or below, as "
                f"ONNX requires; {source} does not"
            )
        entries.append(_external(name, array, source.relative_to(folder).as_posix(), offset))
    if len(stored) == len(lowered.arrays) and stored:
        raise WeightsError(
            f"{path}: in-place needs a .caffemodel whose float32 weights it can point at"
        )
    with atomic(path) as target, target.open("wb") as file:
        _write(file, lowered.model, entries)
    return Saved("in-place", (path,), tuple(stored))


def _write(file: BinaryIO, model: onnx.ModelProto, entries: Sequence[Entry]) -> None:
    """The model with its graph's initializers appended, none of them copied in memory."""
    shell = onnx.ModelProto()
    shell.CopyFrom(model)
    shell.ClearField("graph")
    graph = model.graph.SerializeToString()
    heads = [_entry_head(tensor, array) for tensor, array in entries]
    size = len(graph) + sum(
        len(head) + (0 if array is None else array.nbytes)
        for head, (_, array) in zip(heads, entries, strict=True)
    )
    file.write(shell.SerializeToString())
    file.write(_tag(_GRAPH) + _varint(size))
    file.write(graph)
    for head, (_, array) in zip(heads, entries, strict=True):
        file.write(head)
        if array is not None:
            _copy(file, array)


def _entry_head(tensor: onnx.TensorProto, array: NDArray[Any] | None) -> bytes:
    """What precedes an initializer's raw bytes: its tag and length, its fields, theirs."""
    fields = tensor.SerializeToString()
    if array is None:
        return _tag(_INITIALIZER) + _varint(len(fields)) + fields
    fields += _tag(_RAW_DATA) + _varint(array.nbytes)
    return _tag(_INITIALIZER) + _varint(len(fields) + array.nbytes) + fields


def _tag(field: int) -> bytes:
    return _varint(field << 3 | 2)


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def _copy(out: BinaryIO, array: NDArray[Any]) -> None:
    """An array's bytes, little-endian; from file to file where it lies in one."""
    place = location(array)
    if place is not None and hasattr(os, "copy_file_range"):
        try:
            _copy_range(out, *place)
        except OSError:  # not between these two file systems
            pass
        else:
            return
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype.byteorder == ">":
        flat = flat.astype(flat.dtype.newbyteorder("<"))
    if flat.nbytes:
        out.write(memoryview(flat).cast("B"))


def _copy_range(out: BinaryIO, source: Path, offset: int, count: int) -> None:
    try:
        target = out.fileno()
    except io.UnsupportedOperation as error:
        raise OSError("not a file") from error
    out.flush()
    start = out.tell()
    with source.open("rb") as file:
        done = 0
        while done < count:
            size = min(count - done, _CHUNK)
            moved = os.copy_file_range(file.fileno(), target, size, offset + done, start + done)
            if moved == 0:
                raise WeightsError(f"{source}: was cut short while it was read")
            done += moved
    out.seek(start + count)
