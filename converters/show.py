"""`caffe-compat show`: the contents of a prototxt or a weights file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..weights import read as read_weights
from ..weights.trained import Weights
from . import options
from .terminal import say, say_shape, table


def command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", show_default=False, help="A prototxt or weights.")
    ],
    *,
    fillers: Annotated[
        bool,
        typer.Option(
            "--fillers", help="For each weight blob: n, its rectifier, the slope a, the std."
        ),
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights", metavar="FILE", help="With --fillers, take the PReLU slopes of FILE."
        ),
    ] = None,
    splits: Annotated[
        bool,
        typer.Option(
            "--splits", help="With the Split layers that Caffe adds: its full list of blobs."
        ),
    ] = False,
    selection: options.Selection,
) -> None:
    """Show a net's layers, shapes and parameters, or a weights file."""
    if weights and not fillers:
        raise typer.BadParameter("--weights is for --fillers")
    if file.suffix in (".caffemodel", ".h5"):
        if fillers:
            raise typer.BadParameter(f"--fillers is for a prototxt; {file} is a weights file")
        lines = show_weights(read_weights(file))
    else:
        from .show_net import show  # here, since it loads onnx

        trained = read_weights(weights) if weights else None
        lines = show(file, selection.reading(splits=splits), trained, fillers=fillers)
    for line in lines:
        say(line)


def show_weights(weights: Weights) -> Iterator[str]:
    """Yield a line for every layer with blobs, and the slopes of every PReLU by depth."""
    rows: list[Sequence[str]] = [("layer", "type", "blobs", "parameters")]
    total = 0
    for layer in weights.layers:
        count = sum(blob.array.size for blob in layer.blobs)
        total += count
        if layer.blobs:
            shapes = ", ".join(say_shape(blob.array.shape) for blob in layer.blobs)
            rows.append((layer.name, layer.type, shapes, f"{count:,}"))
    yield f"net {weights.name!r}, {weights.format}"
    yield from table(rows)
    yield f"{len(weights.layers)} layers, {total:,} parameters"
    prelus = [
        layer
        for layer in weights.layers
        if layer.type.upper() == "PRELU" and layer.blobs and layer.blobs[0].array.size
    ]
    if prelus:
        weights.check()
        rows = [("depth", "PReLU", "slopes", "mean", "min", "max")]
        for depth, layer in enumerate(prelus, 1):
            array = layer.blobs[0].array
            numbers = (f"{float(f):.4f}" for f in (array.mean(), array.min(), array.max()))
            rows.append((str(depth), layer.name, str(array.size), *numbers))
        yield ""
        yield from table(rows)
