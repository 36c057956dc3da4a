"""Files read up to a limit, and files that appear whole or not at all."""

from __future__ import annotations

import io
import math
import os
import secrets
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib.format import (
    MAGIC_PREFIX,
    read_array_header_1_0,
    read_array_header_2_0,
    read_magic,
)
from numpy.typing import NDArray

from .errors import CaffeCompatError, ParseError
from .memory import require

_PIECE = 1 << 24
UTF16 = (b"\xff\xfe", b"\xfe\xff")
"""The marks that begin a text in UTF-16."""

# The first bytes of files that people have saved under a model's name, and the formats' names.
_MAGIC = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89HDF", "an HDF5 file"),
    (b"%PDF", "a PDF document"),
    (b"<!DOCTYPE", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
)


def foreign_format(head: bytes) -> str | None:
    """Return the format of a file that is no Caffe file, by its first bytes; None if unknown."""
    start = head.lstrip()[:64].lower()
    for magic, name in _MAGIC:
        if head.startswith(magic) or start.startswith(magic.lower()):
            return name
    return None


def read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """Return a file's bytes, up to a limit, since a device never ends.

    Args:
        path: the file.
        most: the limit in bytes.

    Raises:
        ParseError: it is missing, cannot be read, or is larger.
    """
    try:
        with Path(path).open("rb") as file:
            pieces = [file.read(min(most + 1, _PIECE))]
            while pieces[-1] and (left := most + 1 - sum(map(len, pieces))) > 0:
                pieces.append(file.read(min(left, _PIECE)))
    except OSError as error:
        raise ParseError(f"{path}: {_reason(error)}") from None
    except TypeError:
        raise ParseError(f"{path!r} is a {type(path).__name__}, and no path") from None
    except (ValueError, MemoryError) as error:  # ValueError: a null character in the name
        raise ParseError(f"{path}: cannot be read: {error or 'not enough memory'}") from None
    data = b"".join(pieces)
    if len(data) > most:
        raise ParseError(f"{path}: larger than {most >> 20} MiB, the limit for such a file")
    return data


def decode(data: bytes) -> str:
    """Return a text file's text; old ones are in any encoding, since Caffe reads bytes.

    UTF-16 where its mark says so, else UTF-8, else Latin-1: one letter a byte, so that what was
    different stays different.
    """
    if data.startswith(UTF16):  # from the redirection of a Windows shell
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_array(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Return the array in a .npy file.

    Raises:
        ParseError: it is missing, contains no array, several, less data than it declares, or
            numbers that are not real.
    """
    try:
        with Path(path).open("rb") as file:
            return parse_array(file, os.fstat(file.fileno()).st_size, str(path))
    except OSError as error:
        raise ParseError(f"{path}: {_reason(error)}") from None


def parse_array(file: IO[bytes], size: int, name: str) -> NDArray[Any]:
    """Return the array in the contents of a .npy file.

    Args:
        file: the contents, read from their start to their end.
        size: of the contents, in bytes.
        name: what to call them in errors.

    Raises:
        ParseError: they contain no array, several, less data than they declare, or numbers that
            are not real.
    """
    head = file.read(_NPY_HEAD)
    if head.startswith(b"PK"):
        raise ParseError(f"{name}: contains several arrays; give a .npy file")
    if not head.startswith(MAGIC_PREFIX):
        foreign = foreign_format(head)
        raise ParseError(f"{name}: not a .npy file{f' but {foreign}' if foreign else ''}")
    shape, by_columns, kind, start = _read_header(head, name)
    if kind.kind not in "biuf":
        raise ParseError(f"{name}: contains {kind}, which are no real numbers")
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * kind.itemsize > size - start:
        raise ParseError(
            f"{name}: declares {count * kind.itemsize:,} bytes of numbers, and has {size - start:,}"
        )
    require(count * kind.itemsize, f"the numbers of {name}")
    array = np.empty(count, kind)
    data = array.view(np.uint8)
    early = np.frombuffer(head, np.uint8)[start : start + data.size]
    data[: early.size] = early
    _fill(file, memoryview(data.data)[early.size :], name)
    try:
        return array.reshape(shape[::-1]).T if by_columns else array.reshape(shape)
    except (ValueError, TypeError, OverflowError):  # too many axes, one of True, one beyond int64
        raise ParseError(f"{name}: its shape {shape} is none of an array") from None


def _read_header(head: bytes, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, order and type of an array, and where its numbers begin."""
    file = io.BytesIO(head)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a file of Python 2 is as good
            version = read_magic(file)
            if version in _HEADERS:
                return *_HEADERS[version](file), file.tell()
    # A header is a Python literal: Python's tokenizer and parser have errors of their own.
    except (
        *(ValueError, TypeError, ArithmeticError, LookupError, SyntaxError),
        *(EOFError, MemoryError, RecursionError, TokenError),
    ) as error:
        raise ParseError(f"{name}: not a .npy file: {error}") from None
    # 3.0 is for names of fields, which no array of numbers has.
    raise ParseError(f"{name}: a .npy file of version {version[0]}.{version[1]}")


def _fill(file: IO[bytes], data: memoryview, name: str) -> None:
    """Read bytes until the buffer is full; numpy's own reading needs a file that is no archive."""
    done = 0
    while done < len(data):
        piece = file.read(min(len(data) - done, _PIECE))
        if not piece:
            raise ParseError(f"{name}: is cut short")
        data[done : done + len(piece)] = piece
        done += len(piece)


_NPY_HEAD = 1 << 16  # bytes; numpy's own limit for a header is 10,000
_HEADERS = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return f"cannot be read: {error.strerror or error}"


def check_other(path: str | os.PathLike[str], source: str | os.PathLike[str]) -> None:
    """Refuse to replace the file that is converted.

    Raises:
        CaffeCompatError: both paths lead to one file.
    """
    if Path(path).exists() and Path(source).exists() and Path(path).samefile(source):
        raise CaffeCompatError(f"{path}: is the net itself; name another output")


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside the target to write to, and rename it when the block succeeds.

    When the block fails nothing stays behind and the old file, if any, is untouched. The new
    file has the old one's permissions, or those that a new file gets. A target that is not a
    file, such as /dev/stdout, is yielded as it is.

    Args:
        path: the target; a link is followed.

    Yields:
        The temporary path, with the target's suffix.

    Raises:
        CaffeCompatError: the target is a directory, or cannot be written.
    """
    target = _target(path)
    if target is None:
        yield Path(path)  # as it is: /dev/stdout leads to a pipe that has no path
        return
    temporary = target.with_name(f".{target.stem[:32]}.{secrets.token_hex(8)}{target.suffix[:32]}")
    try:  # from before the file exists: a signal may raise at any line
        _create(temporary, target, path)
        yield temporary
        temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, CaffeCompatError) and str(temporary) in str(error):
            raise error.about(str(error).replace(str(temporary), str(path))) from None
        raise


def _target(path: str | os.PathLike[str]) -> Path | None:
    """Return the file that a path leads to; None where that is no file but a pipe or the like."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        mode = None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        why = getattr(error, "strerror", None) or error
        raise CaffeCompatError(f"{path}: cannot be written: {why}") from None
    if mode is not None and stat.S_ISDIR(mode):
        raise CaffeCompatError(f"{path}: is a directory; name a file in it")
    if mode is not None and not stat.S_ISREG(mode):
        return None
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise CaffeCompatError(f"{path}: there is no directory {target.parent}")
    if mode is not None and not os.access(target, os.W_OK):
        raise CaffeCompatError(f"{path}: cannot be written: it is read-only")
    return target


def _create(temporary: Path, target: Path, path: str | os.PathLike[str]) -> None:
    try:
        # Not by mkstemp, so that the umask rules; "x": never another's file.
        with temporary.open("xb"):
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
    except OSError as error:
        raise CaffeCompatError(f"{path}: cannot be written: {error.strerror}") from None


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing bytes that appears as `atomic` makes it appear.

    Yields:
        The open file.

    Raises:
        CaffeCompatError: as `atomic`.
    """
    with atomic(path) as target:
        # The file is new and empty. To truncate it again would make ext4 write it all to the
        # disk when it is closed, which takes longer than the copying of a caffemodel.
        descriptor = os.open(target, os.O_WRONLY | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "wb") as file:
            yield file
