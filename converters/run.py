"""`caffe-compat run`: a net on arrays from files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .terminal import say_shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write a .npy for each output.")
    ] = None,
    device: options.Device = "auto",
    input: options.Inputs = None,  # noqa: A002  the option's name
    batch: options.BatchOption = None,
) -> None:
    """Run a net on arrays, and write or summarise its outputs."""
    from caffe_compat import pipeline
    from caffe_compat.session import Session

    feeds = {name: _read(path) for name, path in map(_split, feed or ())}
    if model.suffix == ".onnx":
        session = Session(model, device)
    else:
        shapes: dict[str, Any] = {name: array.shape for name, array in feeds.items()}
        net = pipeline.load(model, weights, inputs=shapes | dict(input or ()), batch=batch)
        session = Session(net, device)
    outputs = session.run(feeds)
    for name, array in outputs.items():
        if out is not None:
            _write(out, name, array)
        else:
            typer.echo(f"{name}  {say_shape(array.shape)}  {_summary(array)}")


def _split(pair: str) -> tuple[str, Path]:
    name, sign, path = pair.partition("=")
    if not sign or not name or not path:
        raise typer.BadParameter(f"{pair!r} is not NAME=FILE.npy", param_hint="--feed")
    return name, Path(path)


def _read(path: Path) -> NDArray[Any]:
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


def _write(folder: Path, name: str, array: NDArray[Any]) -> None:
    import numpy as np

    from caffe_compat.files import atomic

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace('/', '_')}.npy"
    with atomic(path) as target, target.open("wb") as file:
        np.save(file, array)
    typer.echo(f"{path}  {say_shape(array.shape)}")


def _summary(array: NDArray[np.float32]) -> str:
    if array.size == 1:
        return f"{float(array.reshape(())):.6g}"
    if not array.size:
        return "empty"
    return f"mean {array.mean():.6g}  std {array.std():.6g}  min {array.min():.6g}  max {array.max():.6g}"
