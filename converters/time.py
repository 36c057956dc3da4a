"""`caffe-compat time`: what each layer takes, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..data.reading import open_batches, sized
from ..options import Filling
from ..packed import load_net
from ..steps import open_weights
from ..training.log import Log
from ..training.timing import time_layers
from . import options, training


@dataclass(frozen=True)
class _Selection(options.Selection):
    """Which layers to time: TRAIN's, unless told otherwise, as Caffe does."""

    phase: Annotated[
        options.Phase, typer.Option("--phase", help="Which phase's layers to take.")
    ] = options.Phase.TRAIN


def command(
    net: Annotated[Path | None, typer.Argument(metavar="NET.prototxt", show_default=False)] = None,
    *,
    model: Annotated[
        Path | None, typer.Option("--model", metavar="FILE", help="The net, as Caffe's own.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="Weights, by layer name.")
    ] = None,
    iterations: training.Iterations = 50,
    data: Annotated[
        options.Source | None,
        typer.Option("--data", help="net: read what the net's own data layers read."),
    ] = None,
    fit: options.Fit,
    selection: _Selection,
) -> None:
    """Time a net's layers, forward and backward, on random inputs or its own data."""
    path = net or model
    if path is None:
        raise typer.BadParameter("name a net: NET.prototxt")
    log = Log(training.write_log)
    log("Use CPU.", "caffe.cpp")
    reading, packed = selection.reading(), fit.packed()
    stored = open_weights(weights)
    if data is None:
        time_layers(load_net(path, stored, reading, Filling(), packed), iterations, log)
        return
    with open_batches(path, reading) as batches:
        loaded = load_net(path, stored, sized(path, reading), Filling(), packed)
        time_layers(loaded, iterations, log, batches)
