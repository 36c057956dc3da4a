"""The options that several subcommands take, each stated once."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer


class Phase(str, Enum):
    """Caffe's phases."""

    TEST = "TEST"
    TRAIN = "TRAIN"


class WeightsAs(str, Enum):
    """Where an ONNX file's weights lie."""

    INLINE = "inline"
    EXTERNAL = "external"
    IN_PLACE = "in-place"


class Slopes(str, Enum):
    """Where msra fillers have their slope from."""

    AUTO = "auto"


def _dims(text: str) -> tuple[str, tuple[int | None, ...]]:
    blob, sign, sizes = text.rpartition("=")
    try:
        dims = tuple(None if n == "?" else int(n) for n in sizes.split("x")) if sizes else ()
    except ValueError:
        dims = (0,)
    if not sign or not blob or any(n is not None and n < 1 for n in dims):
        raise typer.BadParameter(f"{text!r} is not NAME=1x3x224x224 (? for an axis of any size)")
    return blob, dims


def _batch(text: str) -> int | str:
    if text == "dynamic":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"{text!r} is neither a number from 1 on nor 'dynamic'")
    return int(text)


Prototxt = Annotated[Path, typer.Argument(metavar="NET.prototxt", show_default=False)]
PhaseOption = Annotated[Phase, typer.Option("--phase", help="Which phase's layers to take.")]
Stages = Annotated[
    list[str] | None,
    typer.Option("--stage", metavar="S", help="A stage of the net state (repeatable)."),
]
Level = Annotated[int, typer.Option("--level", metavar="N", help="The level of the net state.")]
Inputs = Annotated[
    list[Any] | None,
    typer.Option(
        "--input",
        parser=_dims,
        metavar="NAME=1x3x224x224",
        help="An input's shape, over or in place of the prototxt's (repeatable).",
    ),
]
BatchOption = Annotated[
    Any,
    typer.Option(
        "--batch",
        parser=_batch,
        metavar="N|dynamic",
        help="Every input's first axis; dynamic: of any size.",
    ),
]
IgnoreUnknown = Annotated[
    bool,
    typer.Option("--ignore-unknown", help="Accept fields that are not known, without effect."),
]
Fork = Annotated[
    str | None,
    typer.Option(
        "--fork",
        metavar="NAME",
        help="Whose layers: for those that forks of Caffe define differently under one name.",
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", help="Seed of the fillers' random numbers.")
]
Rng = Annotated[
    str,
    typer.Option(
        "--rng",
        metavar="NAME",
        help="Whose random numbers: boost-1.64 (Caffe built with Boost 1.64 or later), "
        "boost-1.56, boost-1.55, or fast (numpy's, on all cores).",
    ),
]
SlopesOption = Annotated[
    Slopes | None,
    typer.Option(
        "--slopes",
        help="Find each msra filler's slope in the net (He et al. 2015), in the place of its `a`.",
    ),
]
Opset = Annotated[
    int, typer.Option("--opset", metavar="N", help="The version of ONNX's operators.")
]
Device = Annotated[
    str, typer.Option("--device", metavar="auto|cpu|cuda[:N]", help="Where to run.")
]
