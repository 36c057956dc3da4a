"""`caffe-compat show`: the contents of a prototxt or a weights file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..errors import WeightsError
from ..files import atomic, check_outputs, check_suffix
from ..text import say_shape, table
from ..weights import read as read_weights
from ..weights.trained import LayerWeights, Weights
from . import options
from .grouping import refuse
from .show_files import Kind, kind_of, show_file
from .terminal import say, say_file


@dataclass(frozen=True)
class Views:
    """The views that replace the table of layers."""

    fillers: Annotated[
        bool,
        typer.Option(
            "--fillers", help="For each weight blob: n, its rectifier, the slope a, the std."
        ),
    ] = False
    costs: Annotated[
        bool,
        typer.Option(
            "--costs", help="For each layer and one image: multiply-adds, memory, receptive field."
        ),
    ] = False
    as_json: Annotated[bool, typer.Option("--json", help="With --costs, answer in JSON.")] = False
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="PAGE", help="Write a page: graph, costs, weights."),
    ] = None
    doctor: Annotated[
        bool, typer.Option("--doctor", help="With --html, examine the net, and show what is found.")
    ] = False
    filters: Annotated[
        str | None,
        typer.Option("--filters", metavar="LAYER", help="Of weights, draw a layer's filters."),
    ] = None
    slopes: Annotated[
        bool, typer.Option("--slopes", help="Of weights, draw the PReLU slopes by depth.")
    ] = False
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT.png", help="The picture to write."),
    ] = None

    def refuse(self, file: Path) -> None:
        """Raise where a view is asked for of a file that has one only."""
        if self.fillers or self.costs or self.html is not None:
            raise typer.BadParameter(f"{file}: --fillers, --costs and --html are for a prototxt")

    def check(self, weights: bool) -> None:
        """Raise where options contradict each other or the file."""
        if self.doctor and self.html is None:
            raise typer.BadParameter("is for --html", param_hint="--doctor")
        if self.as_json and not self.costs:
            raise typer.BadParameter("is for --costs", param_hint="--json")
        drawn = "--filters" if self.filters is not None else "--slopes" if self.slopes else None
        if drawn and self.output is None:
            raise typer.BadParameter("draws a picture; name it with -o OUT.png", param_hint=drawn)
        if self.output is not None and not drawn:
            raise typer.BadParameter("goes with --filters or --slopes", param_hint="-o")
        named = {"--fillers": self.fillers, "--costs": self.costs, "--html": self.html is not None}
        if sum(named.values()) > 1:
            raise typer.BadParameter("give one of --fillers, --costs and --html")
        of_net = [option for option, stated in named.items() if stated]
        if weights and of_net:
            raise typer.BadParameter("is for a prototxt, not for weights", param_hint=of_net[0])
        if not weights and drawn:
            raise typer.BadParameter("is for a weights file, not for a prototxt", param_hint=drawn)


def command(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            show_default=False,
            help="A prototxt, weights, or any other file that this tool writes or reads.",
        ),
    ],
    trained: Annotated[
        Path | None,
        typer.Argument(metavar="WEIGHTS", show_default=False, help="For --html and --fillers."),
    ] = None,
    *,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="The same as WEIGHTS.")
    ] = None,
    splits: Annotated[
        bool,
        typer.Option(
            "--splits", help="With the Split layers that Caffe adds: its full list of blobs."
        ),
    ] = False,
    views: Views,
    source: options.Data,
    selection: options.Selection,
) -> None:
    """Show a net's layers, shapes, parameters and costs, or what is in another file.

    Weights (.caffemodel, HDF5, .npz), .onnx, .binaryproto, .npy, .solverstate.
    """
    stored = trained or weights
    check_outputs([views.html, views.output], [file, stored])
    if views.output is not None:
        check_suffix(views.output, ".png")
    lines: Iterable[str]
    kind = kind_of(file)
    of_weights = kind is Kind.WEIGHTS
    views.check(of_weights)
    if stored and not (views.fillers or views.html):
        raise typer.BadParameter("is for --fillers and --html", param_hint="WEIGHTS")
    if of_weights:
        if views.output is not None:
            _draw(read_weights(file), views, views.output)
            return
        refuse(selection, "is for a prototxt, not for weights")
        lines = show_weights(read_weights(file))
    elif kind is not Kind.NET:
        views.refuse(file)
        refuse(selection, "is for a prototxt")
        lines = show_file(file, kind)
    else:
        from . import show_net  # here, since it loads onnx

        reading = source.sized(file, selection.reading(splits=splits))
        if views.html is not None:
            with atomic(views.html) as place:
                html = show_net.page(file, stored, reading, doctor=views.doctor)
                place.write_text(html, encoding="utf-8")
            say_file(views.html)
            return
        if views.costs:
            total = show_net.count(file, reading)
            lines = [json.dumps(total.as_dict())] if views.as_json else show_net.show_costs(total)
        else:
            opened = read_weights(stored) if stored else None
            lines = show_net.show(file, reading, opened, fillers=views.fillers)
    for line in lines:
        say(line)


def _draw(weights: Weights, views: Views, output: Path) -> None:
    """Write a picture of a layer's filters or of the PReLU slopes."""
    from ..images.tiles import show_filters, show_slopes, write_png

    weights.check()
    if views.slopes:
        layers = [(layer.name, layer.blobs[0].array) for layer in _prelus(weights)]
        write_png(output, show_slopes(layers))
    else:
        named = {layer.name: layer for layer in weights.layers if layer.blobs}
        if views.filters not in named:
            have = ", ".join(named)
            raise WeightsError(f"{weights.path}: no blobs of a layer '{views.filters}'; of: {have}")
        write_png(output, show_filters(named[views.filters].blobs[0].array))
    say_file(output)


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
    prelus = _prelus(weights)
    if prelus:
        weights.check()
        rows = [("depth", "PReLU", "slopes", "mean", "min", "max")]
        for depth, layer in enumerate(prelus, 1):
            array = layer.blobs[0].array
            numbers = (f"{float(f):.4f}" for f in (array.mean(), array.min(), array.max()))
            rows.append((str(depth), layer.name, str(array.size), *numbers))
        yield ""
        yield from table(rows)


def _prelus(weights: Weights) -> list[LayerWeights]:
    return [
        layer
        for layer in weights.layers
        if layer.type.upper() == "PRELU" and layer.blobs and layer.blobs[0].array.size
    ]
