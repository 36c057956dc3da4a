"""`caffe-compat test`: score a net with its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..caffe_pb2 import TEST, SolverParameter
from ..fillers.rng import make_rng
from ..training import backends, parameters
from ..training.log import Log
from ..training.nets import BuiltNets
from ..training.readers import Readers
from ..training.scoring import score
from . import options, training


def command(
    net: Annotated[Path | None, typer.Argument(metavar="NET.prototxt", show_default=False)] = None,
    weights: Annotated[Path | None, typer.Argument(metavar="WEIGHTS", show_default=False)] = None,
    *,
    model_option: Annotated[
        Path | None, typer.Option("--model", metavar="FILE", help="The net, as Caffe's own.")
    ] = None,
    weights_option: Annotated[
        list[str] | None,
        typer.Option("--weights", metavar="A,B", help="The weights, as Caffe's own."),
    ] = None,
    iterations: training.Iterations = 50,
    feed: training.Feed = None,
    stage: training.Stage = None,
    level: training.Level = 0,
    fork: training.Fork = None,
    skip_bad: options.SkipBad = False,
    engine: training.Engine = "auto",
    device: training.Device = "auto",
    custom: options.Custom = None,
) -> None:
    """Score a net on the batches of its TEST phase, and log the means of its outputs."""
    path, files = net or model_option, [weights] if weights else training.split(weights_option)
    if path is None or not files:
        raise typer.BadParameter("name a net and its weights: NET.prototxt WEIGHTS")
    source = parameters.net_file(path, TEST, level, training.split(stage))
    log = Log(training.write_log)
    make, place = backends.choose(SolverParameter(), engine, device)
    training.log_device(log, place)
    nets = BuiltNets(
        make_rng("boost-1.64", 1701),
        log,
        make,
        Readers(path.parent, log, fork=fork, skip_bad=skip_bad),
        data=training.rows(feed, source.net) if feed else None,
        weights=files,
        fork=fork,
    )
    score(nets.alone(source), iterations, log)
