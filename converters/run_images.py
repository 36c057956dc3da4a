"""`caffe-compat run --image`: a net on images, and its answers as text, JSON or files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ..errors import ParseError, ShapeError
from ..images.answers import answer
from ..images.decode import count_nan, read_labels
from ..images.drawing import Drawings
from ..images.features import Features
from ..images.prediction import predict
from ..images.predictor import Result
from ..images.reader import find
from ..images.recipe import Recipe
from ..net.net import Net
from ..runtime.devices import ConvSearch
from ..text import say_shape
from . import options, pictures, preprocessing
from .answers import lines
from .grouping import refuse
from .models import Model
from .terminal import say, say_file, statistics


class Format(str, Enum):
    """Formats of feature files."""

    NPY = "npy"
    NPZ = "npz"
    H5 = "h5"


class Engine(str, Enum):
    """The places where images are run."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True)
class Place:
    """The device and the engine that run a model."""

    device: options.Device = "auto"
    threads: Annotated[
        int, typer.Option("--threads", metavar="N", min=0, help="Threads (default: all cores).")
    ] = 0
    cuda_graph: Annotated[
        bool, typer.Option("--cuda-graph", help="Record the GPU's work once, then replay it.")
    ] = False
    conv_search: options.Search = None
    engine: Annotated[
        Engine, typer.Option("--engine", help="Run images here, or on a Ray cluster.")
    ] = Engine.LOCAL
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, help="Ray workers.")
    ] = None

    @property
    def search(self) -> ConvSearch | None:
        """Session's conv_search."""
        return cast("ConvSearch | None", self.conv_search and self.conv_search.value)


@dataclass(frozen=True)
class View:
    """How the answers are shown."""

    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="The classes' names, one a line."),
    ] = None
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, help="How many classes to show.")
    ] = 5
    draw: Annotated[
        Path | None,
        typer.Option("--draw", metavar="DIR", help="Write copies with the boxes drawn in."),
    ] = None
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture", metavar="DIR", help="Write the feature maps of --blob as pictures."
        ),
    ] = None
    explain: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="CLASS",
            help="Write where the evidence for a class (index or label) lies, into --draw DIR.",
        ),
    ] = None
    threshold: Annotated[
        float, typer.Option("--threshold", metavar="F", help="The min score of a box.")
    ] = 0.5
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON.")] = False
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write the outputs or blobs here.")
    ] = None
    form: Annotated[Format, typer.Option("--format", help="The format of what --out writes.")] = (
        Format.NPY
    )


@dataclass(frozen=True)
class Job:
    """The model, and its arguments that are no images."""

    model: Model
    feeds: dict[str, Any]
    blobs: list[str]
    place: Place


def check(
    view: View, place: Place, prep: preprocessing.Options, *, images: bool, blobs: bool
) -> None:
    """Refuse options that would do nothing with what is run.

    Args:
        view: how the answers are shown.
        place: where the model runs.
        prep: the preprocessing.
        images: whether there are images.
        blobs: whether blobs are shown in place of the outputs.
    """
    if view.out is None:
        refuse(view, "goes with --out DIR", "form")
    if place.engine is not Engine.RAY:
        refuse(place, "goes with --engine ray", "workers")
    if not images:
        answers = (field.name for field in fields(view) if field.name not in ("out", "form"))
        refuse(view, "works on images; give --image", *answers)
        refuse(place, "works on images; give --image", "engine")
        refuse(prep, "works on images; give --image")
    elif blobs and view.explain is None:
        refuse(view, "is for the outputs, not for --blob", "labels", "top", "draw", "threshold")
        refuse(view, "is for the outputs, not for --blob", "as_json")
    elif not blobs:
        refuse(view, "draws blobs; give --blob", "picture")


def run(job: Job, view: View, images: Sequence[str], prep: preprocessing.Options) -> None:
    """Run the images, show the answers, and fail at the end if any could not be read."""
    names = [str(path) for path in find(images)]
    labels = read_labels(view.labels) if view.labels else None
    if view.explain is not None:
        if view.draw is None:
            raise typer.BadParameter("writes pictures; give --draw DIR", param_hint="--explain")
        net = job.model.load(batch=1)
        if not isinstance(net, Net):
            raise typer.BadParameter("needs a prototxt and its weights", param_hint="--explain")
        target = pictures.class_index(view.explain, labels)
        pictures.explain_all(net, names, target, prep.choose(net, job.model.path), view.draw)
        return
    model, place = job.model.load_for(len(names)), job.place
    preprocess = prep.choose(model if isinstance(model, Net) else None, job.model.path)
    recipe = Recipe(
        model,
        preprocess,
        job.feeds,
        place.device,
        tuple(job.blobs),
        place.threads,
        place.cuda_graph,
        place.search,
    )
    predictor = recipe.predictor()
    if preprocess is None and not predictor.baked:
        say(
            "note: no preprocessing is known; images are fed as BGR, 0 to 255, at the net's size "
            "(see --preset, --mean, --scale)",
            err=True,
        )
    batch = job.model.selection.batch
    results = predict(
        recipe,
        names,
        engine=place.engine.value,
        workers=place.workers,
        batch=batch if isinstance(batch, int) else None,
        predictor=predictor,
    )
    if view.picture is not None:
        unread = pictures.write_maps(view.picture, job.blobs, results)
    elif view.out is not None:
        unread = _write_features(job, view, results)
    elif job.blobs:
        unread = _show_blobs(job.blobs, results)
    else:
        unread = _show(view, labels, results)
    if unread:
        raise ParseError(f"{unread} of {len(names)} images could not be read")


def _write_features(job: Job, view: View, results: Iterable[Result]) -> int:
    """Write the blobs, or without --blob the outputs, one row per image; return the failures."""
    assert view.out is not None
    unread = 0
    with Features(view.out, view.form.value, job.blobs) as features:
        for result in results:
            if result.error is not None:
                unread += 1
                say(f"warning: skipped: {result.error}", err=True)
                continue
            features.add(result.name, result.outputs)
            _warn(result.name, count_nan(result.outputs))
    for path in features.files:
        say_file(path)
    return unread


def _show_blobs(blobs: Sequence[str], results: Iterable[Result]) -> int:
    """Print the shape and the statistics of each image's blobs; return the failures."""
    unread = 0
    for result in results:
        if result.error is not None:
            unread += 1
            say(f"warning: skipped: {result.error}", err=True)
            continue
        say(result.name)
        for name in blobs:
            array = result.outputs[name]
            say(f"  {name}  {say_shape(array.shape)}  {statistics(array)}")
        _warn(result.name, count_nan(result.outputs))
    return unread


def _show(view: View, labels: Sequence[str] | None, results: Iterable[Result]) -> int:
    """Print the answers and draw the boxes; return the number of images that failed."""
    unread, detects = 0, False
    objects: list[dict[str, Any]] = []
    drawings = None if view.draw is None else Drawings(view.draw)
    for result in results:
        if result.error is not None:
            unread += 1
            say(f"warning: skipped: {result.error}", err=True)
            objects.append({"image": result.name, "error": result.error})
            continue
        each = answer(result, count=view.top, threshold=view.threshold, labels=labels)
        drawing = None
        if each.detections is not None:
            detects = True
            if drawings is not None:
                drawing = drawings.add(each.image, each.detections)
        objects.append(each.to_json() | ({"drawn": str(drawing)} if drawing else {}))
        if not view.as_json:
            say(*lines(each, drawing))
        _warn(each.image, each.nan)
    if view.as_json:
        say(*json.dumps(objects, indent=2, ensure_ascii=False).split("\n"))
    if drawings is not None and not detects and unread < len(objects):
        raise ShapeError("no output is a detection, [1, 1, N, 7]; there is nothing to draw")
    return unread


def _warn(image: str, nan: Mapping[str, int]) -> None:
    for name, count in nan.items():
        say(f"warning: {image}: '{name}' has {count} NaN", err=True)
