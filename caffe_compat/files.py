"""Prototxt files in and out, and files that appear whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import Message
from numpy.typing import NDArray

from .caffe_pb2 import TEST, TRAIN, NetParameter, NetState, SolverParameter
from .errors import CaffeCompatError, ParseError
from .prototxt import Skipped, parse_tolerantly

_SOLVER_ONLY = set(SolverParameter.DESCRIPTOR.fields_by_name) - set(
    NetParameter.DESCRIPTOR.fields_by_name
)

_MOST_TEXT = 1 << 25  # bytes of a prototxt; real ones have a few hundred thousand
_PIECE = 1 << 24

# The first bytes of what people have saved under a model's name, and what to call it.
_MAGIC = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
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
    """What a file is that is no Caffe file at all, by its first bytes; None if not known."""
    start = head.lstrip()[:64].lower()
    for magic, name in _MAGIC:
        if head.startswith(magic) or start.startswith(magic.lower()):
            return name
    return None


def read_net(
    path: str | os.PathLike[str], phase: int = TEST
) -> tuple[NetParameter, list[Skipped]]:
    """Reads a net's prototxt of any era, as it stands: not upgraded, nothing selected.

    A solver's file is read for the net that it contains. No other file is opened: a solver
    that names its net by path is refused, with that path.

    Args:
        path: the file.
        phase: TRAIN or TEST: which net of a solver's file, where it has one for each.

    Returns:
        The net, and the fields that the schema does not know.

    Raises:
        ParseError: the file is missing, is not a prototxt, or says something impossible.
    """
    text = _read_text(path)
    net, skipped = parse_tolerantly(text, NetParameter, str(path))
    outermost = {skip.field for skip in skipped if not skip.path}
    if not (net.layer or net.layers or net.input) and outermost & _SOLVER_ONLY:
        solver, skipped = parse_tolerantly(text, SolverParameter, str(path))
        net, skipped = _inline_net(solver, skipped, phase, path)
    elif not net.ListFields():
        names = ", ".join(sorted(outermost)[:5])
        raise ParseError(f"{path}: not a Caffe net: a net has no field {names}")
    return net, skipped


def read_solver(path: str | os.PathLike[str]) -> tuple[SolverParameter, list[Skipped]]:
    """Reads a solver's prototxt as it stands, and no file that it names.

    Raises:
        ParseError: the file is missing, is not a prototxt, or says something impossible.
    """
    return parse_tolerantly(_read_text(path), SolverParameter, str(path))


def read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """A file's bytes, of which there may be `most`; a device never ends.

    Raises:
        ParseError: it is missing, cannot be read, or has more.
    """
    try:
        with Path(path).open("rb") as file:
            pieces = [file.read(min(most + 1, _PIECE))]
            while pieces[-1] and (left := most + 1 - sum(map(len, pieces))) > 0:
                pieces.append(file.read(min(left, _PIECE)))
    except FileNotFoundError:
        raise ParseError(f"{path}: no such file") from None
    except (OSError, ValueError, MemoryError) as error:  # ValueError: a null character in the name
        reason = getattr(error, "strerror", None) or error or "not enough memory"
        raise ParseError(f"{path}: cannot be read: {reason}") from None
    data = b"".join(pieces)
    if len(data) > most:
        raise ParseError(f"{path}: has more than the {most >> 20} MiB that are read of such a file")
    return data


def read_array(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The array in a .npy file.

    Raises:
        ParseError: it is missing, holds no array or several, or less data than it declares.
    """
    try:
        array: Any = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ParseError(f"{path}: no such file") from None
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise ParseError(f"{path}: not a .npy file: {error}") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise ParseError(f"{path}: holds several arrays; give a .npy file")
    if array.dtype.kind not in "biuf":
        raise ParseError(f"{path}: holds {array.dtype}, no real numbers")
    return array


def write_text(message: Message, path: str | os.PathLike[str]) -> None:
    """Writes a message as prototxt: floats in the fewest digits that read back the same.

    Raises:
        CaffeCompatError: the file cannot be written; what stood there before is untouched.
    """
    text = text_format.MessageToString(message, as_utf8=True)
    if re.search(r"[^\n -\uffff]", text):  # before protobuf 5 this leaves control codes as they are
        text = text_format.MessageToString(message, as_utf8=False)
    text = re.sub(r"^(\s*\w+: -?\d+)\.0$", r"\1", text, flags=re.MULTILINE)  # 1 for 1.0
    with atomic(path) as target:
        target.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a path beside the target to write to, and renames it when the block succeeds.

    When the block fails nothing stays behind and the old file, if any, is untouched. The new
    file has the old one's permissions, or those that a new file gets. A target that is not a
    file, as /dev/stdout, is given as it is.

    Args:
        path: where the file is wanted; a link is followed.

    Yields:
        The temporary path, with the target's suffix.

    Raises:
        CaffeCompatError: the target is a directory, or cannot be written.
    """
    given = Path(path)
    if given.is_dir():
        raise CaffeCompatError(f"{path}: is a directory; name a file in it")
    if given.exists() and not given.is_file():
        yield given  # as it is: /dev/stdout leads to a pipe that has no path
        return
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise CaffeCompatError(f"{path}: there is no directory {target.parent}")
    if target.exists() and not os.access(target, os.W_OK):
        raise CaffeCompatError(f"{path}: cannot be written: it is read-only")
    temporary = target.with_name(f".{secrets.token_hex(8)}{target.suffix[:32]}")
    try:
        # Made here and not by mkstemp, so that the umask rules; "x": never another's file.
        with temporary.open("xb"):
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
    except OSError as error:
        raise CaffeCompatError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        yield temporary
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """As `atomic`, with the file open for writing bytes.

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


def _read_text(path: str | os.PathLike[str]) -> str:
    data = read_bytes(path, _MOST_TEXT)
    if not data.strip():
        raise ParseError(f"{path}: the file is empty")
    foreign = foreign_format(data)
    if foreign:
        raise ParseError(f"{path}: not a prototxt but {foreign}")
    text = _decode(data, path)
    if not re.sub(r"#[^\n]*", "", text).strip():
        raise ParseError(f"{path}: nothing but comments in it")
    return text


def _decode(data: bytes, path: str | os.PathLike[str]) -> str:
    """Bytes to text with Unix line ends. Caffe reads bytes, so every encoding has been used."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):  # what a Windows shell redirects to a file
        text = data.decode("utf-16", errors="replace")
    else:
        # More than a stray byte: a caffemodel, or something compressed.
        if b"\0" in data or len(re.findall(rb"[\x01-\x08\x0e-\x1f]", data[:4096])) > 8:
            raise ParseError(f"{path}: a binary file; a prototxt is text")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")  # one character a byte: names stay distinct
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _inline_net(
    solver: SolverParameter, skipped: list[Skipped], phase: int, path: str | os.PathLike[str]
) -> tuple[NetParameter, list[Skipped]]:
    """The net inside a solver's file, in the order in which Caffe's Solver looks for it."""
    inline = {"net_param": solver.net_param} if solver.HasField("net_param") else {}
    state = solver.train_state if phase == TRAIN else NetState()
    if phase == TRAIN:
        if solver.HasField("train_net_param"):
            inline = {"train_net_param": solver.train_net_param}
    else:
        if solver.test_net_param:
            inline = {"test_net_param[0]": solver.test_net_param[0]}
        if solver.test_state:
            state = solver.test_state[0]
    if not inline:
        named = [solver.net, solver.train_net, *solver.test_net]
        files = ", ".join(repr(name) for name in named if name) or "no file"
        raise ParseError(f"{path}: a solver without a net of this phase; it names {files}")
    ((where, found),) = inline.items()
    net = NetParameter()
    net.CopyFrom(found)
    if state.ListFields():
        net.state.MergeFrom(state)
    own = [
        replace(skip, path=skip.path[len(where) + 1 :])
        for skip in skipped
        if skip.path == where or skip.path.startswith(f"{where}.")
    ]
    return net, own
