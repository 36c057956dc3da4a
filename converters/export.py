"""`caffe-compat export`: a net for a server, or for a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..images.decode import read_labels
from . import export_triton, export_web, models, options, preprocessing
from .grouping import refuse


def command(
    model: models.ModelFile,
    trained: models.Trained = None,
    *,
    server: export_triton.Options,
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
    prep: preprocessing.Options,
    fit: options.Fit,
    selection: options.Selection,
) -> None:
    """Write a Triton model repository, or a web page: model, configuration, labels.

    For Triton a prototxt is converted with an open batch axis unless --batch or --input chooses its
    size; with a preprocessing option, or --bake-preprocess, the model takes images as they are. The
    page runs the net in the browser, on images that are dropped on it.
    """
    if (server.triton is None) == (page.web is None):
        raise typer.BadParameter("give one of --triton DIR and --web DIR")
    names = read_labels(labels) if labels is not None else None
    source = models.Model(model, models.one_of(trained, weights), selection, fit)
    if server.triton is not None:
        refuse(page, "is for --web")
        server.write(source, prep, name or model.stem, names)
    else:
        refuse(server, "is for --triton")
        page.write(source, prep, name or model.stem, names or ())
