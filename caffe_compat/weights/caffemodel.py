"""Read binary caffemodels of every generation, without copying their data."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..caffe_pb2 import (
    BlobProto,
    BlobShape,
    LayerParameter,
    NetParameter,
    V0LayerParameter,
    V1LayerParameter,
)
from ..errors import WeightsError
from ..types import Shape
from .mapped import Mapped
from .trained import BlobData, LayerWeights, Weights
from .wire import FIXED32, FIXED64, LENGTH, VARINT, Field, Scan

_MAX_NAME = 65535  # bytes, so that no message grows with a damaged file
_MAX_AXES = 32  # blob.hpp: kMaxBlobAxes
_MAX_COUNT = 2**31 - 1  # blob.cpp: "blob size exceeds INT_MAX"
_LEGACY = (
    BlobProto.NUM_FIELD_NUMBER,
    BlobProto.CHANNELS_FIELD_NUMBER,
    BlobProto.HEIGHT_FIELD_NUMBER,
    BlobProto.WIDTH_FIELD_NUMBER,
)
_RAW: dict[int | None, str] = {
    BlobProto.DOUBLE: "<f8",
    BlobProto.FLOAT: "<f4",
    BlobProto.FLOAT16: "<f2",
}


class _Schema(NamedTuple):
    """The numbers of the fields of a generation's layer message that are read here."""

    name: int
    type: int
    blobs: int


_V2 = _Schema(
    LayerParameter.NAME_FIELD_NUMBER,
    LayerParameter.TYPE_FIELD_NUMBER,
    LayerParameter.BLOBS_FIELD_NUMBER,
)
_V1 = _Schema(
    V1LayerParameter.NAME_FIELD_NUMBER,
    V1LayerParameter.TYPE_FIELD_NUMBER,
    V1LayerParameter.BLOBS_FIELD_NUMBER,
)
_V0 = _Schema(
    V0LayerParameter.NAME_FIELD_NUMBER,
    V0LayerParameter.TYPE_FIELD_NUMBER,
    V0LayerParameter.BLOBS_FIELD_NUMBER,
)
_V0_IN_V1 = V1LayerParameter.LAYER_FIELD_NUMBER


class _Path:
    """The path of a layer, such as `layer[3] 'conv1'`; the name is added once it is read."""

    def __init__(self, label: str):
        self.label = label
        self.name = ""

    def __str__(self) -> str:
        return f"{self.label} '{self.name}'" if self.name else self.label


def read(file: Mapped) -> Weights:
    """Read the layers of a mapped caffemodel; their data stays in the file.

    Args:
        file: a NetParameter by Caffe or one of its forks.

    Returns:
        The layers, in the file's order.

    Raises:
        WeightsError: the file is damaged, or no caffemodel.
    """
    scan = Scan(file)
    name = ""
    v2: list[Field] = []
    v1: list[Field] = []
    for field in scan.fields(0, scan.size, "net"):
        if field.wire_type != LENGTH:
            continue
        if field.number == NetParameter.NAME_FIELD_NUMBER:
            name = _text(scan, field, "net")
        elif field.number == NetParameter.LAYER_FIELD_NUMBER:
            v2.append(field)
        elif field.number == NetParameter.LAYERS_FIELD_NUMBER:
            v1.append(field)
    if v1 and v2:
        raise WeightsError(
            f"{file.path}: Refusing to upgrade inconsistent NetParameter input; the file "
            "includes both 'layer' and 'layers' fields"
        )
    if v1:
        generation, layers = _read_v1(scan, v1)
    else:
        generation = "V2"
        layers = [_layer(scan, [f], _V2, f"layer[{i}]") for i, f in enumerate(v2)]
    if not any(layer.name or layer.type or layer.blobs for layer in layers):
        raise WeightsError(f"{file.path} is not a caffemodel: no layer is in it")
    return Weights(file.path, name, generation, tuple(layers), file)


def read_blob(file: Mapped, name: str) -> NDArray[np.float32]:
    """Read a mapped binaryproto; see `weights.read_blob`."""
    scan = Scan(file)
    return _blob(scan, Field(0, LENGTH, 0, 0, scan.size, 0), 0, name).array


def _read_v1(scan: Scan, fields: list[Field]) -> tuple[str, list[LayerWeights]]:
    """Read V1 layers, or V0 ones if any has a nested `layer`: then only the nested ones count."""
    nested: list[list[Field]] = [[] for _ in fields]
    layers = [_layer(scan, [f], _V1, f"layers[{i}]", nested[i]) for i, f in enumerate(fields)]
    if not any(nested):
        return "V1", layers
    return "V0", [_layer(scan, f, _V0, f"layers[{i}].layer") for i, f in enumerate(nested)]


def _text(scan: Scan, field: Field, where: object) -> str:
    if field.stop - field.start > _MAX_NAME:
        raise scan.error(field.offset, where, f"a name of {field.stop - field.start} bytes")
    return scan.file[field.start : field.stop].decode("utf-8", "backslashreplace")


def _layer(
    scan: Scan, parts: list[Field], schema: _Schema, label: str, nested: list[Field] | None = None
) -> LayerWeights:
    """Read one layer; protobuf merges a message that was written in several parts."""
    where = _Path(label)
    type_ = ""
    blobs = []
    for part in parts:
        for field in scan.fields(part.start, part.stop, where):
            if field.wire_type == VARINT:
                if field.number == schema.type and schema is _V1:
                    type_ = _enum(field.value)
            elif field.wire_type != LENGTH:
                continue
            elif field.number == schema.name:
                where.name = _text(scan, field, where)
            elif field.number == schema.type and schema is not _V1:
                type_ = _text(scan, field, where)
            elif field.number == schema.blobs:
                blobs.append(field)
            elif field.number == _V0_IN_V1 and nested is not None:
                nested.append(field)
    data = tuple(_blob(scan, f, i, f"{where} blobs[{i}]") for i, f in enumerate(blobs))
    return LayerWeights(where.name, type_, data)


def _enum(value: int) -> str:
    known = V1LayerParameter.LayerType.DESCRIPTOR.values_by_number
    return known[value].name if value in known else str(value)


class _Repeated:
    """The pieces of one repeated float or double field, packed or not, collected in order."""

    def __init__(self, dtype: str):
        self.dtype = dtype
        self.width = int(dtype[-1])
        self.count = 0
        self.pieces: list[tuple[int, int, int]] = []  # offset, count, stride

    def add(self, scan: Scan, field: Field, where: object) -> None:
        if field.wire_type == LENGTH:
            length = field.stop - field.start
            count, rest = divmod(length, self.width)
            if rest:
                reason = f"{length} bytes are no whole number of {self.width}-byte values"
                raise scan.error(field.offset, where, reason)
            stride = 0
        elif field.wire_type == (FIXED32 if self.width == 4 else FIXED64):
            count, stride = field.value, 1 + self.width
        else:
            return  # as protobuf: a known number of another wire type is an unknown field
        if count:
            self.pieces.append((field.start, count, stride))
            self.count += count

    def array(self, file: Mapped) -> NDArray[np.float32]:
        """Return the numbers: a view if they are adjacent float32, otherwise a copy."""
        if len(self.pieces) == 1 and self.dtype == "<f4" and not self.pieces[0][2]:
            return file.view(self.pieces[0][0], self.count, self.dtype)
        out = np.empty(self.count, "<f4")
        done = 0
        with np.errstate(over="ignore"):  # a double beyond float32 is infinite, as in C++
            for offset, count, stride in self.pieces:
                out[done : done + count] = file.view(offset, count, self.dtype, stride)
                done += count
        out.flags.writeable = False
        return out


def _blob(scan: Scan, blob: Field, index: int, where: object) -> BlobData:
    legacy: dict[int, int] = {}
    dims: list[int] = []
    floats, doubles = _Repeated("<f4"), _Repeated("<f8")
    raw_type: int | None = None
    raw: Field | None = None
    for field in scan.fields(blob.start, blob.stop, where):
        if field.number == BlobProto.DATA_FIELD_NUMBER:
            floats.add(scan, field, where)
        elif field.number == BlobProto.DOUBLE_DATA_FIELD_NUMBER:
            doubles.add(scan, field, where)
        elif field.wire_type == LENGTH and field.number == BlobProto.SHAPE_FIELD_NUMBER:
            _add_dims(dims, scan, field, where)
        elif field.wire_type == LENGTH and field.number == BlobProto.RAW_DATA_FIELD_NUMBER:
            raw = field
        elif field.wire_type == VARINT and field.number == BlobProto.RAW_DATA_TYPE_FIELD_NUMBER:
            raw_type = field.value
        elif field.wire_type == VARINT and field.number in _LEGACY:
            legacy[field.number] = _signed(field.value, 32)
    shape = tuple(legacy.get(number, 0) for number in _LEGACY) if legacy else tuple(dims)
    _check_shape(scan, shape, blob.offset, where)
    numbers = doubles if doubles.count else floats
    if raw is not None:  # NVCaffe's Blob::FromProto reads it first
        numbers = _raw(scan, raw, raw_type, where)
    if numbers.count != math.prod(shape):
        words = " ".join(map(str, shape)) or "of a scalar"
        reason = f"{numbers.count} values do not fill the shape {words} ({math.prod(shape)})"
        raise scan.error(blob.offset, where, reason)
    return BlobData(numbers.array(scan.file).reshape(shape), index, bool(legacy))


def _raw(scan: Scan, field: Field, type_: int | None, where: object) -> _Repeated:
    if type_ not in _RAW:
        reason = f"raw_data of type {type_}; only half, float and double are known"
        raise scan.error(field.offset, where, reason)
    numbers = _Repeated(_RAW[type_])
    numbers.add(scan, field, where)
    return numbers


def _add_dims(dims: list[int], scan: Scan, shape: Field, where: object) -> None:
    for field in scan.fields(shape.start, shape.stop, where):
        if field.number != BlobShape.DIM_FIELD_NUMBER or field.wire_type not in (VARINT, LENGTH):
            continue
        offset = field.start
        while offset < field.stop:  # once, unless packed
            value, offset = scan.varint(offset, field.stop, where)
            dims.append(_signed(value, 64))
            if len(dims) > _MAX_AXES:
                reason = f"a shape of more than {_MAX_AXES} dimensions, Caffe's limit"
                raise scan.error(shape.offset, where, reason)


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _check_shape(scan: Scan, shape: Shape, offset: int, where: object) -> None:
    words = " ".join(map(str, shape))
    if any(d < 0 for d in shape):
        raise scan.error(offset, where, f"negative dimension in the shape {words}")
    if math.prod(d for d in shape if d) > _MAX_COUNT:
        raise scan.error(offset, where, f"the shape {words}: blob size exceeds INT_MAX")
