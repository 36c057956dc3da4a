"""`caffe-compat run`: a net on arrays or images from files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ..data.reading import open_batches
from ..images.decode import count_nan
from ..images.features import write_arrays
from ..npy import read_array
from ..progress import track
from ..runtime.session import Session
from ..text import say_shape
from ..types import AnyArray, Dims
from . import models, options, preprocessing, run_images
from .terminal import say, say_file, statistics


def command(
    model: models.ModelFile,
    trained: models.Trained = None,
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
    data: Annotated[
        options.Source | None,
        typer.Option("--data", help="net: run on what the net's own data layers read."),
    ] = None,
    batches: Annotated[
        int, typer.Option("--batches", metavar="N", min=1, help="With --data net, how many.")
    ] = 1,
    skip_bad: options.SkipBad = False,
    view: run_images.View,
    place: run_images.Place,
    prep: preprocessing.Options,
    fit: options.Fit,
    selection: options.Selection,
) -> None:
    """Run a net on arrays or images.

    Shows its outputs, or writes them.
    """
    run_images.check(view, place, prep, images=bool(image), blobs=bool(blob))
    if data is None and (batches != 1 or skip_bad):
        hint = "--skip-bad" if skip_bad else "--batches"
        raise typer.BadParameter("goes with --data net", param_hint=hint)
    feeds = {name: read_array(path) for name, path in map(_split, feed or ())}
    blobs = [name for names in blob or () for name in names.split(",") if name]
    source = models.Model(model, models.one_of(trained, weights), selection, fit)
    job = run_images.Job(source, feeds, blobs, place)
    if data is not None:
        if image or feed or model.suffix == ".onnx":
            raise typer.BadParameter(
                "is for a prototxt, without --image and --feed", param_hint="--data"
            )
        _run_own(job, view, batches, skip_bad)
        return
    if not image:
        _run_arrays(job, view)
        return
    run_images.run(job, view, image, prep)


def _run_arrays(job: run_images.Job, view: run_images.View) -> None:
    session = _open(job, {name: array.shape for name, array in job.feeds.items()})
    outputs = session.run(job.feeds)
    _answer({name: outputs[name] for name in job.blobs or outputs}, view)


def _run_own(job: run_images.Job, view: run_images.View, count: int, skip_bad: bool) -> None:
    """Run a net on batches of its own data, of one shape or of several."""
    passes: list[dict[str, AnyArray]] = []
    with open_batches(job.model.path, job.model.selection.reading(), skip_bad=skip_bad) as reader:
        dims: dict[str, Dims] = {}
        for _ in track(range(count), "running"):
            batch = next(reader)
            wider = _widen(dims or reader.shapes, batch)
            if wider != dims:
                dims = wider
                session = _open(job, dims)
            passes.append(session.run({name: batch[name] for name in session.inputs}))
    _answer(_join(passes, job.blobs or list(passes[0])), view)


def _open(job: run_images.Job, dims: Mapping[str, Dims]) -> Session:
    return Session(
        job.model.load(inputs=dims),
        job.place.device,
        blobs=job.blobs,
        threads=job.place.threads,
        cuda_graph=job.place.cuda_graph,
        conv_search=job.place.search,
    )


def _widen(dims: Mapping[str, Dims], batch: Mapping[str, AnyArray]) -> dict[str, Dims]:
    """Return the dims of inputs, None where a batch has another size: a batch of other boxes."""
    return {
        name: tuple(
            n if n == size else None for n, size in zip(old, batch[name].shape, strict=True)
        )
        for name, old in dims.items()
    }


def _join(passes: Sequence[Mapping[str, AnyArray]], names: Sequence[str]) -> dict[str, AnyArray]:
    """Return outputs with the batches one after another, or by batch where their shapes differ."""
    outputs: dict[str, AnyArray] = {}
    for name in names:
        arrays = [np.atleast_1d(each[name]) for each in passes]
        if len({array.shape[1:] for array in arrays}) == 1:
            outputs[name] = np.concatenate(arrays)
        else:
            outputs |= {f"{name}[{i}]": array for i, array in enumerate(arrays)}
    return outputs


def _answer(outputs: dict[str, AnyArray], view: run_images.View) -> None:
    """Print or write a net's outputs."""
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
