"""An ONNX file read without its weights, which stay where they lie and are looked at there.

onnxruntime parses a file of inline weights as one protobuf and copies them more than once: 553 MB
of VGG-16 took it 4 to 8 s. Format: onnx.proto and docs/ExternalData.md of ONNX.
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

Arrays = dict[str, NDArray[Any]]


class OutsideError(WeightsError):
    """A model says that its weights lie outside its folder: nothing there is read."""


def outline(path: Path) -> tuple[onnx.ModelProto, Arrays]:
    """An ONNX file's model less its initializers, and these as views of the file they lie in.

    Initializers of other types than the plain numbers, or without raw bytes, stay in the model.

    Raises:
        OutsideError: tensors are said to lie elsewhere than in its folder or below.
        WeightsError: it is no protobuf; its initializers are not where it says; other tensors lie
            in files.
        google.protobuf.message.DecodeError: it is another's.
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
                array = _view(tensor, file, fields, others)
                if array is not None:
                    arrays[tensor.name] = array
                    continue
            inner += file[part.offset : part.stop]
    model = onnx.ModelProto.FromString(bytes(outer + head(_GRAPH, len(inner)) + inner))
    for name in check_inside(model, path):
        raise WeightsError(
            f"{path}: '{name}' lies in another file, and is no initializer of plain numbers"
        )
    return model, arrays


def check_inside(model: onnx.ModelProto, path: Path | None) -> list[str]:
    """The tensors of a model, anywhere in it, that lie in other files.

    Args:
        model: the model.
        path: the file that it is from; None where it has no folder that others could lie in.

    Raises:
        OutsideError: a tensor lies elsewhere than in the model's folder or below.
    """
    found = [t for t in _tensors(model) if t.data_location == onnx.TensorProto.EXTERNAL]
    for tensor in found:
        name = next((e.value for e in tensor.external_data if e.key == "location"), "")
        if path is None:
            raise OutsideError(
                f"the model: '{tensor.name}' lies in {name}, and the model in no "
                "folder; give the path of its file"
            )
        _inside(path.resolve().parent, name, tensor.name, path)
    return [tensor.name for tensor in found]


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in [value] if isinstance(value, Message) else value:
                if isinstance(each, onnx.TensorProto):
                    yield each
                else:
                    yield from _tensors(each)


def _inside(folder: Path, location: str, tensor: str, model: Path) -> Path:
    """The file that a tensor lies in."""
    try:
        path = (folder / location).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a null character
        raise OutsideError(f"{model}: '{tensor}' lies in {location!r}: {error}") from None
    if not path.is_relative_to(folder):
        raise OutsideError(f"{model}: '{tensor}' lies in {location}, outside its folder")
    return path


def _but_raw(file: Mapped, fields: list[Field]) -> Iterator[bytes]:
    for field in fields:
        if field.number != _RAW_DATA:
            yield file[field.offset : field.stop]


def _view(
    tensor: onnx.TensorProto, file: Mapped, fields: list[Field], others: dict[str, Mapped]
) -> NDArray[Any] | None:
    """What a tensor holds, where it lies; None of one that must be read by others."""
    if tensor.data_type not in _DTYPES:
        return None
    dtype = np.dtype(_DTYPES[tensor.data_type])
    size = prod(tensor.dims) * dtype.itemsize
    raw = [field for field in fields if field.number == _RAW_DATA and field.wire_type == LENGTH]
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        file, start = _elsewhere(tensor, file, others)
        held = len(file) - start
    elif len(raw) == 1:
        start, held = raw[0].start, raw[0].stop - raw[0].start
    else:
        return None
    if start < 0 or min(tensor.dims, default=0) < 0 or held < size:
        raise WeightsError(
            f"{file.path}: has {held} bytes at {start} for '{tensor.name}', which takes {size}"
        )
    return file.view(start, size // dtype.itemsize, dtype.str).reshape(tuple(tensor.dims))


def _elsewhere(
    tensor: onnx.TensorProto, file: Mapped, others: dict[str, Mapped]
) -> tuple[Mapped, int]:
    """The file that holds a tensor, and where in it."""
    where = {entry.key: entry.value for entry in tensor.external_data}
    name = where.get("location", "")
    if name not in others:
        folder = file.path.resolve().parent
        others[name] = Mapped.open(_inside(folder, name, tensor.name, file.path))
    offset = where.get("offset", "0")
    if not offset.isdecimal():
        raise WeightsError(f"{file.path}: '{tensor.name}' lies at {offset!r}, which is no number")
    return others[name], int(offset)
