"""Databases of records by key, opened and made: LMDB and LevelDB."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ..errors import CaffeCompatError, ParseError
from .cursor import Backend, Cursor, Value, Writer


def backend_of(path: str | os.PathLike[str]) -> Backend:
    """Return which kind of database a folder is.

    Raises:
        ParseError: it is none, or does not exist.
    """
    folder = Path(path)
    if not folder.exists():
        raise ParseError(f"{path}: no such file or folder")
    if (folder / "data.mdb").is_file():
        return "lmdb"
    if (folder / "CURRENT").is_file():
        return "leveldb"
    raise ParseError(f"{path}: neither an LMDB nor a LevelDB: no data.mdb and no CURRENT in it")


def open_database(path: str | os.PathLike[str], backend: Backend | None = None) -> Cursor:
    """Open a database for reading, on its first record. Nothing in its folder is changed.

    Args:
        path: the folder.
        backend: which kind it is; None: what it looks like.

    Raises:
        ParseError: it is missing, of the other kind, empty or damaged.
        CaffeCompatError: the extra `data` is not installed.
    """
    found = backend_of(path)
    if backend and backend != found:
        raise ParseError(f"{path}: not {_NAMES[backend]} but {_NAMES[found]}")
    if found == "lmdb":
        from .lmdb_database import LMDBCursor

        return LMDBCursor(Path(path))
    from .leveldb_database import LevelDBCursor

    return LevelDBCursor(Path(path))


def records(
    path: str | os.PathLike[str], backend: Backend | None = None
) -> Iterator[tuple[bytes, Value]]:
    """Yield every key and value once, in the order of the keys.

    Raises:
        ParseError: as `open_database`.
    """
    cursor = open_database(path, backend)
    try:
        last = False
        while not last:
            yield cursor.key(), cursor.value()
            last = cursor.advance()
    finally:
        cursor.close()


def count(path: str | os.PathLike[str], backend: Backend | None = None) -> int:
    """Return how many records a database has.

    Raises:
        ParseError: as `open_database`.
    """
    cursor = open_database(path, backend)
    try:
        return cursor.count()
    finally:
        cursor.close()


@contextmanager
def create(path: str | os.PathLike[str], backend: Backend) -> Iterator[Writer]:
    """Write a new database, which appears whole when the block succeeds, or not at all.

    Args:
        path: the folder to make.
        backend: which kind.

    Yields:
        The database, for its records.

    Raises:
        CaffeCompatError: the folder exists, cannot be made, or the disk is full; or the extra
            `data` is not installed.
    """
    with _new_folder(Path(path)) as folder, _writer(folder, backend) as writer:
        yield writer


def _writer(folder: Path, backend: Backend) -> AbstractContextManager[Writer]:
    if backend == "lmdb":
        from .lmdb_database import write_lmdb

        return write_lmdb(folder)
    from .leveldb_database import write_leveldb

    return write_leveldb(folder)


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Give a folder beside `path`, and rename it to `path` when the block succeeds."""
    if path.exists() or path.is_symlink():
        raise CaffeCompatError(f"{path}: exists; a database is never overwritten, so remove it")
    temporary = path.with_name(f".{secrets.token_hex(8)}")
    try:
        temporary.mkdir()
    except OSError as error:
        raise CaffeCompatError(f"{path}: cannot be made: {error.strerror}") from None
    try:
        yield temporary
        temporary.rename(path)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, CaffeCompatError) and str(temporary) in str(error):
            raise error.about(str(error).replace(str(temporary), str(path))) from None
        raise


_NAMES = {"lmdb": "an LMDB", "leveldb": "a LevelDB"}
