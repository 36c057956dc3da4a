"""`caffe-compat show`: what is in a prototxt or a weights file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .terminal import say, say_shape, table

if TYPE_CHECKING:
    from caffe_compat.net.graph import Graph
    from caffe_compat.net.rectifiers import Rectifier
    from caffe_compat.weights.trained import Weights


def command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", show_default=False, help="A prototxt or weights.")
    ],
    *,
    fillers: Annotated[
        bool,
        typer.Option(
            "--fillers", help="For each weight blob: n, the rectifier found, its slope a, the std."
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
    """Show a net's layers, shapes and parameters, or what a weights file holds."""
    if weights and not fillers:
        raise typer.BadParameter("--weights is for --fillers")
    if file.suffix in (".caffemodel", ".h5"):
        if fillers:
            raise typer.BadParameter(f"--fillers is for a prototxt; {file} holds weights")
        from caffe_compat.weights import read

        lines = show_weights(read(file))
    else:
        from caffe_compat import pipeline

        graph = pipeline.read(file, splits=splits, **selection.keywords())
        lines = show_fillers(graph, weights) if fillers else show_net(graph)
        _warn_of_decay(graph)
    for line in lines:
        say(line)


def _warn_of_decay(graph: Graph) -> None:
    from caffe_compat.net.slopes import decayed

    if names := decayed(graph):
        say(
            "warning: weight decay reaches the slopes of PReLU layers, for want of "
            f"param {{ decay_mult: 0 }}: {', '.join(names)}",
            err=True,
        )


def show_net(graph: Graph) -> Iterator[str]:
    """A line for every layer: its blobs' shapes, its parameters, their count and fillers."""
    rows: list[Sequence[str]] = [
        ("layer", "type", "bottoms", "tops", "parameters", "count", "fillers"),
    ]
    total = shared = 0
    for index, node in enumerate(graph.nodes):
        own = [node.owners[i] == (index, i) for i in range(len(node.blobs))]
        counts = [math.prod(blob.shape) for blob in node.blobs]
        total += sum(n for n, mine in zip(counts, own, strict=True) if mine)
        shared += sum(n for n, mine in zip(counts, own, strict=True) if not mine)
        rows.append(
            (
                node.layer.name,
                node.layer.proto.type,
                ", ".join(v.blob for v in node.bottoms),
                ", ".join(f"{v.blob} {say_shape(v.dims)}" for v in node.tops),
                ", ".join(
                    f"{blob.name} {say_shape(blob.shape)}{'' if mine else ' (shared)'}"
                    for blob, mine in zip(node.blobs, own, strict=True)
                ),
                f"{sum(counts):,}" if counts else "",
                ", ".join(blob.filler.type if blob.filler else "zeros" for blob in node.blobs),
            )
        )
    yield f"net {graph.net.name!r}"
    yield from table(rows)
    yield f"inputs   {', '.join(f'{v.blob} {say_shape(v.dims)}' for v in graph.inputs)}"
    yield f"outputs  {', '.join(f'{v.blob} {say_shape(v.dims)}' for v in graph.outputs)}"
    again = f", and {shared:,} shared" if shared else ""
    yield f"{len(graph.nodes)} layers, {total:,} parameters ({4 * total:,} bytes){again}"


def show_fillers(graph: Graph, weights: Path | None = None) -> Iterator[str]:
    """A line for every blob of weights: what `--slopes auto` finds, and what its filler gives.

    The std is the one that the rectifier asks for; only an msra filler takes it, under
    `--slopes auto`. The last column is the root mean square of what the filler gives as it is.
    """
    from caffe_compat.caffe_pb2 import FillerParameter
    from caffe_compat.fillers import moments
    from caffe_compat.net import slopes
    from caffe_compat.weights import read

    rows: list[Sequence[str]] = [
        ("layer", "blob", "filler", "norm", "n", "rectifier", "a", "std", "filler's"),
    ]
    for each in slopes.resolve(graph, read(weights) if weights else None):
        index, i = each.place
        node = graph.nodes[index]
        with node.layer.named():
            moment = moments.second_moment(node.blobs[i].shape, each.filler)
        rows.append(
            (
                node.layer.name,
                node.blobs[i].name,
                each.filler.type,
                FillerParameter.VarianceNorm.Name(each.filler.variance_norm),
                f"{each.n:.10g}",
                " | ".join(_few(r.layers) or "linear" for r in each.rectifiers),
                " | ".join(_say_slope(r) for r in each.rectifiers),
                f"{each.sigma:.6g}",
                "?" if moment is None else f"{math.sqrt(moment):.6g}",
            )
        )
    yield from table(rows)


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _say_slope(rectifier: Rectifier) -> str:
    """The a, or where none is real the second moment that stands in the place of ½ (1 + a²)."""
    a = rectifier.slope
    return f"E[f²]={rectifier.gain / 2:.6g}" if a is None else f"{a:.6g}"


def show_weights(weights: Weights) -> Iterator[str]:
    """A line for every layer with blobs, and the slopes of every PReLU by depth."""
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
            slopes = layer.blobs[0].array
            numbers = (f"{float(f):.4f}" for f in (slopes.mean(), slopes.min(), slopes.max()))
            rows.append((str(depth), layer.name, str(slopes.size), *numbers))
        yield ""
        yield from table(rows)
