"""`caffe-compat run --image`: a net on pictures, and its answers as text, JSON or files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from . import options
from .models import Model
from .terminal import say, say_shape

if TYPE_CHECKING:
    from caffe_compat.images.decode import Detection
    from caffe_compat.images.predictor import Predictor, Result
    from caffe_compat.net.preprocess import Preprocess

    Stated = Callable[[Preprocess | None], Preprocess | None]

BATCH = 16  # pictures at a time where the net takes any number


class Format(str, Enum):
    """Formats of feature files."""

    NPY = "npy"
    NPZ = "npz"
    H5 = "h5"


class Engine(str, Enum):
    """Where pictures are run."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True)
class Place:
    """Where a model is run."""

    device: options.Device = "auto"
    threads: Annotated[
        int, typer.Option("--threads", metavar="N", min=0, help="Threads (default: all cores).")
    ] = 0
    cuda_graph: Annotated[
        bool, typer.Option("--cuda-graph", help="Record the GPU's work once, then replay it.")
    ] = False
    engine: Annotated[
        Engine, typer.Option("--engine", help="Run pictures here, or on a Ray cluster.")
    ] = Engine.LOCAL
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, help="Ray workers.")
    ] = None


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
    threshold: Annotated[
        float, typer.Option("--threshold", metavar="F", help="The least score of a box.")
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
    """What is run, and where."""

    model: Model
    feeds: dict[str, Any]
    blobs: list[str]
    place: Place


def run(job: Job, view: View, places: Sequence[str], stated: Stated) -> None:
    """Run the pictures, show the answers, and fail at the end if any could not be read."""
    from caffe_compat.errors import ParseError
    from caffe_compat.images import decode, pictures
    from caffe_compat.images.predictor import chunks
    from caffe_compat.progress import track

    names = [str(path) for path in pictures.find(places)]
    labels = decode.read_labels(view.labels) if view.labels else None
    opened, base = _open(job, len(names))
    preprocess = stated(base)
    predict, predictor = _engine(job, opened, preprocess)
    if preprocess is None and not predictor.baked:
        say(
            "note: nothing says how to preprocess; pictures go in as BGR, 0 to 255, at the net's "
            "size (see --preset, --mean, --scale)",
            err=True,
        )
    batch = job.model.selection.batch
    size = predictor.batch or (batch if isinstance(batch, int) else BATCH)
    parts = chunks(names, size)
    results = (
        result
        for _, made in zip(track(parts, "running"), predict(parts), strict=True)
        for result in made
    )
    show = _write_features if job.blobs or view.out is not None else _show
    unread = show(job, view, labels, results)
    if unread:
        raise ParseError(f"{unread} of {len(names)} pictures could not be read")


def _open(job: Job, count: int) -> tuple[Any, Any]:
    """The model; a prototxt's batch is made what the pictures need, where the net allows it."""
    from caffe_compat.errors import ShapeError, UnsupportedError

    chosen = job.model.selection
    if job.model.path.suffix != ".onnx" and chosen.batch is None and not chosen.shapes:
        try:
            return job.model.open(batch=min(count, BATCH))
        except (ShapeError, UnsupportedError):
            pass  # a Reshape may say the batch in numbers: then it is the prototxt's
    return job.model.open()


def _engine(
    job: Job, opened: Any, preprocess: Preprocess | None
) -> tuple[Callable[[Sequence[Sequence[str]]], Iterable[list[Result]]], Predictor]:
    from caffe_compat.images.predictor import Predictor
    from caffe_compat.runtime.session import Session

    place = job.place
    if place.engine is not Engine.RAY:
        session = Session(
            opened,
            place.device,
            blobs=job.blobs,
            threads=place.threads,
            cuda_graph=place.cuda_graph,
        )
        predictor = Predictor(session, preprocess, job.feeds)
        return lambda parts: (predictor([(n, None) for n in part]) for part in parts), predictor
    from caffe_compat.images import ray
    from caffe_compat.onnx.lowering import lower
    from caffe_compat.onnx.passes import simplify

    model = (
        opened
        if isinstance(opened, Path)
        else simplify(lower(opened, extra=[opened.graph.blob(name) for name in job.blobs]))
    )
    recipe = ray.Recipe(
        ray.model_bytes(model),
        preprocess,
        job.feeds,
        place.device,
        tuple(job.blobs),
        place.threads,
    )
    return lambda parts: ray.run(recipe, parts, place.workers), recipe.predictor()


def _write_features(job: Job, view: View, labels: object, results: Iterable[Result]) -> int:
    """Write the blobs, or without --blob the outputs, a row for each picture."""
    from caffe_compat.images.features import Features

    unread = 0
    folder = cast("Path", view.out)
    with Features(folder, view.form.value, job.blobs) as features:
        for result in results:
            if result.error is not None:
                unread += 1
                say(f"warning: skipped: {result.error}", err=True)
                continue
            features.add(result.name, result.outputs)
            _warn(result)
    for path in features.files:
        say(f"{path}  {path.stat().st_size:,} bytes")
    return unread


def _show(job: Job, view: View, labels: Sequence[str] | None, results: Iterable[Result]) -> int:
    """Print the answers, draw the boxes."""
    unread, drawn = 0, False
    said: list[dict[str, Any]] = []
    taken: set[Path] = set()
    for result in results:
        if result.error is not None:
            unread += 1
            say(f"warning: skipped: {result.error}", err=True)
            said.append({"image": result.name, "error": result.error})
            continue
        answer, found = _answer(result, view, labels)
        drawn |= found is not None
        if view.draw is not None and found is not None:
            answer["drawn"] = str(_draw(view.draw, result.name, found, taken))
        said.append(answer)
        if not view.as_json:
            say("\n".join(_lines(answer)))
        _warn(result)
    if view.as_json:
        say(json.dumps(said, indent=2, ensure_ascii=False))
    if view.draw is not None and not drawn and unread < len(said):
        from caffe_compat.errors import ShapeError

        raise ShapeError("no output is a detection, [1, 1, N, 7]; there is nothing to draw")
    return unread


def _answer(
    result: Result, view: View, labels: Sequence[str] | None
) -> tuple[dict[str, Any], list[Detection] | None]:
    """What JSON says of a picture; and its detections, None where the net is no detector."""
    from dataclasses import asdict

    from caffe_compat.images import decode
    from caffe_compat.runtime.outputs import scores

    outputs: dict[str, Any] = {}
    found: list[Detection] | None = None
    for name, array in result.outputs.items():
        classes = scores(array)
        if name in result.detections:
            boxes = decode.detections(result, array, view.threshold, labels)
            found = [*(found or ()), *boxes]
            outputs[name] = {
                "detections": [{**asdict(b), "box": [*map(decode.plain, b.box)]} for b in boxes]
            }
        elif classes is not None:
            best = decode.top(classes, view.top, labels)
            outputs[name] = {
                "top": [{**asdict(each), "score": decode.plain(each.score)} for each in best]
            }
        else:
            outputs[name] = {"shape": list(array.shape), **_numbers(array)}
    answer: dict[str, Any] = {"image": result.name, "size": list(result.size), "outputs": outputs}
    nan = decode.unusual(result.outputs)
    return answer | ({"nan": nan} if nan else {}), found


def _numbers(array: Any) -> dict[str, float | None]:
    from caffe_compat.images.decode import plain

    if not array.size:
        return {}
    kinds: tuple[Literal["mean", "min", "max"], ...] = ("mean", "min", "max")
    return {kind: plain(float(getattr(array, kind)())) for kind in kinds}


def _lines(answer: dict[str, Any]) -> Iterable[str]:
    """The answer as text."""
    yield f"{answer['image']}  {answer['size'][1]}x{answer['size'][0]} pixels"
    for name, said in answer["outputs"].items():
        if "top" in said:
            yield f"  {name}"
            for each in said["top"]:
                score = "NaN" if each["score"] is None else f"{each['score']:.4f}"
                yield f"  {score:>9}  {each['index']:>5}  {each['label'] or ''}".rstrip()
        elif "detections" in said:
            yield f"  {name}  {len(said['detections'])} boxes"
            for each in said["detections"]:
                box = " ".join("NaN" if n is None else f"{n:.1f}" for n in each["box"])
                yield f"  {each['score']:9.4f}  {each['label'] or each['index']}  {box}"
        else:
            numbers = "  ".join(
                f"{k} {v:.6g}" for k, v in said.items() if k != "shape" and v is not None
            )
            yield f"  {name}  {say_shape(said['shape'])}  {numbers}"
    if "drawn" in answer:
        yield f"  {answer['drawn']}"


def _warn(result: Result) -> None:
    from caffe_compat.images.decode import unusual

    for name, count in unusual(result.outputs).items():
        say(f"warning: {result.name}: '{name}' holds {count} NaN", err=True)


def _draw(folder: Path, name: str, found: list[Detection], taken: set[Path]) -> Path:
    """Write a copy with the boxes; never over the picture itself, nor over one in `taken`."""
    from PIL import Image

    from caffe_compat.errors import CaffeCompatError
    from caffe_compat.files import atomic
    from caffe_compat.images import pictures
    from caffe_compat.images.drawing import draw

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{Path(name).stem}.png"
    while target in taken:
        target = target.with_stem(f"{target.stem}_")
    taken.add(target)
    if target.exists() and target.samefile(name):
        raise CaffeCompatError(f"{target}: is the picture itself; name another folder for --draw")
    with atomic(target) as place:
        Image.fromarray(draw(pictures.read(name), found)).save(place, "PNG")
    return target
