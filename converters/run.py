"""`caffe-compat run`: a net on arrays or pictures from files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from . import models, options, preprocessing, run_pictures
from .terminal import say, say_shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
            "--image", metavar="FILE|DIR|GLOB", help="Pictures for the net's input (repeatable)."
        ),
    ] = None,
    blob: Annotated[
        list[str] | None,
        typer.Option("--blob", metavar="A,B", help="Take these blobs in place of the outputs."),
    ] = None,
    view: run_pictures.View,
    place: run_pictures.Place,
    prep: preprocessing.Options,
    selection: options.Selection,
) -> None:
    """Run a net on arrays or pictures, and show or write what it says."""
    from caffe_compat.files import read_array

    feeds = {name: read_array(path) for name, path in map(_split, feed or ())}
    blobs = [name for names in blob or () for name in names.split(",") if name]
    named = models.Model(model, weights, selection)
    if not image:
        ray = place.engine is run_pictures.Engine.RAY
        if view.draw or ray:
            raise typer.BadParameter(
                "works on pictures; give --image", param_hint="--engine" if ray else "--draw"
            )
        shapes: dict[str, Any] = {name: array.shape for name, array in feeds.items()}
        opened, _ = named.open(inputs=shapes | selection.shapes)
        _run_arrays(opened, feeds, blobs, view, place)
        return
    if blobs and view.out is None:
        raise typer.BadParameter("writes files; give --out DIR", param_hint="--blob")
    run_pictures.run(run_pictures.Job(named, feeds, blobs, place), view, image, prep)


def _run_arrays(
    model: Any,
    feeds: dict[str, NDArray[Any]],
    blobs: list[str],
    view: run_pictures.View,
    place: run_pictures.Place,
) -> None:
    from caffe_compat.images.features import write_arrays
    from caffe_compat.runtime.session import Session

    session = Session(
        model, place.device, blobs=blobs, threads=place.threads, cuda_graph=place.cuda_graph
    )
    outputs = session.run(feeds)
    if blobs:
        outputs = {name: outputs[name] for name in blobs}
    if view.out is None:
        for name, array in outputs.items():
            say(f"{name}  {say_shape(array.shape)}  {summary(array)}")
    else:
        for path in write_arrays(view.out, cast("Any", view.form.value), outputs):
            say(f"{path}  {path.stat().st_size:,} bytes")
    for name, array in outputs.items():
        if array.dtype.kind == "f" and (count := int((array != array).sum())):
            say(f"warning: '{name}' holds {count} NaN", err=True)


def _split(pair: str) -> tuple[str, Path]:
    name, sign, path = pair.partition("=")
    if not sign or not name or not path:
        raise typer.BadParameter(f"{pair!r} is not NAME=FILE.npy", param_hint="--feed")
    return name, Path(path)


def summary(array: NDArray[np.float32]) -> str:
    """An array's numbers in one line."""
    if array.size == 1:
        return f"{float(array.reshape(())):.6g}"
    if not array.size:
        return "empty"
    numbers = (f"{kind} {getattr(array, kind)():.6g}" for kind in ("mean", "std", "min", "max"))
    return "  ".join(numbers)
