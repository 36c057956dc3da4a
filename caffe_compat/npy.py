"""Arrays in .npy files."""

from __future__ import annotations

import io
import math
import os
import warnings
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.lib.format import (
    MAGIC_PREFIX,
    read_array_header_1_0,
    read_array_header_2_0,
    read_magic,
)
from numpy.typing import NDArray

from .errors import ParseError
from .files import foreign_format, reason
from .memory import require

_HEAD = 1 << 16  # bytes; numpy's own limit for a header is 10,000
_PIECE = 1 << 24
_HEADERS = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}


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
        raise ParseError(f"{path}: {reason(error)}") from None


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
    head = file.read(_HEAD)
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
