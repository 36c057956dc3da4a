"""`caffe-compat convert`: a prototxt and its weights to an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options


def command(
    net: options.Prototxt,
    weights: Annotated[
        Path | None, typer.Argument(metavar="[WEIGHTS]", show_default=False)
    ] = None,
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT.onnx", help="The file to write.")
    ],
    phase: options.PhaseOption = options.Phase.TEST,
    stage: options.Stages = None,
    level: options.Level = 0,
    input: options.Inputs = None,
    batch: options.BatchOption = None,
    opset: options.Opset = 18,
    weights_as: Annotated[
        options.WeightsAs | None,
        typer.Option(
            "--weights-as",
            help="Weights in the file (default below 1.5 GB), in OUT.onnx.data beside it, or "
            "where the caffemodel has them.",
        ),
    ] = None,
    fold_batchnorm: Annotated[
        bool,
        typer.Option(
            "--fold-batchnorm",
            help="Fold BatchNorm and Scale into the layers before them, where that is exact.",
        ),
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare numpy with onnxruntime, layer by layer.")
    ] = False,
    seed: options.Seed = 1701,
    rng: options.Rng = "boost-1.64",
    slopes: options.SlopesOption = None,
    ignore_unknown: options.IgnoreUnknown = False,
    fork: options.Fork = None,
) -> None:
    """Convert a Caffe net to ONNX.

    Without WEIGHTS the net is initialised by its fillers.
    """
    from caffe_compat import pipeline

    loaded = pipeline.load(
        net, weights, seed=seed, rng=rng, phase=phase.value, level=level, stages=stage or (),
        inputs=dict(input or ()), batch=batch, ignore_unknown=ignore_unknown, fork=fork,
        slopes=slopes and slopes.value,
    )  # fmt: skip
    if fold_batchnorm:
        from caffe_compat import fold

        loaded, report = fold.fold_batchnorm(loaded)
        for line in report.lines():
            typer.echo(line)
    kind: Any = weights_as.value if weights_as else None
    saved = pipeline.to_onnx(loaded, output, opset=opset, weights_as=kind)
    for path in saved.files:
        typer.echo(f"{path}  {path.stat().st_size:,} bytes")
    if saved.stored:
        typer.echo(f"stored in {output} itself: {', '.join(saved.stored)}")
    if verify:
        from caffe_compat.verify import verify as compare  # only here: it takes onnxruntime

        typer.echo(compare(loaded, opset=opset))
