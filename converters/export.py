"""`caffe-compat export`: a net for a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..images.decode import read_labels
from ..images.triton import export as export_triton
from ..onnx.opsets import OPSET
from ..options import Onnx
from . import models, options
from .flags import flags_of
from .terminal import say, say_file


def command(
    model: models.ModelFile,
    *,
    triton: Annotated[
        Path, typer.Option("--triton", metavar="DIR", help="The Triton model repository to write.")
    ],
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
    selection: options.Selection,
) -> None:
    """Write a Triton model repository: model, configuration, labels.

    A prototxt is converted with an open batch axis unless --batch or --input chooses its size.
    """
    names = read_labels(labels) if labels is not None else None
    source = models.Model(model, weights, selection)
    written = export_triton(
        source.load(batch=None if selection.input else "dynamic"),
        triton,
        name or model.stem,
        labels=names,
        max_batch=max_batch,
        delay=delay,
        onnx=Onnx(opset),
    )
    for path in written.files:
        say_file(path)
    if written.unbatchable is not None:
        flags = flags_of(written)
        say(f"note: no dynamic batching, since {written.unbatchable}{flags}", err=True)
