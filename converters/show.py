"""`caffe-compat show`: what is in a prototxt or a weights file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .terminal import say_shape, table

if TYPE_CHECKING:
    from caffe_compat.graph import Graph
    from caffe_compat.trained import Weights


def command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", show_default=False, help="A prototxt or weights.")
    ],
    *,
    phase: options.PhaseOption = options.Phase.TEST,
    stage: options.Stages = None,
    level: options.Level = 0,
    input: options.Inputs = None,
    batch: options.BatchOption = None,
    ignore_unknown: options.IgnoreUnknown = False,
    fork: options.Fork = None,
) -> None:
    """Show a net's layers, shapes and parameters, or what a weights file holds."""
    if file.suffix in (".caffemodel", ".h5"):
        from caffe_compat import weights

        lines = show_weights(weights.read(file))
    else:
        from caffe_compat import pipeline

        lines = show_net(pipeline.read(
            file, phase=phase.value, level=level, stages=stage or (), inputs=dict(input or ()),
            batch=batch, ignore_unknown=ignore_unknown, fork=fork,
        ))  # fmt: skip
    for line in lines:
        typer.echo(line)


def show_net(graph: Graph) -> Iterator[str]:
    """A line for every layer: its blobs' shapes, its parameters and their fillers."""
    rows: list[Sequence[str]] = [("layer", "type", "bottoms", "tops", "parameters", "fillers")]
    total = shared = 0
    for index, node in enumerate(graph.nodes):
        own = [node.owners[i] == (index, i) for i in range(len(node.blobs))]
        counts = [math.prod(blob.shape) for blob in node.blobs]
        total += sum(n for n, mine in zip(counts, own, strict=True) if mine)
        shared += sum(n for n, mine in zip(counts, own, strict=True) if not mine)
        rows.append((
            node.layer.name,
            node.layer.proto.type,
            ", ".join(v.blob for v in node.bottoms),
            ", ".join(f"{v.blob} {say_shape(v.dims)}" for v in node.tops),
            ", ".join(
                f"{blob.name} {say_shape(blob.shape)}{'' if mine else ' (shared)'}"
                for blob, mine in zip(node.blobs, own, strict=True)
            ),
            ", ".join(blob.filler.type if blob.filler else "zeros" for blob in node.blobs),
        ))  # fmt: skip
    yield f"net {graph.net.name!r}"
    yield from table(rows)
    yield f"inputs   {', '.join(f'{v.blob} {say_shape(v.dims)}' for v in graph.inputs)}"
    yield f"outputs  {', '.join(f'{v.blob} {say_shape(v.dims)}' for v in graph.outputs)}"
    again = f", and {shared:,} shared" if shared else ""
    yield f"{len(graph.nodes)} layers, {total:,} parameters ({4 * total:,} bytes){again}"


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
    prelus = [layer for layer in weights.layers if layer.type.upper() == "PRELU" and layer.blobs]
    if prelus:
        rows = [("depth", "PReLU", "slopes", "mean", "min", "max")]
        for depth, layer in enumerate(prelus, 1):
            slopes = layer.blobs[0].array
            numbers = (f"{float(f):.4f}" for f in (slopes.mean(), slopes.min(), slopes.max()))
            rows.append((str(depth), layer.name, str(slopes.size), *numbers))
        yield ""
        yield from table(rows)
