"""LevelDB, by the package `plyvel`, over links: the library writes into the folder that it opens.

To open a LevelDB, even for reading, takes its LOCK, starts a new LOG and MANIFEST and may move
its journal into a table. So it is opened in a scratch folder whose files are links to the user's.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import CaffeCompatError, ParseError
from .cursor import COMMIT, Cursor
from .extras import extra

_OPTIONS: dict[str, Any] = {"block_size": 65536, "max_open_files": 100}  # as db_leveldb.cpp


def _link(folder: Path, scratch: Path) -> None:
    current = folder / "CURRENT"
    if not re.fullmatch(rb"MANIFEST-[0-9]+\n", current.read_bytes()[:64]):
        raise ParseError(f"{current}: does not name a MANIFEST of this folder")
    for file in folder.iterdir():
        if file.name == "LOCK" or file.name.startswith("LOG"):
            continue
        target = scratch / file.name
        try:
            target.symlink_to(file.resolve())
        except OSError:  # Windows asks for a privilege
            if file.name == "CURRENT" or file.suffix == ".log":
                shutil.copyfile(file, target)
            else:
                os.link(file, target)


class LevelDBCursor(Cursor):
    """A place in a LevelDB.

    Args:
        path: its folder.

    Raises:
        ParseError: it cannot be opened, is damaged or empty.
    """

    def __init__(self, path: Path):
        with extra("a LevelDB"):
            import plyvel
        self._error = plyvel.Error
        self._path = path
        self._scratch = Path(tempfile.mkdtemp(prefix="caffe_compat-"))
        self._database: Any = None
        try:
            _link(path, self._scratch)
            self._database = plyvel.DB(str(self._scratch), paranoid_checks=True, **_OPTIONS)
            self._iterator = self._database.raw_iterator(verify_checksums=True)
            self._first()
        except BaseException as error:
            self.close()
            if isinstance(error, (plyvel.Error, OSError)):
                raise self._damaged(error) from None
            raise

    def _first(self) -> None:
        self._move("seek_to_first")
        if not self._iterator.valid():
            raise ParseError(f"{self._path}: the database is empty")

    def _move(self, how: str, *key: bytes) -> None:
        try:
            getattr(self._iterator, how)(*key)
        except self._error as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> ParseError:
        """Return the error that names the user's folder and not the scratch one."""
        words = error.args[0] if error.args else error
        text = words.decode(errors="backslashreplace") if isinstance(words, bytes) else str(words)
        reason = text.replace(str(self._scratch), str(self._path))
        return ParseError(f"{self._path}: not a LevelDB that can be read: {reason}")

    def key(self) -> bytes:
        """Return the record's key."""
        return bytes(self._iterator.key())

    def value(self) -> bytes:
        """Return the record's value."""
        return bytes(self._iterator.value())

    def advance(self) -> bool:
        """Go to the next record, or from the last to the first; return whether it was the last."""
        self._move("next")
        last = not self._iterator.valid()
        if last:
            self._first()
        return last

    def seek(self, key: bytes) -> None:
        """Go to the record of this key.

        Raises:
            ParseError: the database does not have it.
        """
        self._move("seek", key)
        if not self._iterator.valid() or self._iterator.key() != key:
            raise ParseError(f"{self._path}: has no record of key {key!r}")

    def count(self) -> int:
        """Return how many records there are: LevelDB has to walk over them all."""
        try:
            with self._database.iterator(include_value=False) as keys:
                return sum(1 for _ in keys)
        except self._error as error:
            raise self._damaged(error) from None

    def close(self) -> None:
        """Let the database and the scratch folder go."""
        if self._database is not None:
            self._database.close()
            self._database = None
        shutil.rmtree(self._scratch, ignore_errors=True)


class _Writer:
    """Puts records by the thousand."""

    def __init__(self, database: Any):
        self._database = database
        self._batch = database.write_batch()
        self._count = 0

    def put(self, key: bytes, value: bytes) -> None:
        """Add a record, or replace the one of this key."""
        self._batch.put(key, value)
        self._count += 1
        if self._count == COMMIT:
            self.commit()

    def commit(self) -> None:
        """Write what waits."""
        self._batch.write()
        self._batch.clear()
        self._count = 0


@contextmanager
def write_leveldb(folder: Path) -> Iterator[_Writer]:
    """Write a database into an empty folder.

    Yields:
        The database, for its records.

    Raises:
        CaffeCompatError: the disk is full.
    """
    with extra("a LevelDB"):
        import plyvel

    try:
        database = plyvel.DB(
            str(folder), create_if_missing=True, write_buffer_size=1 << 28, **_OPTIONS
        )
        try:
            writer = _Writer(database)
            yield writer
            writer.commit()
        finally:
            database.close()
    except plyvel.Error as error:
        text = error.args[0].decode(errors="replace") if error.args else ""  # plyvel's are bytes
        reason = text.rpartition(": ")[2]  # before it the file's path
        raise CaffeCompatError(f"{folder}: cannot be written as a LevelDB: {reason}") from None
