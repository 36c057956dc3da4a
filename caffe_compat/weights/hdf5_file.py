"""HDF5 files that appear whole or not at all, on a full disk too.

After a write that failed libhdf5 cannot close the file, and it ends the process by a segmentation
fault at its exit. So it writes through a `_Sink`, which never fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import SEEK_SET, FileIO
from typing import Any

from ..errors import CaffeCompatError
from ..files import atomic

_MOST_WRITE = 1 << 30  # bytes; a system writes at most 2 GiB at once


@contextmanager
def creating(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open a new HDF5 file that appears as `files.atomic` makes it appear.

    Yields:
        The h5py.File.

    Raises:
        CaffeCompatError: the path cannot be written, or the disk is full.
    """
    import h5py  # only here: it takes longer to import than everything else

    with atomic(path) as target, FileIO(target, "r+") as raw:
        sink = _Sink(raw)
        try:
            with h5py.File(target, "w", driver="fileobj", fileobj=sink) as file:
                yield file
        except Exception:
            if sink.error is None:
                raise
        if sink.error is not None:
            why = sink.error.strerror or sink.error
            raise CaffeCompatError(f"{path}: cannot be written: {why}") from None


class _Sink:
    """A file for h5py that keeps the first error of the disk, and takes what follows for written.

    Attributes:
        error: that error; None as long as all is written.
    """

    def __init__(self, raw: FileIO):
        self._raw = raw
        self._end = 0
        self.error: OSError | None = None

    def write(self, data: memoryview) -> int:
        """Write at the place of the last seek; drop the data after an error."""
        size = len(data)
        try:
            while data and self.error is None:
                data = data[self._raw.write(data[:_MOST_WRITE]) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int) -> int:
        """Give the file a size."""
        try:
            if self.error is None:
                self._raw.truncate(size)
        except OSError as error:
            self.error = error
        return size

    def readinto(self, buffer: memoryview) -> int:
        """Read what was written; zeros where an error kept it from the disk."""
        count = self._raw.readinto(buffer) or 0
        buffer[count:] = bytes(len(buffer) - count)
        return len(buffer)

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Go to a place."""
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._raw.tell()

    def flush(self) -> None:
        """Do nothing, since nothing is held back."""
