"""Files for libraries that crash when a write fails: they appear whole or not at all.

After a write that failed, libhdf5 cannot close its file and ends the process by a segmentation
fault at its exit, and torch's writer aborts it. A `Sink` never fails.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import SEEK_SET, FileIO, RawIOBase
from typing import Any

from .errors import CaffeCompatError
from .files import atomic

_MOST_WRITE = 1 << 30  # bytes; a system writes at most 2 GiB at once


@contextmanager
def sink(path: str | os.PathLike[str]) -> Iterator[Sink]:
    """Open a sink for a new file that appears as `files.atomic` makes it appear.

    Yields:
        The sink.

    Raises:
        CaffeCompatError: the path cannot be written, or the disk is full.
    """
    with atomic(path) as target, FileIO(target, "r+") as raw:
        opened = Sink(raw)
        try:
            yield opened
        except Exception:
            if opened.error is None:
                raise
        if opened.error is not None:
            why = opened.error.strerror or opened.error
            raise CaffeCompatError(f"{path}: cannot be written: {why}") from None


class Sink(RawIOBase):
    """A file that keeps the first error of the disk, and drops what is written after it.

    Attributes:
        error: that error; None as long as all is written.
    """

    def __init__(self, raw: FileIO):
        super().__init__()
        self._raw = raw
        self.error: OSError | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Write at the place of the last seek; drop the data after an error."""
        data = memoryview(data).cast("B")
        size = len(data)
        try:
            while data and self.error is None:
                data = data[self._raw.write(data[:_MOST_WRITE]) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Give the file a size, by default up to the place."""
        size = self.tell() if size is None else size
        try:
            if self.error is None:
                self._raw.truncate(size)
        except OSError as error:
            self.error = error
        return size

    def readinto(self, buffer: Any) -> int:
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
