"""`caffe-compat plot`: the curves of a training, from its log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..training import chart, curves
from ..training.report import charts
from .terminal import say_file


def command(
    logs: Annotated[list[Path], typer.Argument(metavar="LOG...", show_default=False)],
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT.html|OUT.png", help="What to write.")
    ],
) -> None:
    """Draw loss, outputs and learning rate over iterations, from the logs of trainings."""
    chart.check(output)
    read = {str(path): curves.read(path) for path in logs}
    chart.save(charts(read), output, ", ".join(read))
    say_file(output)
