"""`caffe-compat run`: a net on arrays or images from files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..files import read_array
from ..images.decode import count_nan
from ..images.features import write_arrays
from ..runtime.session import Session
from . import models, options, preprocessing, run_images
from .answers import statistics
from .terminal import say, say_file, say_shape


def command(
    model: models.ModelFile,
    *,
    weights: models.Weights = None,
    feed: Annotated[
        list[str] | None,
        typer.Option("--feed", metavar="NAME=FILE.npy", help="An input's data (repeatable)."),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            "--image", metavar="FILE|DIR|GLOB", help="Images for the net's input (repeatable)."
        ),
    ] = None,
    blob: Annotated[
        list[str] | None,
        typer.Option("--blob", metavar="A,B", help="Take these blobs in place of the outputs."),
    ] = None,
    view: run_images.View,
    place: run_images.Place,
    prep: preprocessing.Options,
    selection: options.Selection,
) -> None:
    """Run a net on arrays or images.

    Shows its outputs, or writes them.
    """
    feeds = {name: read_array(path) for name, path in map(_split, feed or ())}
    blobs = [name for names in blob or () for name in names.split(",") if name]
    job = run_images.Job(models.Model(model, weights, selection), feeds, blobs, place)
    if not image:
        ray = place.engine is run_images.Engine.RAY
        if view.draw or ray:
            raise typer.BadParameter(
                "works on images; give --image", param_hint="--engine" if ray else "--draw"
            )
        _run_arrays(job, view)
        return
    if view.picture is not None and not blobs:
        raise typer.BadParameter("draws blobs; give --blob", param_hint="--picture")
    if blobs and view.out is None and view.picture is None:
        raise typer.BadParameter("writes files; give --out DIR", param_hint="--blob")
    run_images.run(job, view, image, prep)


def _run_arrays(job: run_images.Job, view: run_images.View) -> None:
    shapes: dict[str, Any] = {name: array.shape for name, array in job.feeds.items()}
    session = Session(
        job.model.load(inputs=shapes),
        job.place.device,
        blobs=job.blobs,
        threads=job.place.threads,
        cuda_graph=job.place.cuda_graph,
    )
    outputs = session.run(job.feeds)
    if job.blobs:
        outputs = {name: outputs[name] for name in job.blobs}
    if view.out is None:
        for name, array in outputs.items():
            say(f"{name}  {say_shape(array.shape)}  {statistics(array)}")
    else:
        for path in write_arrays(view.out, view.form.value, outputs):
            say_file(path)
    for name, count in count_nan(outputs).items():
        say(f"warning: '{name}' has {count} NaN", err=True)


def _split(pair: str) -> tuple[str, Path]:
    name, sign, path = pair.partition("=")
    if not sign or not name or not path:
        raise typer.BadParameter(f"{pair!r} is not NAME=FILE.npy", param_hint="--feed")
    return name, Path(path)
