"""Solver parameters and the nets that they name (solver.cpp, Init; upgrade_proto.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..caffe_pb2 import TEST, TRAIN, NetParameter, NetState, Phase, SolverParameter
from ..errors import CaffeCompatError, ParseError, ShapeError, UnsupportedError
from ..prototxt import reader
from ..prototxt.upgrade import upgrade_solver
from . import detections, policies, rules


@dataclass(frozen=True)
class NetSource:
    """A net of a solver.

    Attributes:
        net: the message, its state merged as Caffe does; not upgraded, no layer selected.
        origin: the field that gives it, and the file where there is one: `net file: a.prototxt`.
        path: the file; None where the net stands in the solver itself.
    """

    net: NetParameter
    origin: str
    path: Path | None


def read(path: str | Path) -> SolverParameter:
    """Read a solver's prototxt, with the snapshot prefix that Caffe gives it.

    Args:
        path: the file; `snapshot_prefix` defaults to it without its suffix.

    Raises:
        ParseError: the file is missing, is not a solver, or has a field that is not known.
    """
    p, skipped = reader.read_solver(path)
    if any(each.field in ("layer", "layers") for each in skipped):
        raise ParseError(f"{path}: a net; name the solver that trains it")
    if skipped:
        raise ParseError("; ".join(map(str, skipped[:5])))
    try:
        p = upgrade_solver(p)
    except ParseError as error:
        raise ParseError(f"{path}: {error}") from None
    prefix = Path(p.snapshot_prefix) if p.HasField("snapshot_prefix") else Path(path)
    if not p.HasField("snapshot_prefix"):
        p.snapshot_prefix = str(prefix.with_suffix(""))
    elif prefix.is_dir():
        p.snapshot_prefix = str(prefix / Path(path).stem)
    return p


def checked(source: str | Path | SolverParameter) -> tuple[SolverParameter, Path]:
    """Return the checked parameters of a solver's file or message, and the file's folder.

    Raises:
        CaffeCompatError: as for `read` and `check`, with the file's name.
    """
    if isinstance(source, SolverParameter):
        check(source)
        return source, Path()
    p = read(source)
    try:
        check(p)
    except CaffeCompatError as error:
        raise error.within(str(source)) from error
    return p, Path(source).parent


def check(p: SolverParameter) -> None:
    """Raise where Caffe's CHECKs would abort before the first iteration.

    Raises:
        ShapeError: a field has a value that Caffe refuses, or two fields contradict each other.
        UnsupportedError: the type or the policy is not known.
    """
    for stated, value in p.ListFields():
        if stated.cpp_type == stated.CPPTYPE_FLOAT and np.isnan(value).any():
            raise ShapeError(f"{stated.name} is nan")
    rules.find(p)
    policies.find(p)
    if p.average_loss < 1:
        raise ShapeError(f"average_loss must be at least 1, and is {p.average_loss}")
    if p.iter_size < 1:
        raise ShapeError(f"iter_size must be at least 1, and is {p.iter_size}")
    if p.weight_decay and p.regularization_type not in ("L1", "L2"):
        raise ShapeError(f"regularization_type '{p.regularization_type}' is neither L1 nor L2")
    if p.test_iter and p.test_interval <= 0:
        raise ShapeError(f"test_iter needs a test_interval above 0, not {p.test_interval}")
    for field in ("rampup_interval", "rampup_lr", "min_lr"):
        if p.HasField(field):
            raise UnsupportedError(
                f"{field}: versions of NVCaffe differ in what it does; "
                "warmup_iter and warmup_start_lr raise the rate linearly"
            )
    if p.eval_type not in ("classification", "detection") and p.test_iter:
        raise UnsupportedError(
            f"eval_type '{p.eval_type}': tests score by 'classification' or 'detection'; without "
            "test_iter and its test nets the solver trains"
        )
    if p.eval_type == "detection" and p.test_iter and p.ap_version not in detections.VERSIONS:
        raise UnsupportedError(
            f"ap_version '{p.ap_version}' is not known (known: {', '.join(detections.VERSIONS)})"
        )


def train_net(p: SolverParameter, folder: Path) -> NetSource:
    """Return the net that a solver trains.

    Args:
        p: the solver's parameters.
        folder: where the solver lies; a file that is not in the current folder is read there.

    Raises:
        ParseError: no field or more than one gives the net, or its file is missing.
    """
    fields = ("net", "net_param", "train_net", "train_net_param")
    stated = [field for field in fields if p.HasField(field)]
    if len(stated) != 1:
        listed = ", ".join(stated) or "none"
        raise ParseError(f"the solver gives its net by one of {', '.join(fields)}; here: {listed}")
    source = _source(p, stated[0], getattr(p, stated[0]), folder)
    return _with_state(source, TRAIN, p.train_state)


def test_nets(p: SolverParameter, folder: Path) -> list[NetSource]:
    """Return the nets that a solver tests, in Caffe's order; the arguments are `train_net`'s.

    Raises:
        ParseError: a file is missing.
        ShapeError: the numbers of test_iter, test_state and test nets do not agree.
    """
    own = [*p.test_net_param, *p.test_net]
    generic = next((f for f in ("net_param", "net") if p.HasField(f)), None)
    enough = len(p.test_iter) >= len(own) if generic else len(p.test_iter) == len(own)
    if not enough:
        raise ShapeError(
            f"test_iter must be given for each test net: {len(p.test_iter)} for {len(own)}"
        )
    if p.test_state and len(p.test_state) != len(p.test_iter):
        raise ShapeError(
            f"test_state is given {len(p.test_state)} times for {len(p.test_iter)} test nets; "
            "never, or once for each"
        )
    sources = [_source(p, "test_net_param", net, folder) for net in p.test_net_param]
    sources += [_source(p, "test_net", net, folder) for net in p.test_net]
    if generic:
        rest = len(p.test_iter) - len(own)
        sources += [_source(p, generic, getattr(p, generic), folder) for _ in range(rest)]
    states: Sequence[NetState] = p.test_state or [NetState()] * len(sources)
    return [_with_state(*each) for each in zip(sources, [TEST] * len(sources), states, strict=True)]


def net_file(path: Path, phase: Phase, level: int, stages: Sequence[str]) -> NetSource:
    """Return a net in a phase, at a level, with stages beside its own.

    Raises:
        ParseError: the file is missing or no net.
    """
    state = NetState(level=level, stage=stages)
    return _with_state(_read(path, phase, f"net file: {path}"), phase, state)


def weights(p: SolverParameter, folder: Path) -> list[Path]:
    """Return the weights files that a solver names, in their order; see `locate`.

    Raises:
        ParseError: one is missing.
    """
    names = [part.strip() for entry in p.weights for part in entry.split(",")]
    return [locate(name, folder) for name in names if name]


def locate(name: str, folder: Path) -> Path:
    """Return the path of a file that a solver names: in the current folder, or beside the solver.

    Raises:
        ParseError: it is in neither.
    """
    here, beside = Path(name), folder / name
    for path in (here, beside):
        if path.is_file():
            return path
    folders = ", ".join(dict.fromkeys(str(path.resolve().parent) for path in (here, beside)))
    raise ParseError(f"the solver names '{name}', and there is no such file in {folders}")


def _source(p: SolverParameter, field: str, value: NetParameter | str, folder: Path) -> NetSource:
    if isinstance(value, NetParameter):
        return NetSource(value, field, None)
    phase = TRAIN if field in ("net", "train_net") else TEST
    path = locate(value, folder)
    return _read(path, phase, f"{field} file: {path}")


def _read(path: Path, phase: Phase, origin: str) -> NetSource:
    net, skipped = reader.read_net(path, phase)
    if skipped:
        raise ParseError(f"{path}: " + "; ".join(map(str, skipped[:5])))
    return NetSource(net, origin, path)


def _with_state(source: NetSource, phase: Phase, state: NetState) -> NetSource:
    """Merge the states: the phase, then the net's own, then the solver's, the later stronger."""
    net = NetParameter()
    net.CopyFrom(source.net)
    net.state.Clear()
    net.state.phase = phase
    net.state.MergeFrom(source.net.state)
    net.state.MergeFrom(state)
    return NetSource(net, source.origin, source.path)
