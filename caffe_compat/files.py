"""Files read up to a limit, and files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import CaffeCompatError, ParseError

_PIECE = 1 << 24
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
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
        raise ParseError(f"{path}: {reason(error)}") from None
    except TypeError:
        raise ParseError(f"{path!r} is of type {type(path).__name__}, not a path") from None
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


def reason(error: OSError) -> str:
    """Return why a file cannot be read."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return f"cannot be read: {error.strerror or error}"


def check_outputs(
    outputs: Iterable[str | os.PathLike[str] | None],
    inputs: Iterable[str | os.PathLike[str] | None] = (),
) -> None:
    """Refuse files to write that cannot be written, or would replace each other or what is read.

    Args:
        outputs: the files to write; None for none.
        inputs: the files that are read to write them.

    Raises:
        CaffeCompatError: a path is a directory, in none, read-only, an input, or named twice.
    """
    sources = [Path(path) for path in inputs if path is not None and Path(path).is_file()]
    seen: set[Path] = set()
    for path in outputs:
        target = None if path is None else _target(path)
        if target is None:
            continue
        if target in seen:
            raise CaffeCompatError(f"{path}: is named for two outputs")
        if any(target.exists() and target.samefile(source) for source in sources):
            raise CaffeCompatError(f"{path}: is an input itself; name another output")
        seen.add(target)


def check_suffix(path: str | os.PathLike[str], *suffixes: str) -> None:
    """Refuse a file to write whose name promises another format; a name without a suffix is none.

    Raises:
        CaffeCompatError: the path has a suffix that is none of these.
    """
    if Path(path).suffix not in ("", *suffixes):
        raise CaffeCompatError(f"{path}: ends in none of {', '.join(suffixes)}")


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create a folder to write to, with its parents, where it is missing; return its path.

    Raises:
        CaffeCompatError: it cannot be created, or is a file.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise CaffeCompatError(f"{path}: is a file or in one; name a folder") from None
    except OSError as error:
        raise CaffeCompatError(f"{path}: cannot be created: {error.strerror}") from None
    return Path(path)


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
        with _no_room(path):
            yield Path(path)  # as it is: /dev/stdout leads to a pipe that has no path
        return
    temporary = target.with_name(f".{target.stem[:32]}.{secrets.token_hex(8)}{target.suffix[:32]}")
    try:  # from before the file exists: a signal may raise at any line
        _create(temporary, target, path)
        with _no_room(path):
            yield temporary
        temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, CaffeCompatError) and str(temporary) in str(error):
            raise error.about(str(error).replace(str(temporary), str(path))) from None
        raise


@contextmanager
def _no_room(path: str | os.PathLike[str]) -> Iterator[None]:
    """Give the error of a full disk the target's name, which writing to an open file loses."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise CaffeCompatError(f"{path}: cannot be written: {error.strerror}") from None


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
