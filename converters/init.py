"""`caffe-compat init`: a net's weights as its fillers draw them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..files import check_outputs
from ..net.stock import save_stock
from ..net.stock import stock as stock_net
from ..packed import load_net, read_graph
from ..pipeline import save
from ..prototxt.writer import write_text
from ..steps import fill, open_weights
from . import options
from .terminal import say_file


def command(
    net: options.Prototxt,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="OUT", help="A .caffemodel, .h5, .npz or .onnx file."
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
        typer.Option("--weights", metavar="FILE", help="Copy the layers of FILE, by name."),
    ] = None,
    fillers: Annotated[
        str | None,
        typer.Option(
            "--fillers",
            metavar="msra:residual|msra:auto|msra|xavier|gaussian:0.01",
            help="Draw every layer's weights with this filler, as doctor --compare measures it.",
        ),
    ] = None,
    drawing: options.Drawing,
    fit: options.Fit,
    source: options.Data,
    selection: options.Selection,
) -> None:
    """Initialise a net's weights as Caffe does.

    The same seed draws the same numbers.
    """
    if output is None and stock is None:
        raise typer.BadParameter("name a file to write: -o OUT, --stock OUT.prototxt, or both")
    if fix_decay and stock is None:
        raise typer.BadParameter("--fix-decay changes what --stock writes; give --stock too")
    if fillers is not None and drawing.slopes is not None:
        raise typer.BadParameter("--fillers says which slopes; leave --slopes out")
    check_outputs([output, stock], [net, weights])
    trained, reading = open_weights(weights), source.sized(net, selection.reading())
    if fillers is None:
        loaded = load_net(net, trained, reading, drawing.filling(), fit.packed())
    else:
        from ..doctor import refill, variant  # here, since it loads onnxruntime

        graph = refill(read_graph(net, trained, reading), variant(fillers), trained)
        loaded = fill(graph, trained, drawing.filling(), fit.packed())
    if stock is not None:
        if selection.cuts:
            write_text(stock_net(loaded.graph.net, loaded.graph, fix_decay=fix_decay), stock)
        else:
            save_stock(net, loaded.graph, stock, fix_decay=fix_decay)
        say_file(stock)
    if output is not None:
        save(loaded, output)
        say_file(output)
