"""Writes blobs of many images to files, as Caffe's extract_features: npy, npz or HDF5."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import IO, Any, Literal

import numpy as np

from ..errors import CaffeCompatError, ShapeError
from ..files import atomic, make_folder
from ..types import AnyArray, Shape
from ..weights import hdf5_file

Format = Literal["npy", "npz", "h5"]
_RESERVED = '/\\:*?"<>|'  # in file names, by one system or another
_SMALL = 1 << 24  # bytes up to which a file is read, not mapped: numpy cannot map an empty array


class Features:
    """A writer of one row for each image and blob; its files appear when it closes unharmed.

    `npy`: DIR/BLOB.npy each (a / and other characters that a file's name cannot have become _);
    `npz` and `h5`: DIR/features.npz or .h5 with one array for each blob. DIR/images.txt names
    the images, one a row.

    Args:
        folder: created if it does not exist.
        form: the format.
        blobs: the blobs to write; none: all outputs of the first image.

    Attributes:
        files: the files written.
    """

    def __init__(self, folder: str | Path, form: Format, blobs: Sequence[str]) -> None:
        self._folder, self._form, self._blobs = Path(folder), form, tuple(blobs)
        self._rows: list[str] = []
        self._open: dict[str, IO[bytes]] = {}
        self._like: dict[str, tuple[Shape, np.dtype[Any]]] = {}
        self.files: list[Path] = []

    def __enter__(self) -> Features:
        make_folder(self._folder)
        self._stack = ExitStack()
        self._parts = Path(self._stack.enter_context(TemporaryDirectory(dir=self._folder)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with _naming(self._folder), self._stack:
            if kind is None and self._rows:
                for name, file in self._open.items():
                    self._head(file, len(self._rows), name)
                    file.flush()
                self._finish()

    def add(self, image: str, blobs: Mapping[str, AnyArray]) -> None:
        """Write one image's row.

        Raises:
            ShapeError: a blob is of another size than for the images before.
        """
        self._blobs = self._blobs or tuple(blobs)
        for name in self._blobs:
            array = np.ascontiguousarray(blobs[name])
            shape, dtype = self._like.setdefault(name, (array.shape, array.dtype))
            if array.shape != shape:
                raise ShapeError(
                    f"blob '{name}' of {image} is {array.shape}, and was {shape} for the images "
                    "before it; resize makes all images one size",
                    remedies=("resize",),
                )
            with _naming(self._folder):
                if name not in self._open:
                    path = self._parts / f"{len(self._open)}.npy"
                    self._open[name] = self._stack.enter_context(path.open("wb+"))
                    self._head(self._open[name], 0, name)
                self._open[name].write(array.astype(dtype, copy=False).tobytes())
        self._rows.append(image)

    def _head(self, file: IO[bytes], rows: int, name: str) -> None:
        """Write the npy header; numpy leaves room in it for the first axis to grow."""
        shape, dtype = self._like[name]
        descr = np.lib.format.dtype_to_descr(dtype)
        file.seek(0)
        head = {"shape": (rows, *shape), "fortran_order": False, "descr": descr}
        np.lib.format.write_array_header_1_0(file, head)
        if rows:
            file.seek(0, 2)

    def _finish(self) -> None:
        parts = {name: self._parts / f"{at}.npy" for at, name in enumerate(self._open)}
        self.files += _write(self._folder, self._form, parts, "features")
        names = self._folder / "images.txt"
        with atomic(names) as place:
            place.write_text(
                "".join(f"{row}\n" for row in self._rows),
                encoding="utf-8",
                errors="surrogateescape",
            )
        self.files.append(names)


def write_arrays(folder: str | Path, form: Format, arrays: Mapping[str, AnyArray]) -> list[Path]:
    """Write arrays to FOLDER/NAME.npy each, or all to FOLDER/outputs.npz or .h5.

    Returns:
        The files written.

    Raises:
        CaffeCompatError: a file cannot be written, or the disk is full.
    """
    folder = make_folder(folder)
    with TemporaryDirectory(dir=folder) as parts:
        paths = {name: Path(parts) / f"{at}.npy" for at, name in enumerate(arrays)}
        with _naming(folder):
            for name, path in paths.items():
                np.save(path, arrays[name])
        return _write(folder, form, paths, "outputs")


@contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Give errors of writing temporary files, such as that of a full disk, the folder's name."""
    try:
        yield
    except OSError as error:
        raise CaffeCompatError(f"{folder}: cannot be written: {error.strerror or error}") from None


def _write(folder: Path, form: Format, parts: Mapping[str, Path], stem: str) -> list[Path]:
    """Bring .npy files, by their arrays' names, into the format's form."""
    if form == "npy":
        targets = [folder / f"{file_name(name)}.npy" for name in parts]
        if len(set(targets)) < len(targets):
            raise CaffeCompatError("two blobs would be written to one file; use npz or h5")
        for target, part in zip(targets, parts.values(), strict=True):
            with atomic(target) as place:
                shutil.copyfile(part, place)
        return targets
    target = folder / f"{stem}.{form}"
    if form == "npz":
        with atomic(target) as place, zipfile.ZipFile(place, "w") as archive:
            for name, part in parts.items():
                archive.write(part, f"{name}.npy")
    else:
        with hdf5_file.creating(target) as file:
            for name, part in parts.items():
                array = np.load(part, mmap_mode="r" if part.stat().st_size > _SMALL else None)
                try:
                    file.create_dataset(name, data=array)
                except (TypeError, ValueError):
                    raise CaffeCompatError(
                        f"{target}: the blob name {name!r} cannot be a dataset's in HDF5; use npz"
                    ) from None
    return [target]


def file_name(blob: str) -> str:
    """Return a blob's name as a file's on every system, without a way out of its folder."""
    return "".join("_" if c in _RESERVED or not c.isprintable() else c for c in blob)
