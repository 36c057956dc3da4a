"""Read HDF5 weights as Caffe writes them: `/data/<layer>/<i>`, float32.

Caffe's data sets lie in one piece in the file, so blobs are views of it, as of a caffemodel. Links
and data sets that lead out of the file are refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import WeightsError
from ..memory import require
from .mapped import Mapped
from .trained import BlobData, LayerWeights, Weights

_MAX_RATIO = 1100  # deflate's best is 1032 to 1: more was never stored


def read(file: Mapped) -> Weights:
    """Read the layers of a mapped HDF5 file, in its order (by name).

    Args:
        file: a file like those of Caffe's ToHDF5.

    Returns:
        The layers; blobs that another layer owns are not in the file.

    Raises:
        WeightsError: the file is damaged, not Caffe's, or has links that lead out of it.
    """
    with _plain_errors(f"{file.path}: damaged, or not HDF5"), h5py.File(file.path, "r") as opened:
        data = _child(opened, "data", h5py.Group, f"{file.path}: ")
        layers = tuple(_layer(file, data, name) for name in data)
    return Weights(file.path, "", "HDF5", layers, file)


def read_datasets(file: Mapped, names: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """Read data sets by their paths in the file, as float32.

    Args:
        file: any HDF5 file.
        names: paths from its root; none may follow a link that leads elsewhere.

    Raises:
        WeightsError: damaged; a data set is missing, not of numbers, or not in the file itself.
    """
    found = {}
    with _plain_errors(f"{file.path}: damaged, or not HDF5"), h5py.File(file.path, "r") as opened:
        for name in names:
            group, where = opened, f"{file.path}: /"
            *folders, last = name.strip("/").split("/")
            for folder in folders:
                group = _child(group, folder, h5py.Group, where)
                where += f"{folder}/"
            found[name] = _array(file, _child(group, last, h5py.Dataset, where), f"{where}{last}")
    return found


def list_datasets(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a file's data sets by their paths in it; links are not followed.

    Raises:
        WeightsError: it is missing or damaged.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    with _plain_errors(f"{path}: damaged, or not HDF5"), h5py.File(path, "r") as opened:

        def note(name: str | bytes, child: Any) -> None:
            if isinstance(child, h5py.Dataset):  # h5py gives a name that is no UTF-8 as bytes
                text = name if isinstance(name, str) else name.decode("latin-1")
                shapes[text] = child.shape or ()

        opened.visititems(note)
    return shapes


def _layer(file: Mapped, data: Any, name: str) -> LayerWeights:
    where = f"{file.path}: /data/"
    group = _child(data, name, h5py.Group, where)
    blobs = []
    for key in group:
        if not (key.isascii() and key.isdecimal() and key == str(int(key))):
            raise WeightsError(f"{where}{name}/{key}: not the number of a blob")
        dataset = _child(group, key, h5py.Dataset, f"{where}{name}/")
        blobs.append(BlobData(_array(file, dataset, f"{where}{name}/{key}"), int(key)))
    return LayerWeights(name, "", tuple(sorted(blobs, key=lambda blob: blob.index)))


def _child(group: Any, name: str, kind: type, where: str) -> Any:
    """Follow a hard link only: a soft or external one could lead anywhere."""
    link = group.get(name, getlink=True)
    if link is None:
        raise WeightsError(f"{where}no /{name} in it: not weights as Caffe writes them")
    if not isinstance(link, h5py.HardLink):
        raise WeightsError(f"{where}{name}: a link that leads elsewhere, which Caffe never writes")
    child = group[name]
    if not isinstance(child, kind):
        noun = kind.__name__.lower()
        raise WeightsError(f"{where}{name}: not a {noun}: not weights as Caffe writes them")
    return child


def _array(file: Mapped, dataset: Any, where: str) -> NDArray[np.float32]:
    if dataset.is_virtual or dataset.external:
        raise WeightsError(f"{where}: its data lies outside the file")
    if dataset.shape is None or dataset.dtype.kind not in "fiu":
        raise WeightsError(f"{where}: neither float nor integer data ({dataset.dtype})")
    shape, count = dataset.shape, dataset.size
    length = count * dataset.dtype.itemsize
    offset = dataset.id.get_offset()  # None unless it lies in one piece
    if offset is not None and offset + length > len(file):
        raise WeightsError(f"{where}: byte {offset}: {length} bytes run past the end of the file")
    if offset is not None and dataset.dtype == np.dtype("<f4"):
        return file.view(offset, count, "<f4").reshape(shape)
    stored = dataset.id.get_storage_size()
    if length > _MAX_RATIO * stored:
        raise WeightsError(f"{where}: declares {length} bytes, of which {stored} are stored")
    require(4 * count, f"{where}: its numbers")
    out = np.empty(shape, "<f4")
    if count:
        dataset.read_direct(out)
    out.flags.writeable = False
    return out


@contextmanager
def _plain_errors(message: str) -> Iterator[None]:
    """Turn h5py's errors, of many types, into WeightsErrors."""
    try:
        yield
    except WeightsError:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, MemoryError) as error:
        raise WeightsError(f"{message}: {error.args[0] if error.args else error}") from None
