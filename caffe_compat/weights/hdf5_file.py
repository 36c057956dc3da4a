"""New HDF5 files that appear whole or not at all, on a full disk too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..sink import sink


@contextmanager
def creating(path: str | os.PathLike[str]) -> Iterator[Any]:
    """Open a new HDF5 file that appears as `files.atomic` makes it appear.

    Yields:
        The h5py.File.

    Raises:
        CaffeCompatError: the path cannot be written, or the disk is full.
    """
    import h5py  # only here: it takes longer to import than everything else

    with (
        sink(path) as opened,
        h5py.File(os.fspath(path), "w", driver="fileobj", fileobj=opened) as file,
    ):
        yield file
