"""The options that several subcommands take, each stated once."""

from __future__ import annotations

import runpy
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ..errors import CaffeCompatError
from ..options import SEED, Copying, Filling, Reading
from ..types import Dims


class Phase(str, Enum):
    """Caffe's phases."""

    TEST = "TEST"
    TRAIN = "TRAIN"
    RUN = "RUN"


class Backend(str, Enum):
    """The kinds of databases."""

    LMDB = "lmdb"
    LEVELDB = "leveldb"


class Slopes(str, Enum):
    """The source of the slope of msra fillers."""

    AUTO = "auto"


def _dims(text: str) -> tuple[str, Dims]:
    blob, sign, sizes = text.rpartition("=")
    words = sizes.split("x") if sizes else []
    known = [word for word in words if word != "?"]
    if not (sign and blob and all(map(_is_size, known))):
        raise typer.BadParameter(f"{text!r} is not NAME=1x3x224x224 (? for an axis of any size)")
    return blob, tuple(None if word == "?" else int(word) for word in words)


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) > 0


def _batch(text: str) -> int | str:
    if text == "dynamic":
        return text
    if not _is_size(text):
        raise typer.BadParameter(f"{text!r} is neither a number from 1 on nor 'dynamic'")
    return int(text)


def _words(lists: list[str] | None) -> tuple[str, ...]:
    """Return the words of options that take them with commas."""
    return tuple(word for words in lists or () for word in words.split(","))


def _custom(path: str) -> Path:
    """Run the caller's own file, named on the command line, which registers layers."""
    if not Path(path).is_file():
        why = "is a directory; name a file in it" if Path(path).is_dir() else "no such file"
        raise CaffeCompatError(f"{path}: {why}")
    try:
        runpy.run_path(path)
    except Exception as error:  # the file may raise anything
        raise CaffeCompatError(f"{path}: {type(error).__name__}: {error}") from error
    return Path(path)


Custom = Annotated[
    list[Any] | None,
    typer.Option(
        "--custom",
        parser=_custom,
        metavar="PATH.py",
        help="Run this Python file first: it registers layers of your own (repeatable).",
    ),
]


@dataclass(frozen=True)
class Layers:
    """The layers of a prototxt to take, and whose they are."""

    stage: Annotated[
        list[str] | None,
        typer.Option("--stage", metavar="S", help="A stage of the net state (repeatable)."),
    ] = None
    level: Annotated[
        int, typer.Option("--level", metavar="N", help="The level of the net state.")
    ] = 0
    ignore_unknown: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore-unknown",
            metavar="A,B",
            help="Unknown fields to do without, as pad_l or ConvolutionParameter.pad_l.",
        ),
    ] = None
    fork: Annotated[
        str | None,
        typer.Option(
            "--fork",
            metavar="NAME|TYPE=NAME,...",
            help="Whose layers: for types that forks of Caffe define differently under one name; "
            "also by type or layer, as Crop=fcn,Proposal=pvanet.",
        ),
    ] = None
    custom: Custom = None

    @property
    def names_to_ignore(self) -> tuple[str, ...]:
        """The names of --ignore-unknown, one by one."""
        return _words(self.ignore_unknown)


@dataclass(frozen=True)
class Selection(Layers):
    """The layers of a prototxt to take, whose they are, and their sizes."""

    phase: Annotated[Phase, typer.Option("--phase", help="The phase whose layers to take.")] = (
        Phase.TEST
    )
    input: Annotated[
        list[Any] | None,
        typer.Option(
            "--input",
            parser=_dims,
            metavar="NAME=1x3x224x224",
            help="An input's shape, in place of the prototxt's (repeatable).",
        ),
    ] = None
    batch: Annotated[
        Any,
        typer.Option(
            "--batch",
            parser=_batch,
            metavar="N|dynamic",
            help="Every input's first axis; dynamic: of any size.",
        ),
    ] = None
    until: Annotated[
        list[str] | None,
        typer.Option(
            "--until", metavar="BLOB,...", help="Cut the net at these blobs; the rest is left out."
        ),
    ] = None
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            "--leave-out",
            metavar="TYPE|NAME,...",
            help="Leave out layers, by type or name, with whatever reads their tops.",
        ),
    ] = None
    deploy: Annotated[
        bool,
        typer.Option(
            "--deploy",
            help="A training net's deploy form: predictions for losses, no accuracies or labels.",
        ),
    ] = False

    @property
    def cuts(self) -> bool:
        """Whether layers that the phase has are left out."""
        return bool(self.until or self.leave_out or self.deploy)

    def reading(self, *, splits: bool = False) -> Reading:
        """Return them packed for the line."""
        return Reading(
            self.phase.value,
            self.level,
            tuple(self.stage or ()),
            dict(self.input or ()),
            self.batch,
            self.names_to_ignore,
            self.fork,
            _words(self.until),
            _words(self.leave_out),
            self.deploy,
            splits,
        )


class Source(str, Enum):
    """The sources of an input's shape beside the prototxt itself."""

    NET = "net"


@dataclass(frozen=True)
class Data:
    """Whether the files and databases that a prototxt names are opened."""

    data: Annotated[
        Source | None,
        typer.Option(
            "--data", help="net: open what the net's data layers read, and take its shapes."
        ),
    ] = None

    def sized(self, net: Path, reading: Reading) -> Reading:
        """Return the reading with the shapes of what the net's data layers read, if asked for."""
        if self.data is None:
            return reading
        from ..data.reading import sized  # here, since it loads onnx

        return sized(net, reading)


@dataclass(frozen=True)
class Drawing:
    """How the fillers draw."""

    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Seed of the fillers' random numbers.")
    ] = SEED
    rng: Annotated[
        str,
        typer.Option(
            "--rng",
            metavar="NAME",
            help="Whose random numbers: boost-1.64 (Caffe built with Boost 1.64 or later), "
            "boost-1.56, boost-1.55, or fast (numpy's, on all cores).",
        ),
    ] = "boost-1.64"
    slopes: Annotated[
        Slopes | None,
        typer.Option(
            "--slopes",
            help="Find each msra filler's slope in the net (He et al. 2015), in place of its `a`.",
        ),
    ] = None

    def filling(self) -> Filling:
        """Return them packed for the line."""
        return Filling(self.seed, self.rng, cast("Any", self.slopes and self.slopes.value))


@dataclass(frozen=True)
class Fit:
    """How far the weights may differ from the net."""

    allow_missing: Annotated[
        bool,
        typer.Option(
            "--allow-missing", help="Take weights that have none of the net's layers, too."
        ),
    ] = False
    allow_reshape: Annotated[
        bool,
        typer.Option(
            "--allow-reshape", help="Take blobs of another shape and equal count as they lie."
        ),
    ] = False

    def packed(self) -> Copying:
        """Return them packed for the line."""
        return Copying(self.allow_missing, self.allow_reshape)


class ConvSearch(str, Enum):
    """How cuDNN chooses the algorithms of convolutions."""

    HEURISTIC = "heuristic"
    EXHAUSTIVE = "exhaustive"
    DEFAULT = "default"


Prototxt = Annotated[Path, typer.Argument(metavar="NET.prototxt", show_default=False)]
Opset = Annotated[
    int, typer.Option("--opset", metavar="N", help="The version of ONNX's operators, 11 to 23.")
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:N]|...",
        help="The device to use; docs/running.md has them all.",
    ),
]
Search = Annotated[
    ConvSearch | None,
    typer.Option(
        "--conv-search",
        help="How cuDNN chooses convolutions, on CUDA (default: heuristic; with --cuda-graph "
        "exhaustive).",
    ),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Count what cannot be read, and go on.")]
