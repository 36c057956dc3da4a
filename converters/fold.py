"""`caffe-compat fold`: BatchNorm and Scale folded into the layers before them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options
from .terminal import say


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
            help="The two files to write; the second may be a .caffemodel.h5.",
        ),
    ],
    selection: options.Selection,
) -> None:
    """Write a net without the BatchNorm and Scale layers that the layer before can take in.

    The layers written are those of the phase, in Caffe's current form.
    """
    from caffe_compat import pipeline
    from caffe_compat.net.fold import fold_batchnorm
    from caffe_compat.prototxt import writer

    loaded = pipeline.load(net, weights, **selection.keywords())
    folded, report = fold_batchnorm(loaded)
    prototxt, caffemodel = output
    pipeline.save(folded, caffemodel)
    writer.write_text(folded.graph.net, prototxt)
    for line in report.lines():
        say(line)
    for path in output:
        say(f"{path}  {path.stat().st_size:,} bytes")
