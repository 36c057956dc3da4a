"""`caffe-compat fold`: BatchNorm and Scale folded into the layers before them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..files import check_outputs, check_suffix
from ..net.fold import fold_batchnorm
from ..options import Filling
from ..packed import load_net
from ..pipeline import save
from ..prototxt.writer import write_text
from ..steps import open_weights
from . import options
from .terminal import say, say_file


def command(
    net: options.Prototxt,
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", show_default=False)],
    *,
    output: Annotated[
        tuple[Path, Path],
        typer.Option(
            "-o",
            "--output",
            metavar="NET2.prototxt WEIGHTS2.caffemodel",
            help="The two files to write; the second may be a .caffemodel.h5 or .npz.",
        ),
    ],
    fit: options.Fit,
    selection: options.Selection,
) -> None:
    """Fold BatchNorm and Scale layers into the layers before them.

    Writes the layers of the phase, in Caffe's current form.
    """
    check_outputs(output, [net, weights])
    check_suffix(output[1], ".caffemodel", ".h5", ".npz")
    loaded = load_net(net, open_weights(weights), selection.reading(), Filling(), fit.packed())
    folded, report = fold_batchnorm(loaded)
    prototxt, caffemodel = output
    save(folded, caffemodel)
    write_text(folded.graph.net, prototxt)
    for line in report.lines():
        say(line)
    for path in output:
        say_file(path)
