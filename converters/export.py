"""`caffe-compat export`: a net for a server, or for a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..images.decode import read_labels
from ..images.triton import export as export_triton
from ..net.net import Net
from ..onnx.opsets import OPSET
from ..onnx.passes import Pass
from ..options import Onnx
from . import deployment, export_web, models, options, preprocessing
from .flags import flags_of
from .terminal import say, say_file


def command(
    model: models.ModelFile,
    trained: models.Trained = None,
    *,
    triton: Annotated[
        Path | None,
        typer.Option("--triton", metavar="DIR", help="The Triton model repository to write."),
    ] = None,
    page: export_web.Options,
    weights: models.Weights = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="The model's name (default: the file's)."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="The classes' names, one a line."),
    ] = None,
    max_batch: Annotated[
        int, typer.Option("--max-batch", metavar="N", min=1, help="Largest batch of requests.")
    ] = 16,
    delay: Annotated[
        int,
        typer.Option(
            "--delay", metavar="US", min=0, help="How long a batch may wait, in microseconds."
        ),
    ] = 1000,
    opset: options.Opset = OPSET,
    bake_preprocess: Annotated[
        bool,
        typer.Option(
            "--bake-preprocess",
            help="Put the prototxt's preprocessing in: the input is uint8 NHWC RGB.",
        ),
    ] = False,
    prep: preprocessing.Options,
    fit: options.Fit,
    selection: options.Selection,
) -> None:
    """Write a Triton model repository, or a web page: model, configuration, labels.

    For Triton a prototxt is converted with an open batch axis unless --batch or --input chooses its
    size; with a preprocessing option, or --bake-preprocess, the model takes images as they are. The
    page runs the net in the browser, on pictures that are dropped on it.
    """
    names = read_labels(labels) if labels is not None else None
    if (triton is None) == (page.web is None):
        raise typer.BadParameter("give one of --triton DIR and --web DIR")
    source = models.Model(model, models.one_of(trained, weights), selection, fit)
    if triton is None:
        page.write(source, prep, name or model.stem, names or ())
        return
    loaded = source.load(batch=None if selection.input else "dynamic")
    passes: tuple[Pass, ...] = ()
    if bake_preprocess or prep.used:
        if not isinstance(loaded, Net):
            raise typer.BadParameter("is for a prototxt", param_hint="--bake-preprocess")
        deployed = deployment.Options(bake_preprocess=True)
        passes = deployed.passes(loaded, Onnx(opset), prep.choose(loaded, model))
    written = export_triton(
        loaded,
        triton,
        name or model.stem,
        labels=names,
        max_batch=max_batch,
        delay=delay,
        onnx=Onnx(opset, passes=passes),
    )
    for path in written.files:
        say_file(path)
    if written.unbatchable is not None:
        flags = flags_of(written)
        say(f"note: no dynamic batching, since {written.unbatchable}{flags}", err=True)
