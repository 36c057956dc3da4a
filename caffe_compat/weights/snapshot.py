"""Save weights as Caffe does: `.caffemodel` (Net::ToProto) and `.caffemodel.h5` (ToHDF5).

Both are written blob by blob, straight from the arrays, and appear whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from ..caffe_pb2 import BlobProto, BlobShape, LayerParameter, NetParameter
from ..errors import WeightsError
from ..files import writing
from ..types import Array
from . import hdf5_file, mapped
from .wire import head

M = TypeVar("M", bound=Message)

_MAX_PROTO = 2**31 - 1  # io.cpp: kProtoReadBytesLimit is INT_MAX


def write_caffemodel(
    path: str | os.PathLike[str],
    net: NetParameter,
    params: Sequence[Sequence[Array]],
    diffs: Sequence[Sequence[Array]] | None = None,
) -> None:
    """Write a caffemodel (V2; packed float32 with `shape`), byte for byte as protobuf would.

    Args:
        path: of the file; replaced only when all is written.
        net: the layers without their data; blobs in it are ignored.
        params: the parameter blobs of each layer, float32.
        diffs: the gradients of each layer's blobs, for `snapshot_diff`.

    Raises:
        WeightsError: the number of layers differs, or the file would pass 2 GiB, which no
            protobuf reader takes.
        CaffeCompatError: the path cannot be written, or the disk is full.
    """
    if len(params) != len(net.layer):
        raise WeightsError(f"{len(params)} lists of blobs for {len(net.layer)} layers")
    outer = NetParameter()
    outer.CopyFrom(net)
    outer.ClearField("layer")
    before, after = _split(outer, NetParameter.LAYER_FIELD_NUMBER)
    pieces: list[bytes | Array] = [before]
    for layer, blobs, grads in zip(net.layer, params, diffs or params, strict=True):
        inner = _layer(layer, blobs, grads if diffs else [None] * len(blobs))
        pieces += [head(NetParameter.LAYER_FIELD_NUMBER, _size(inner)), *inner]
    pieces.append(after)
    if _size(pieces) > _MAX_PROTO:
        raise WeightsError(
            f"{path}: {_size(pieces)} bytes, and protobuf takes at most {_MAX_PROTO}: "
            "write a .caffemodel.h5 instead"
        )
    try:
        with writing(path) as file:
            for piece in pieces:
                if isinstance(piece, bytes):
                    file.write(piece)
                else:
                    mapped.write(file, piece.astype("<f4", copy=False))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written: {error.strerror or error}") from None


def write_hdf5(
    path: str | os.PathLike[str],
    names: Sequence[str],
    params: Sequence[Sequence[Array]],
    shared: Collection[tuple[int, int]] = (),
    diffs: Sequence[Sequence[Array]] | None = None,
) -> None:
    """Write HDF5 weights: a group `/data/<layer>` per layer, with a data set per blob.

    Args:
        path: of the file; replaced only when all is written.
        names: of the layers.
        params: the parameter blobs of each layer, float32.
        shared: (layer index, blob index) of the blobs that another layer owns: left out.
        diffs: the gradients of each layer's blobs, shared or not, for `/diff`.

    Raises:
        WeightsError: a layer's name cannot be a group's (Caffe aborts), or is used twice.
        CaffeCompatError: the path cannot be written, or the disk is full.
    """
    _check_names(path, names)
    with hdf5_file.creating(path) as file:
        for top, arrays, leave in (("data", params, shared), ("diff", diffs, ())):
            if arrays is None:
                continue
            parent = file.create_group(top)
            for i, (name, blobs) in enumerate(zip(names, arrays, strict=True)):
                group = parent.create_group(name)
                for j, blob in enumerate(blobs):
                    if (i, j) not in leave:
                        group.create_dataset(str(j), data=blob, dtype="<f4")


def _check_names(path: str | os.PathLike[str], names: Sequence[str]) -> None:
    seen = set()
    for name in names:
        if name in seen or name in ("", ".") or "/" in name or "\0" in name:
            why = "is used by two layers" if name in seen else "cannot be the name of an HDF5 group"
            raise WeightsError(f"Error saving weights to {path}: the layer name '{name}' {why}")
        seen.add(name)


def _layer(
    layer: LayerParameter, blobs: Sequence[Array], diffs: Sequence[Array | None]
) -> list[bytes | Array]:
    """Return the pieces of one layer's message, its fields in the order of their numbers.

    An array among the pieces stands for its bytes.
    """
    bare = LayerParameter()
    bare.CopyFrom(layer)
    bare.ClearField("blobs")
    before, after = _split(bare, LayerParameter.BLOBS_FIELD_NUMBER)
    pieces: list[bytes | Array] = [before]
    for blob, diff in zip(blobs, diffs, strict=True):
        inner = list(_blob(blob, diff))
        pieces += [head(LayerParameter.BLOBS_FIELD_NUMBER, _size(inner)), *inner]
    pieces.append(after)
    return pieces


def _blob(blob: Array, diff: Array | None) -> Iterator[bytes | Array]:
    fields = ((BlobProto.DATA_FIELD_NUMBER, blob), (BlobProto.DIFF_FIELD_NUMBER, diff))
    for number, array in fields:
        if array is not None and array.size:  # protobuf leaves out an empty packed field
            yield head(number, 4 * array.size)
            yield array
    if blob.ndim:  # Caffe adds no dim to a 0-D blob, so no shape either
        shape = BlobShape(dim=blob.shape).SerializeToString()
        yield head(BlobProto.SHAPE_FIELD_NUMBER, len(shape)) + shape


def _split(message: M, number: int) -> tuple[bytes, bytes]:
    """Serialise the fields before and after a number; protobuf orders fields by number."""
    before, after = type(message)(), type(message)()
    before.CopyFrom(message)
    after.CopyFrom(message)
    for field, _ in message.ListFields():
        (before if field.number > number else after).ClearField(field.name)
    before.DiscardUnknownFields()  # they come last, in `after`
    return before.SerializeToString(), after.SerializeToString()


def _size(pieces: Sequence[bytes | Array]) -> int:
    return sum(len(p) if isinstance(p, bytes) else 4 * p.size for p in pieces)
