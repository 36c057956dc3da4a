"""Read prototxt files of nets and solvers."""

from __future__ import annotations

import os
import re
from dataclasses import replace

from ..caffe_pb2 import TEST, TRAIN, NetParameter, NetState, SolverParameter
from ..errors import ParseError
from ..files import UTF16, decode, foreign_format, read_bytes
from .parser import parse_tolerantly
from .skipped import Skipped

_SOLVER_ONLY = set(SolverParameter.DESCRIPTOR.fields_by_name) - set(
    NetParameter.DESCRIPTOR.fields_by_name
)
_MAX_BYTES = 1 << 25  # of a prototxt; real ones have a few hundred thousand


def read_net(path: str | os.PathLike[str], phase: int = TEST) -> tuple[NetParameter, list[Skipped]]:
    """Read a net's prototxt of any era as it is written: not upgraded, nothing selected.

    A solver's file is read for the net inside it. No other file is opened: a solver that names
    its net by path is refused, with that path.

    Args:
        path: the file.
        phase: TRAIN or TEST: the net of that phase, where a solver's file has one for each.

    Returns:
        The net, and the fields that the schema does not know.

    Raises:
        ParseError: the file is missing, is not a prototxt, or has an impossible value.
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
    """Read a solver's prototxt as it is written, and no file that it names.

    Returns:
        The solver, and the fields that the schema does not know.

    Raises:
        ParseError: the file is missing, is not a prototxt, or has an impossible value.
    """
    return parse_tolerantly(_read_text(path), SolverParameter, str(path))


def _read_text(path: str | os.PathLike[str]) -> str:
    data = read_bytes(path, _MAX_BYTES)
    if not data.strip():
        raise ParseError(f"{path}: the file is empty")
    foreign = foreign_format(data)
    if foreign:
        raise ParseError(f"{path}: not a prototxt but {foreign}")
    text = _decode(data, path)
    if not re.sub(r"#[^\n]*", "", text).strip():
        raise ParseError(f"{path}: the file has only comments")
    return text


def _decode(data: bytes, path: str | os.PathLike[str]) -> str:
    """Decode a prototxt to text with Unix line ends."""
    # More than a stray byte: a caffemodel, or something compressed.
    if not data.startswith(UTF16) and (
        b"\0" in data or len(re.findall(rb"[\x01-\x08\x0e-\x1f]", data[:4096])) > 8
    ):
        raise ParseError(f"{path}: a binary file; a prototxt is text")
    return decode(data).replace("\r\n", "\n").replace("\r", "\n")


def _inline_net(
    solver: SolverParameter, skipped: list[Skipped], phase: int, path: str | os.PathLike[str]
) -> tuple[NetParameter, list[Skipped]]:
    """Return the net inside a solver's file, searched in the order of Caffe's Solver."""
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
        paths = [solver.net, solver.train_net, *solver.test_net]
        files = ", ".join(repr(name) for name in paths if name) or "no file"
        raise ParseError(f"{path}: a solver without a net of this phase; it names {files}")
    ((field, message),) = inline.items()
    net = NetParameter()
    net.CopyFrom(message)
    if state.ListFields():
        net.state.MergeFrom(state)
    own = [
        replace(skip, path=skip.path[len(field) + 1 :])
        for skip in skipped
        if skip.path == field or skip.path.startswith(f"{field}.")
    ]
    return net, own
