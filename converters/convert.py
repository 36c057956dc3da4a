"""`caffe-compat convert`: a prototxt and its weights to an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import deployment, options, preprocessing
from .terminal import say


def command(
    net: options.Prototxt,
    weights: Annotated[Path | None, typer.Argument(metavar="WEIGHTS", show_default=False)] = None,
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT.onnx", help="The file to write.")
    ],
    opset: options.Opset = 18,
    weights_as: Annotated[
        options.WeightsAs | None,
        typer.Option(
            "--weights-as",
            help="Weights in the file (default below 1.5 GB), in OUT.onnx.data beside it, or "
            "where the caffemodel has them.",
        ),
    ] = None,
    blob: Annotated[
        list[str] | None,
        typer.Option("--blob", metavar="NAME", help="A further output, by blob (repeatable)."),
    ] = None,
    target: Annotated[
        options.Target,
        typer.Option(help="Who reads it: onnxruntime, or OpenCV 5's readNetFromONNX."),
    ] = options.Target.ONNXRUNTIME,
    fold_batchnorm: Annotated[
        bool,
        typer.Option(
            "--fold-batchnorm",
            help="Fold BatchNorm and Scale into the layers before them, where that is exact.",
        ),
    ] = False,
    deployed: deployment.Options,
    prep: preprocessing.Options,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare numpy with onnxruntime, layer by layer.")
    ] = False,
    filling: options.Filling,
    selection: options.Selection,
) -> None:
    """Convert a Caffe net to ONNX.

    Without WEIGHTS the net is initialised by its fillers.
    """
    from caffe_compat import pipeline
    from caffe_compat.errors import CaffeCompatError
    from caffe_compat.net.preprocess import from_prototxt
    from caffe_compat.onnx import writer
    from caffe_compat.onnx.lowering import lower

    if output.exists() and net.exists() and output.samefile(net):
        raise CaffeCompatError(f"{output}: is the net itself; name another output")
    deployed.check(prep)
    loaded = pipeline.load(net, weights, **filling.keywords(), **selection.keywords())
    if fold_batchnorm:
        from caffe_compat.net import fold

        loaded, report = fold.fold_batchnorm(loaded)
        for line in report.lines():
            say(line)
    kind: Any = weights_as.value if weights_as else None
    if deployed.used:
        if blob or target != options.Target.ONNXRUNTIME:
            raise typer.BadParameter(
                "--blob and --target go without --bake-preprocess, --fp16 and --int8"
            )
        preprocess = prep(from_prototxt(loaded.graph.net, net.parent))
        lowered = lower(loaded, opset)
        for change in deployed.passes(loaded, lowered, preprocess):
            lowered = change(lowered)
        saved = writer.save(lowered, output, kind)
    else:
        saved = pipeline.to_onnx(
            loaded, output, opset=opset, weights_as=kind, blobs=blob or (), target=target.value
        )
    for path in saved.files:
        say(f"{path}  {path.stat().st_size:,} bytes")
    if saved.stored:
        say(f"stored in {output} itself: {', '.join(saved.stored)}")
    if verify:
        from caffe_compat.runtime.verification import (
            verify as compare,  # only here: it takes onnxruntime
        )

        say(compare(loaded, opset=opset))
