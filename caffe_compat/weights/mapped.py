"""Files without copying: a read-only memory map that knows its path and notices changes."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import WeightsError

Array = np.ndarray[Any, np.dtype[Any]]

_CHUNK = 1 << 20  # bytes copied at once: at an odd offset twice as fast as copy_file_range


class Mapped(mmap.mmap):
    """A file mapped read-only; numpy arrays over it are views, which `location` finds again.

    A page is read when it is first used. Reading a mapped page that the file no longer has ends
    the process (SIGBUS), which no Python code can catch: call `check` before use.
    """

    path: Path
    _fd: int
    _state: tuple[int, int]  # size and mtime in ns, at the time of mapping

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Mapped:
        """Map the whole of a file.

        Args:
            path: an ordinary file, not empty.

        Raises:
            WeightsError: it cannot be opened, is no ordinary file, or is empty.
        """
        fd = _open(path)
        try:
            status = os.fstat(fd)
            self = cls(fd, status.st_size, access=mmap.ACCESS_READ) if status.st_size else None
        except BaseException:
            os.close(fd)
            raise
        if self is None:
            os.close(fd)
            raise WeightsError(f"{path}: the file is empty")
        self.path, self._fd = Path(path), fd
        self._state = status.st_size, status.st_mtime_ns
        return self

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def check(self) -> None:
        """Check that the file is unchanged since it was mapped.

        Raises:
            WeightsError: its size or its time of last change differs.
        """
        now = os.fstat(self._fd)
        if (now.st_size, now.st_mtime_ns) != self._state:
            raise WeightsError(
                f"{self.path} was changed since it was opened ({self._state[0]} bytes then, "
                f"{now.st_size} now): read it again"
            )

    def check_path(self) -> None:
        """Check as `check` does, and that the path still leads to this file.

        Raises:
            WeightsError: the file was changed, replaced or removed.
        """
        self.check()
        try:
            same = os.path.samestat(self.path.stat(), os.fstat(self._fd))
        except OSError:
            same = False
        if not same:
            raise WeightsError(f"{self.path} was replaced or removed since it was opened")

    def view(self, offset: int, count: int, dtype: str, stride: int = 0) -> Array:
        """Return a view of `count` numbers from `offset` on, without reading them.

        Args:
            offset: in bytes; need not be aligned.
            count: of numbers; the caller has checked that the file has them.
            dtype: with its byte order, such as `<f4`.
            stride: bytes from one number to the next; 0 if they are adjacent.

        Returns:
            A read-only array of shape (count,) over the map.
        """
        if not count:
            return np.empty(0, dtype)
        strides = (stride,) if stride else None
        return np.ndarray((count,), dtype, buffer=self, offset=offset, strides=strides)

    def copy(self, out: BinaryIO, offset: int, count: int) -> None:
        """Copy bytes to another file, not through the map.

        A page of the map, once used, counts as memory of the process until the map is closed, and
        would end the process if the file had lost it; a read from the file only returns less.

        Args:
            out: written from its current position on.
            offset: in bytes.
            count: of bytes; the caller has checked that the file has them.

        Raises:
            WeightsError: the file was changed since it was mapped.
            OSError: `out` cannot be written.
        """
        self.check()
        piece = memoryview(bytearray(min(count, _CHUNK)))
        done = 0
        while done < count:
            got = self._read(piece[: count - done], offset + done)
            if not got:
                break
            out.write(piece[:got])
            done += got
        self.check()

    def _read(self, into: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._fd, [into], offset)
        into[:] = self[offset : offset + len(into)]  # Windows, where no mapped file can be cut
        return len(into)


def _open(path: str | os.PathLike[str]) -> int:
    try:
        ordinary = stat.S_ISREG(Path(path).stat().st_mode)  # opening a FIFO would wait forever
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)) if ordinary else None
    except TypeError:
        raise WeightsError(f"{path!r} is of type {type(path).__name__}, not a path") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"Could not open file {path}: {reason}") from None
    if fd is None:
        raise WeightsError(f"{path}: not an ordinary file")
    return fd


def location(array: Array) -> tuple[Path, int, int] | None:
    """Find the place of an array's bytes in a mapped file.

    Args:
        array: any array; views of views and reshaped ones are followed to their map.

    Returns:
        The path, the offset and the length in bytes, if the array is contiguous little-endian
        float32 in a file; otherwise None.

    Raises:
        WeightsError: the file was changed, replaced or removed since.
    """
    if array.dtype != np.dtype("<f4") or not array.flags.c_contiguous or not array.size:
        return None
    file = _file(array)
    if file is None:
        return None
    file.check_path()
    return file.path, _offset(file, array), array.nbytes


def write(out: BinaryIO, array: Array) -> None:
    """Write an array's numbers, row by row and little-endian; from file to file if mapped.

    Raises:
        WeightsError: the file behind it was changed since.
        OSError: `out` cannot be written.
    """
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    file = _file(array)
    if file is not None and array.size:
        file.copy(out, _offset(file, array), array.nbytes)
    else:
        out.write(array.reshape(-1).view(np.uint8).data)


def files(arrays: Iterable[Array]) -> list[Mapped]:
    """Return the mapped files behind some of these arrays, each once."""
    return list({id(f): f for f in map(_file, arrays) if f is not None}.values())


def check(arrays: Iterable[Array]) -> None:
    """Check that the files behind arrays are unchanged; call it before use.

    Raises:
        WeightsError: one was changed since it was mapped. To read on would end the process.
    """
    for file in files(arrays):
        file.check()


def _file(array: Array) -> Mapped | None:
    """Return the mapped file that an array is a view of, if any."""
    owner: Any = array
    while isinstance(owner, np.ndarray | memoryview):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    return owner if isinstance(owner, Mapped) else None


def _offset(file: Mapped, array: Array) -> int:
    start: int = np.ndarray((1,), np.uint8, buffer=file).__array_interface__["data"][0]
    return int(array.__array_interface__["data"][0]) - start
