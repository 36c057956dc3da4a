"""`caffe-compat init`: a net's weights as its fillers draw them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .terminal import say


def command(
    net: options.Prototxt,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="OUT", help="A .caffemodel, .caffemodel.h5 or .onnx file."
        ),
    ] = None,
    stock: Annotated[
        Path | None,
        typer.Option(
            "--stock",
            metavar="OUT.prototxt",
            help="The net for a stock Caffe: each slope as the gaussian filler of its std.",
        ),
    ] = None,
    fix_decay: Annotated[
        bool,
        typer.Option("--fix-decay", help="In --stock, keep weight decay off PReLU slopes."),
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", metavar="FILE", help="Copy the layers that FILE has, by name."),
    ] = None,
    filling: options.Filling,
    selection: options.Selection,
) -> None:
    """Initialise a net's weights, as Caffe would at that seed."""
    from caffe_compat import pipeline

    if output is None and stock is None:
        raise typer.BadParameter("name a file to write: -o OUT, --stock OUT.prototxt, or both")
    if fix_decay and stock is None:
        raise typer.BadParameter("--fix-decay changes what --stock writes; give --stock too")
    loaded = pipeline.load(net, weights, **filling.keywords(), **selection.keywords())
    if stock is not None:
        from caffe_compat.net.stock import save_stock

        save_stock(net, loaded.graph, stock, fix_decay=fix_decay)
        say(f"{stock}  {stock.stat().st_size:,} bytes")
    if output is not None:
        pipeline.save(loaded, output)
        say(f"{output}  {output.stat().st_size:,} bytes")
