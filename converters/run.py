"""`caffe-compat run`: a net on arrays or pictures from files."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from . import options, preprocessing
from .terminal import say_shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Format(str, Enum):
    """Formats of feature files."""

    NPY = "npy"
    NPZ = "npz"
    H5 = "h5"


class Engine(str, Enum):
    """Where pictures are run."""

    LOCAL = "local"
    RAY = "ray"


def command(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", show_default=False, help="An .onnx or .prototxt file."),
    ],
    *,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="A prototxt's weights.")
    ] = None,
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
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="The classes' names, one a line."),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, help="How many classes to show.")
    ] = 5,
    draw: Annotated[
        Path | None,
        typer.Option("--draw", metavar="DIR", help="Write copies with the boxes drawn in."),
    ] = None,
    threshold: Annotated[
        float, typer.Option("--threshold", metavar="F", help="The least score of a box.")
    ] = 0.5,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON.")] = False,
    blob: Annotated[
        list[str] | None,
        typer.Option("--blob", metavar="A,B", help="Take these blobs in place of the outputs."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write the outputs or blobs here.")
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="The format of what --out writes.")
    ] = Format.NPY,
    device: options.Device = "auto",
    threads: Annotated[
        int, typer.Option("--threads", metavar="N", min=0, help="Threads (default: all cores).")
    ] = 0,
    cuda_graph: Annotated[
        bool, typer.Option("--cuda-graph", help="Record the GPU's work once, then replay it.")
    ] = False,
    engine: Annotated[
        Engine, typer.Option("--engine", help="Run pictures here, or on a Ray cluster.")
    ] = Engine.LOCAL,
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", min=1, help="Ray workers.")
    ] = None,
    preset: preprocessing.Preset = None,
    mean: preprocessing.Mean = None,
    mean_file: preprocessing.MeanFile = None,
    scale: preprocessing.Scale = None,
    raw_scale: preprocessing.RawScale = None,
    bgr: preprocessing.Order = None,
    resize: preprocessing.Resize = None,
    crop: preprocessing.Crop = None,
    input: options.Inputs = None,
    batch: options.BatchOption = None,
    fork: options.Fork = None,
) -> None:
    """Run a net on arrays or pictures, and show or write what it says."""
    feeds = {name: read_array(path) for name, path in map(_split, feed or ())}
    blobs = [name for names in blob or () for name in names.split(",") if name]
    shapes = dict(input or ())
    if not image:
        if draw or engine is Engine.RAY:
            raise typer.BadParameter("works on pictures; give --image",
                                     param_hint="--draw" if draw else "--engine")  # fmt: skip
        shapes = {name: array.shape for name, array in feeds.items()} | shapes
        opened, _ = open_model(model, weights, shapes, batch, fork)
        _run_arrays(opened, feeds, blobs, out, form.value, device, threads)
        return
    if blobs and out is None:
        raise typer.BadParameter("writes files; give --out DIR", param_hint="--blob")
    from . import run_pictures

    run_pictures.run(
        run_pictures.Job(
            model=model, weights=weights, shapes=shapes, batch=batch, feeds=feeds, blobs=blobs,
            device=device, threads=threads, cuda_graph=cuda_graph, workers=workers,
            on_ray=engine is Engine.RAY, fork=fork,
        ),
        run_pictures.View(labels, top, draw, threshold, as_json, out, form.value),
        image,
        preprocessing.Options(preset, mean, mean_file, scale, raw_scale, bgr, resize, crop),
    )  # fmt: skip


def open_model(
    model: Path, weights: Path | None, shapes: dict[str, Any], batch: Any, fork: str | None
) -> tuple[Any, Any]:
    """What a Session takes, and the preprocessing that a prototxt states."""
    from caffe_compat import pipeline
    from caffe_compat.preprocess import from_prototxt

    if model.suffix == ".onnx":
        if weights is not None:
            raise typer.BadParameter("an .onnx file has its own weights", param_hint="--weights")
        return model, None
    net = pipeline.load(model, weights, inputs=shapes, batch=batch, fork=fork)
    return net, from_prototxt(net.graph.net, model.parent)


def _run_arrays(
    model: Any,
    feeds: dict[str, NDArray[Any]],
    blobs: list[str],
    out: Path | None,
    form: str,
    device: str,
    threads: int,
) -> None:
    from caffe_compat.features import write_arrays
    from caffe_compat.session import Session

    session = Session(model, device, blobs=blobs, threads=threads)
    outputs = session.run(feeds)
    if blobs:
        outputs = {name: outputs[name] for name in blobs}
    if out is None:
        for name, array in outputs.items():
            typer.echo(f"{name}  {say_shape(array.shape)}  {summary(array)}")
    else:
        for path in write_arrays(out, cast("Any", form), outputs):
            typer.echo(f"{path}  {path.stat().st_size:,} bytes")
    for name, array in outputs.items():
        if array.dtype.kind == "f" and (count := int((array != array).sum())):
            typer.echo(f"warning: '{name}' holds {count} NaN", err=True)


def _split(pair: str) -> tuple[str, Path]:
    name, sign, path = pair.partition("=")
    if not sign or not name or not path:
        raise typer.BadParameter(f"{pair!r} is not NAME=FILE.npy", param_hint="--feed")
    return name, Path(path)


def read_array(path: Path) -> NDArray[Any]:
    """The array in a .npy file."""
    import numpy as np

    from caffe_compat.errors import ParseError

    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ParseError(f"{path}: no such file") from None
    except (ValueError, EOFError, OSError) as error:
        raise ParseError(f"{path}: not a .npy file: {error}") from None
    if not isinstance(array, np.ndarray):
        raise ParseError(f"{path}: holds several arrays; give a .npy file")
    return array


def summary(array: NDArray[np.float32]) -> str:
    """An array's numbers in one line."""
    if array.size == 1:
        return f"{float(array.reshape(())):.6g}"
    if not array.size:
        return "empty"
    numbers = (f"{kind} {getattr(array, kind)():.6g}" for kind in ("mean", "std", "min", "max"))
    return "  ".join(numbers)
