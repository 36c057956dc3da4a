"""Snapshots: a caffemodel and a solver state, written as a pair (solver.cpp, Snapshot)."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from .. import weights as weight_files
from ..caffe_pb2 import SolverParameter
from ..errors import CaffeCompatError, WeightsError
from ..files import atomic
from ..weights import solverstate
from ..weights.solverstate import State
from .engine import Engine

_PIECE = 1 << 22


def paths(p: SolverParameter, iteration: int) -> tuple[Path, Path]:
    """Return the paths of the caffemodel and of the solver state of an iteration."""
    suffix = ".h5" if p.snapshot_format == SolverParameter.HDF5 else ""
    stem = f"{p.snapshot_prefix}_iter_{iteration}"
    return Path(f"{stem}.caffemodel{suffix}"), Path(f"{stem}.solverstate{suffix}")


def check_writable(p: SolverParameter) -> None:
    """Raise where a snapshot could not be written, before the first iteration.

    Raises:
        CaffeCompatError: the prefix is missing, or its folder is missing or read-only.
    """
    if not p.HasField("snapshot_prefix"):
        raise CaffeCompatError(
            "the solver has no snapshot_prefix, the beginning of the snapshots' paths"
        )
    folder = Path(f"{p.snapshot_prefix}_iter_0").parent
    if not folder.is_dir():
        raise CaffeCompatError(
            f"snapshot_prefix '{p.snapshot_prefix}': there is no directory {folder}"
        )
    if not os.access(folder, os.W_OK):
        raise CaffeCompatError(
            f"snapshot_prefix '{p.snapshot_prefix}': {folder} cannot be written to"
        )


def write(p: SolverParameter, engine: Engine, state: State) -> None:
    """Write a pair.

    Both files are complete under temporary names before the first one gets its own, and an older
    state of the same name is gone by then: at no moment is there a state without its weights. The
    state carries the digest of the caffemodel, so that those of two trainings are never paired.

    Args:
        p: the solver's parameters.
        engine: the train net.
        state: all but the weights' digest.

    Raises:
        CaffeCompatError: a file cannot be written, or would replace one that is no snapshot.
    """
    model, resume = paths(p, state.iter)
    for path in (model, resume):
        _check_replaceable(path)
    with atomic(resume) as place, atomic(model) as weights:
        engine.save(weights, diffs=p.snapshot_diff)
        solverstate.write(place, replace(state, weights_sha256=_digest(weights)))
        resume.unlink(missing_ok=True)


def restore(path: str | Path) -> tuple[State, Path | None]:
    """Read a solver state, and return it with the path of its weights; None where it names none.

    They are looked for where the state names them, and then beside it.

    Raises:
        WeightsError: a file is missing or damaged, or the weights are another training's.
    """
    state = solverstate.read(path)
    if not state.learned_net:
        return state, None
    stated = Path(state.learned_net)
    beside = Path(path).parent / stated.name
    model = next((p for p in (stated, beside) if p.is_file()), None)
    if model is None:
        raise WeightsError(f"{path}: its weights, '{stated}', are not there")
    if state.weights_sha256 and _digest(model) != state.weights_sha256:
        raise WeightsError(f"{model}: not the weights that {path} was written with")
    return state, model


def _digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.digest()


def _check_replaceable(path: Path) -> None:
    """Refuse to replace a file that is no snapshot, whatever its name."""
    if not path.exists():
        return
    try:
        if ".solverstate" in path.name:
            solverstate.read(path)
        else:
            weight_files.read(path)
    except CaffeCompatError:
        raise CaffeCompatError(f"{path}: not a snapshot, and is not replaced") from None
