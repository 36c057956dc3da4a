"""`caffe-compat init`: a net's weights as its fillers draw them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options


def command(
    net: options.Prototxt,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="OUT", help="A .caffemodel, .caffemodel.h5 or .onnx file."
        ),
    ] = None,
    stock: Annotated[
        Path | None,
        typer.Option(
            "--stock",
            metavar="OUT.prototxt",
            help="The net for a stock Caffe: each slope as the gaussian filler of its std.",
        ),
    ] = None,
    fix_decay: Annotated[
        bool,
        typer.Option("--fix-decay", help="In --stock, keep weight decay off PReLU slopes."),
    ] = False,
    seed: options.Seed = 1701,
    rng: options.Rng = "boost-1.64",
    slopes: options.SlopesOption = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights", metavar="FILE", help="Copy the layers that FILE has, by name."
        ),
    ] = None,
    phase: options.PhaseOption = options.Phase.TEST,
    stage: options.Stages = None,
    level: options.Level = 0,
    input: options.Inputs = None,
    batch: options.BatchOption = None,
    ignore_unknown: options.IgnoreUnknown = False,
    fork: options.Fork = None,
) -> None:
    """Initialise a net's weights, as Caffe would at that seed."""
    from caffe_compat import pipeline

    if output is None and stock is None:
        raise typer.BadParameter("name a file to write: -o OUT, --stock OUT.prototxt, or both")
    if fix_decay and stock is None:
        raise typer.BadParameter("--fix-decay changes what --stock writes; give --stock too")
    loaded = pipeline.load(
        net, weights, seed=seed, rng=rng, phase=phase.value, level=level, stages=stage or (),
        inputs=dict(input or ()), batch=batch, ignore_unknown=ignore_unknown, fork=fork,
        slopes=slopes.value if slopes else None,
    )  # fmt: skip
    if stock is not None:
        pipeline.save_stock(net, loaded.graph, stock, fix_decay=fix_decay)
        typer.echo(f"{stock}  {stock.stat().st_size:,} bytes")
    if output is not None:
        pipeline.save(loaded, output)
        typer.echo(f"{output}  {output.stat().st_size:,} bytes")
