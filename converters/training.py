"""What `train`, `test` and `time` share: their log, their data, the phase's net."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..caffe_pb2 import NetParameter
from ..errors import ShapeError
from ..npy import read_array
from ..text import printable
from ..training.feeding import Rows
from ..training.log import Log

Feed = Annotated[
    list[str] | None,
    typer.Option(
        "--feed",
        metavar="NAME=FILE.npy",
        help="Rows for an input, batch by batch (repeatable).",
    ),
]
Stage = Annotated[
    list[str] | None,
    typer.Option("--stage", metavar="A,B", help="Stages of the net state (repeatable)."),
]
Level = Annotated[int, typer.Option("--level", metavar="N", help="The level of the net state.")]
Fork = Annotated[
    str | None, typer.Option("--fork", metavar="NAME", help="Whose layers, where forks differ.")
]
Engine = Annotated[str, typer.Option("--engine", metavar="auto|torch|numpy", help="What computes.")]
Device = Annotated[
    str,
    typer.Option("--device", metavar="auto|cpu|cuda[:N]", help="Where, in place of the solver's."),
]
Iterations = Annotated[int, typer.Option("--iterations", metavar="N", help="How many to run.")]


def write_log(line: str) -> None:
    """Print a line of the log on standard error, where Caffe's stands."""
    if sys.stderr is not None:  # the caller closed it
        sys.stderr.write(f"{printable(line)}\n")


def log_device(log: Log, device: str) -> None:
    """Log the device as Caffe does."""
    if device == "cpu":
        log("Use CPU.", "caffe.cpp")
    else:
        log(f"Using GPUs {device.partition(':')[2]}", "caffe.cpp")


def split(texts: Sequence[str] | None) -> list[str]:
    """Return the parts of lists with commas."""
    return [part.strip() for text in texts or () for part in text.split(",") if part.strip()]


def rows(feeds: Sequence[str], net: NetParameter) -> Rows:
    """Return the batches of the arrays that `--feed` names, of the size that the net states."""
    arrays: dict[str, Any] = {}
    tops = {top for layer in net.layer for top in layer.top}
    for pair in feeds:
        name, sign, path = pair.partition("=")
        if not sign or not name or not path:
            raise typer.BadParameter(f"{pair!r} is not NAME=FILE.npy", param_hint="--feed")
        if name not in tops:
            raise ShapeError(f"--feed {name}: the net has no such blob")
        arrays[name] = read_array(Path(path))
    for layer in net.layer:
        if any(top in arrays for top in layer.top):
            shapes = layer.input_param.shape
            size = shapes[0].dim[0] if shapes and shapes[0].dim else 0
            size = size or layer.memory_data_param.batch_size or layer.hdf5_data_param.batch_size
            if size:
                return Rows(arrays, size)
    raise ShapeError(f"--feed: the net states no batch size for {', '.join(arrays)}")
