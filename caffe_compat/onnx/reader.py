"""Read an ONNX file without its weights, which stay in their file.

onnxruntime parses a file of inline weights as one protobuf and copies them more than once: 553 MB
of VGG-16 took 4 to 8 s. Format: onnx.proto and docs/ExternalData.md of ONNX.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import Message
from numpy.typing import NDArray

from ..errors import WeightsError
from ..weights.mapped import Mapped
from ..weights.wire import LENGTH, Field, Scan, head

_DTYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "<f4",
    onnx.TensorProto.FLOAT16: "<f2",
    onnx.TensorProto.DOUBLE: "<f8",
    onnx.TensorProto.INT64: "<i8",
    onnx.TensorProto.INT32: "<i4",
    onnx.TensorProto.UINT8: "u1",
    onnx.TensorProto.INT8: "i1",
}
_GRAPH, _INITIALIZER, _RAW_DATA = (
    onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number,
    onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number,
    onnx.TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number,
)

_TYPES = ("data_type", "elem_type")  # fields that are a TensorProto.DataType

Arrays = dict[str, NDArray[Any]]


class OutsideError(WeightsError):
    """A model with weights outside its folder, which are not read."""


def outline(path: Path) -> tuple[onnx.ModelProto, Arrays]:
    """Return an ONNX file's model without its initializers, and these as views of their file.

    Initializers of other types than plain numbers, or without raw bytes, stay in the model.

    Raises:
        OutsideError: tensors are outside its folder.
        WeightsError: it is no protobuf; initializers are beyond the end of their file; other
            tensors are in files; a text is no UTF-8, or a type unknown.
        google.protobuf.message.DecodeError: it is a protobuf of another kind.
    """
    file = Mapped.open(path)
    scan = Scan(file)
    outer, inner = bytearray(), bytearray()
    arrays: Arrays = {}
    others: dict[str, Mapped] = {}
    for field in scan.fields(0, scan.size, "model"):
        if (field.number, field.wire_type) != (_GRAPH, LENGTH):
            outer += file[field.offset : field.stop]
            continue
        for part in scan.fields(field.start, field.stop, "graph"):
            if (part.number, part.wire_type) == (_INITIALIZER, LENGTH):
                fields = list(scan.fields(part.start, part.stop, "initializer"))
                tensor = onnx.TensorProto.FromString(b"".join(_but_raw(file, fields)))
                _check_text(tensor, path)
                array = _view(tensor, file, fields, others)
                if array is not None:
                    arrays[tensor.name] = array
                    continue
            inner += file[part.offset : part.stop]
    model = onnx.ModelProto.FromString(bytes(outer + head(_GRAPH, len(inner)) + inner))
    _check_text(model, path)
    for name in check_inside(model, path):
        raise WeightsError(
            f"{path}: '{name}' is in another file, and no initializer of plain numbers"
        )
    return model, arrays


def check_inside(model: onnx.ModelProto, path: Path | None) -> list[str]:
    """Return the tensors of a model, at any depth, that are in other files.

    Args:
        model: the model.
        path: its own file; None if it has none, and so no folder for other files.

    Raises:
        OutsideError: a tensor is outside the model's folder.
    """
    tensors = [t for t in _tensors(model) if t.data_location == onnx.TensorProto.EXTERNAL]
    for tensor in tensors:
        name = next((e.value for e in tensor.external_data if e.key == "location"), "")
        if path is None:
            raise OutsideError(
                f"the model: '{tensor.name}' is in {name}, and the model in no folder; give the "
                "path of its file"
            )
        _inside(path.resolve().parent, name, tensor.name, path)
    return [tensor.name for tensor in tensors]


def _check_text(message: Message, path: Path) -> None:
    """Refuse a text that is no UTF-8, of which protobuf gives the bytes, and an unknown type.

    Raises:
        WeightsError: naming it.
    """
    for field, value in message.ListFields():
        values: Any = [value] if isinstance(value, (Message, str, bytes)) else value
        if field.message_type is not None:
            for each in values:
                _check_text(each, path)
        elif field.type == field.TYPE_STRING:
            for text in values:
                if isinstance(text, bytes):
                    raise WeightsError(f"{path}: {field.name} {text[:100]!r}: not UTF-8")
        elif field.name in _TYPES and value not in onnx.TensorProto.DataType.values():
            raise WeightsError(f"{path}: {field.name} {value}: ONNX has no such type")


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in [value] if isinstance(value, Message) else value:
                if isinstance(each, onnx.TensorProto):
                    yield each
                else:
                    yield from _tensors(each)


def _inside(folder: Path, location: str, tensor: str, model: Path) -> Path:
    """Return the file of a tensor."""
    try:
        path = (folder / location).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a null character
        raise OutsideError(f"{model}: '{tensor}' is in {location!r}: {error}") from None
    if not path.is_relative_to(folder):
        raise OutsideError(f"{model}: '{tensor}' is in {location}, outside its folder")
    return path


def _but_raw(file: Mapped, fields: list[Field]) -> Iterator[bytes]:
    for field in fields:
        if field.number != _RAW_DATA:
            yield file[field.offset : field.stop]


def _view(
    tensor: onnx.TensorProto, file: Mapped, fields: list[Field], others: dict[str, Mapped]
) -> NDArray[Any] | None:
    """Return a tensor as a view of its file, None if onnx has to read it."""
    if tensor.data_type not in _DTYPES:
        return None
    dtype = np.dtype(_DTYPES[tensor.data_type])
    size = prod(tensor.dims) * dtype.itemsize
    raw = [field for field in fields if field.number == _RAW_DATA and field.wire_type == LENGTH]
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        file, start = _elsewhere(tensor, file, others)
        available = len(file) - start
    elif len(raw) == 1:
        start, available = raw[0].start, raw[0].stop - raw[0].start
    else:
        return None
    if start < 0 or min(tensor.dims, default=0) < 0 or available < size:
        raise WeightsError(
            f"{file.path}: has {available} bytes at {start} for '{tensor.name}', which needs {size}"
        )
    return file.view(start, size // dtype.itemsize, dtype.str).reshape(tuple(tensor.dims))


def _elsewhere(
    tensor: onnx.TensorProto, file: Mapped, others: dict[str, Mapped]
) -> tuple[Mapped, int]:
    """Return the file of a tensor, and the offset in it."""
    where = {entry.key: entry.value for entry in tensor.external_data}
    name = where.get("location", "")
    if name not in others:
        folder = file.path.resolve().parent
        others[name] = Mapped.open(_inside(folder, name, tensor.name, file.path))
    offset = where.get("offset", "0")
    if not offset.isdecimal():
        raise WeightsError(f"{file.path}: '{tensor.name}' is at {offset!r}, which is no number")
    return others[name], int(offset)
