"""Weights files: caffemodel, HDF5, .npz and binaryproto; the first two without copying.

A caffemodel is a protobuf whose data fields are already little-endian float32 in the file. So it is
mapped, its tags and lengths are scanned, and every blob is a view of the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..errors import WeightsError
from ..files import foreign_format
from . import caffemodel, npz
from .mapped import Mapped, location
from .snapshot import write_caffemodel, write_hdf5
from .trained import BlobData, LayerWeights, Report, Weights, match

__all__ = [
    "BlobData",
    "LayerWeights",
    "Report",
    "Weights",
    "is_text",
    "location",
    "match",
    "read",
    "read_blob",
    "read_datasets",
    "read_mean",
    "write_caffemodel",
    "write_hdf5",
]

_ZIP = b"PK\x03\x04"
_HDF5 = b"\x89HDF\r\n\x1a\n"


def read(path: str | os.PathLike[str]) -> Weights:
    """Open a weights file.

    Args:
        path: a caffemodel of any generation (also NVCaffe's), HDF5 as Caffe writes it, or an
            .npz with an array `<layer>/<i>` for each blob.

    Returns:
        Its layers, with blobs that are read-only float32 views of the file where the file has
        them as float32 in one piece. A file of any size takes milliseconds and little memory.

    Raises:
        WeightsError: it cannot be opened, is damaged (the message has the byte and the path within
            it), or is not a weights file.
    """
    file = Mapped.open(path)
    if file[: len(_HDF5)] == _HDF5:
        from . import hdf5  # only here: h5py takes longer to import than most files take to read

        return hdf5.read(file)
    if file[: len(_ZIP)] == _ZIP:
        return npz.read(file)
    _refuse_foreign(file, "caffemodel")
    return caffemodel.read(file)


def read_datasets(
    path: str | os.PathLike[str], names: Iterable[str]
) -> dict[str, NDArray[np.float32]]:
    """Read data sets of any HDF5 file by their paths in it.

    Args:
        path: the file.
        names: paths from the file's root; no link out of the file is followed.

    Returns:
        The data sets as read-only float32, views of the file where they lie in one piece.

    Raises:
        WeightsError: the file cannot be opened or is damaged; a data set is missing, not of
            numbers, or not in the file itself.
    """
    from . import hdf5  # only here: h5py takes longer to import than most files to read

    return hdf5.read_datasets(Mapped.open(path), names)


def read_mean(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """Read a mean image, a binaryproto.

    Args:
        path: a file with one BlobProto.

    Returns:
        Its values, read-only float32, commonly of shape (1, C, H, W).

    Raises:
        WeightsError: it cannot be opened, is damaged, or is not a binaryproto.
    """
    return read_blob(path, "mean")


def read_blob(path: str | os.PathLike[str], name: str) -> NDArray[np.float32]:
    """Read a binaryproto as `read_mean` does; `name` tells in errors what it is."""
    file = Mapped.open(path)
    _refuse_foreign(file, "binaryproto")
    return caffemodel.read_blob(file, name)


def _refuse_foreign(file: Mapped, kind: str) -> None:
    """Refuse a file of another known format; protobuf would accept some as empty."""
    begin = file[:1024]
    foreign = foreign_format(begin)
    if not foreign and is_text(begin):
        foreign = "text (a prototxt?)"
    if foreign:
        raise WeightsError(f"{file.path}: not a {kind} but {foreign}")


def is_text(begin: bytes) -> bool:
    """Return whether the first 1024 bytes of a file are text in UTF-8, as a prototxt's."""
    if any(byte < 32 and byte not in b"\t\n\f\r" for byte in begin):
        return False
    try:
        begin.decode()
    except UnicodeDecodeError as error:
        return error.start >= 1021  # a character that the limit of 1024 cut in two
    return True
