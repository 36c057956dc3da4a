"""LMDB, by the package `lmdb`, which no damaged file may bring down."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CaffeCompatError, ParseError
from .database import COMMIT, Cursor
from .extras import extra

if TYPE_CHECKING:
    import lmdb

_MAP = 1 << 26  # bytes of address space for a new file, doubled as often as it takes


class _Environments:
    """The files that this process has open: liblmdb takes each once, and readers share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[int, int], tuple[lmdb.Environment, int]] = {}

    def acquire(self, path: Path) -> tuple[tuple[int, int], lmdb.Environment]:
        """Open the file, or share it where it is open; return its identity with it."""
        found = (path / "data.mdb").stat()
        identity = found.st_dev, found.st_ino
        with self._lock:
            environment, users = self._open.get(identity, (None, 0))
            if environment is None:
                environment = _open(path, found.st_size)
            self._open[identity] = environment, users + 1
        return identity, environment

    def release(self, identity: tuple[int, int]) -> None:
        """Close the file when its last reader lets it go."""
        with self._lock:
            environment, users = self._open.pop(identity)
            if users > 1:
                self._open[identity] = environment, users - 1
            else:
                environment.close()


_ENVIRONMENTS = _Environments()


def _open(path: Path, size: int) -> lmdb.Environment:
    with extra("an LMDB"):
        import lmdb

    # A lock keeps a writer from reusing the pages that are read here. It is a file that others
    # write too: taken where it is there and may be written, never made.
    lock = path / "lock.mdb"
    locks = (True, False) if lock.is_file() and os.access(lock, os.W_OK) else (False,)
    for locked in locks:
        try:
            environment = lmdb.open(
                str(path), readonly=True, create=False, lock=locked, readahead=True, max_readers=126
            )
            break
        except (lmdb.Error, OSError) as error:
            if not locked:
                raise ParseError(f"{path}: not an LMDB that can be read: {error}") from None
    # To read a page that the file does not have would end the process (SIGBUS).
    pages = environment.info()["last_pgno"] + 1
    whole = pages * environment.stat()["psize"]
    if whole > size:
        environment.close()
        raise ParseError(f"{path}: has {size} bytes of the {whole} that it needs: cut short")
    return environment


class LMDBCursor(Cursor):
    """A place in an LMDB. Values are views of the file.

    Args:
        path: the folder with data.mdb in it.

    Raises:
        ParseError: it cannot be opened, is damaged or empty.
    """

    def __init__(self, path: Path):
        self._path = path
        try:
            self._size = (path / "data.mdb").stat().st_size
            self._identity, environment = _ENVIRONMENTS.acquire(path)
        except OSError as error:
            raise ParseError(f"{path}: cannot be read: {error.strerror}") from None
        import lmdb

        self._error = lmdb.Error
        self._closed = False
        self._transaction = environment.begin(buffers=True)
        self._cursor = self._transaction.cursor()
        try:
            self._first()
        except BaseException:
            self.close()
            raise

    def _first(self) -> None:
        if not self._move("first"):
            raise ParseError(f"{self._path}: the database is empty")

    def _move(self, how: str, *key: bytes) -> bool:
        try:
            return bool(getattr(self._cursor, how)(*key))
        except self._error as error:
            raise ParseError(f"{self._path}: damaged: {error}") from None

    def key(self) -> bytes:
        """Return the record's key."""
        return bytes(self._cursor.key())

    def value(self) -> memoryview:
        """Return a view of the record's value, which holds until the cursor is closed."""
        value: memoryview = self._cursor.value()
        if len(value) > self._size:
            raise ParseError(
                f"{self._path}: key {self.key()!r}: declares {len(value)} bytes, more than the "
                f"file's {self._size}"
            )
        return value

    def advance(self) -> bool:
        """Go to the next record, or from the last to the first; return whether it was the last."""
        last = not self._move("next")
        if last:
            self._first()
        return last

    def seek(self, key: bytes) -> None:
        """Go to the record of this key.

        Raises:
            ParseError: the database does not have it.
        """
        if not self._move("set_key", key):
            raise ParseError(f"{self._path}: has no record of key {key!r}")

    def count(self) -> int:
        """Return how many records there are."""
        return int(self._transaction.stat()["entries"])

    def close(self) -> None:
        """Let the file go. No value may be used from then on."""
        if not self._closed:
            self._closed = True
            self._cursor.close()
            self._transaction.abort()
            _ENVIRONMENTS.release(self._identity)


class _Writer:
    """Puts records by the thousand; a full map is doubled, as Caffe's db_lmdb.cpp does."""

    def __init__(self, environment: lmdb.Environment):
        self._environment = environment
        self._waiting: list[tuple[bytes, bytes]] = []

    def put(self, key: bytes, value: bytes) -> None:
        """Add a record, or replace the one of this key."""
        self._waiting.append((key, value))
        if len(self._waiting) == COMMIT:
            self.commit()

    def commit(self) -> None:
        """Write what waits."""
        import lmdb

        while self._waiting:
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, value in self._waiting:
                        transaction.put(key, value)
            except lmdb.MapFullError:
                self._environment.set_mapsize(2 * self._environment.info()["map_size"])
            else:
                self._waiting = []


@contextmanager
def write_lmdb(folder: Path) -> Iterator[_Writer]:
    """Write a database into an empty folder.

    Yields:
        The database, for its records.

    Raises:
        CaffeCompatError: the disk is full, or a key is longer than LMDB takes.
    """
    with extra("an LMDB"):
        import lmdb

    try:
        # The folder gets its name when all is written, so it is synced once, at the end.
        with lmdb.open(str(folder), map_size=_MAP, sync=False) as environment:
            writer = _Writer(environment)
            yield writer
            writer.commit()
            environment.sync(True)
    except lmdb.Error as error:
        raise CaffeCompatError(f"cannot write an LMDB: {error}") from None
