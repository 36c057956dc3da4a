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
        Path,
        typer.Option(
            "-o", "--output", metavar="OUT", help="A .caffemodel, .caffemodel.h5 or .onnx file."
        ),
    ],
    seed: options.Seed = 1701,
    rng: options.Rng = "boost-1.64",
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

    loaded = pipeline.load(
        net, weights, seed=seed, rng=rng, phase=phase.value, level=level, stages=stage or (),
        inputs=dict(input or ()), batch=batch, ignore_unknown=ignore_unknown, fork=fork,
    )  # fmt: skip
    pipeline.save(loaded, output)
    typer.echo(f"{output}  {output.stat().st_size:,} bytes")
