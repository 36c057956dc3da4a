"""The arguments of `caffe.Net`, whose constructor has two forms."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import mode

_FORMS = (
    "Net(network_file, phase, level=0, stages=None, weights=None) or "
    "Net(network_file, weights, phase)"
)


def sort_out(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, int, int, Sequence[str], str | None]:
    """Return the prototxt, the phase, the level, the stages and the weights file or None.

    Raises:
        TypeError: they are of neither form.
    """
    names = ("network_file", "phase", "level", "stages", "weights")
    legacy = len(args) == 3 and not kwargs and _is_path(args[1]) and not _is_path(args[2])
    if legacy:
        args = (args[0], args[2], 0, None, args[1])
        mode.debug("deprecated: Net(file, weights, phase); use Net(file, phase, weights=file)")
    values: dict[str, Any] = {"level": 0, "stages": None, "weights": None}
    by_place = dict(zip(names, args, strict=False))
    wrong = set(kwargs) - set(names) or set(kwargs) & set(by_place)
    values.update(by_place, **{name: kwargs[name] for name in kwargs if name in names})
    if wrong or len(args) > len(names) or {"network_file", "phase"} - set(values):
        keywords = ", ".join(sorted(kwargs)) or "no keywords"
        raise TypeError(f"{_FORMS}; got {len(args)} arguments and {keywords}")
    path, phase, weights = values["network_file"], values["phase"], values["weights"]
    paths = _is_path(path) and (weights is None or _is_path(weights))
    if not paths or not isinstance(phase, int):
        raise TypeError(f"{_FORMS}; got {path!r}, phase {phase!r}, weights {weights!r}")
    stages = [str(stage) for stage in values["stages"] or ()]
    return (
        os.fspath(path),
        int(phase),
        int(values["level"]),
        stages,
        None if weights is None else os.fspath(weights),
    )


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


def check_file(path: str) -> None:
    """Raise RuntimeError unless a file can be opened."""
    try:
        with Path(path).open("rb"):
            pass
    except OSError:
        raise RuntimeError(f"Could not open file {path}") from None
