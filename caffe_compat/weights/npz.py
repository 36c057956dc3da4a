"""Weights as an .npz: an array `<layer>/<i>` for each parameter blob, by numpy's own format.

`numpy.load("w.npz")["conv1/0"]` is the first blob of the layer conv1.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.lib.format import write_array

from ..errors import WeightsError
from ..files import writing
from ..memory import require
from ..npy import parse_array
from ..types import Array
from .mapped import Mapped
from .trained import BlobData, LayerWeights, Weights

_SUFFIX = ".npy"


def write(
    path: str | os.PathLike[str], names: Sequence[str], params: Sequence[Sequence[Array]]
) -> None:
    """Write the parameter blobs of each layer.

    Args:
        path: of the file; replaced only when all is written.
        names: of the layers.
        params: the blobs of each, float32.

    Raises:
        WeightsError: two layers with blobs have one name.
        CaffeCompatError: the path cannot be written, or the disk is full.
    """
    layers = [(name, blobs) for name, blobs in zip(names, params, strict=True) if blobs]
    for i, (name, _) in enumerate(layers):
        if name in (other for other, _ in layers[:i]):
            raise WeightsError(f"{path}: two layers are called '{name}'; an .npz needs names")
    try:
        with writing(path) as file, zipfile.ZipFile(file, "w", allowZip64=True) as archive:
            for name, blobs in layers:
                for i, blob in enumerate(blobs):
                    # Without today's date, so that equal nets are equal files.
                    place = zipfile.ZipInfo(f"{name}/{i}{_SUFFIX}")
                    with archive.open(place, "w", force_zip64=True) as member:
                        write_array(member, np.asarray(blob, "<f4"), allow_pickle=False)
    except (OSError, ValueError) as error:  # ValueError: a name that a zip cannot have
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{path}: cannot be written: {reason}") from None


def read(file: Mapped) -> Weights:
    """Read the layers of an .npz, in the file's order.

    Args:
        file: what `write` wrote, or numpy's `savez` of arrays by such names.

    Returns:
        The layers; their blobs are copies, which take the memory that the file declares.

    Raises:
        WeightsError: the file is damaged, or an archive of something else.
        CaffeCompatError: there is not the memory for its arrays.
    """
    try:
        with zipfile.ZipFile(file.path) as archive:
            layers = tuple(_layers(file, archive))
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError) as error:
        raise WeightsError(f"{file.path}: a damaged .npz: {error}") from None
    except (RuntimeError, ValueError, LookupError) as error:  # a password; a name that is no text
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"{file.path}: not an .npz of weights: {error}") from None
    return Weights(file.path, "", "NPZ", layers, file)


def _layers(file: Mapped, archive: zipfile.ZipFile) -> Iterator[LayerWeights]:
    members = archive.infolist()
    require(sum(member.file_size for member in members), f"the arrays of {file.path}")
    blobs: dict[str, dict[int, BlobData]] = {}
    for member in members:
        layer, _, number = member.filename.removesuffix(_SUFFIX).rpartition("/")
        if not (layer and number.isascii() and number.isdecimal() and len(number) < 4):
            raise WeightsError(
                f"{file.path}: has '{member.filename}'; an .npz of weights has an array "
                "'<layer>/<number>' for each blob"
            )
        with archive.open(member) as contents:
            where = f"{file.path}: {layer}/{number}"
            array = parse_array(contents, member.file_size, where)
        array = np.asarray(array, np.float32)
        array.flags.writeable = False
        blobs.setdefault(layer, {})[int(number)] = BlobData(array, int(number))
    for name, stored in blobs.items():
        yield LayerWeights(name, "", tuple(stored[i] for i in sorted(stored)))
