"""`caffe-compat doctor`: whether a net's signals survive its depth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .curves import legend, plot
from .terminal import printable, say

if TYPE_CHECKING:
    from caffe_compat.doctor import Diagnosis
    from caffe_compat.net.graph import Graph

SEVERE = 3
"""The exit status where the net will hardly train."""

_STYLES = {"severe": "bold red", "warning": "yellow", "note": "dim"}


def command(
    net: options.Prototxt,
    *,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="Trained weights to look at.")
    ] = None,
    trials: Annotated[
        int, typer.Option("--trials", metavar="K", min=1, help="How many draws to average.")
    ] = 3,
    compare: Annotated[
        str,
        typer.Option(
            "--compare",
            metavar="xavier,msra,msra:auto,gaussian:0.01",
            help="Other fillers to measure the net under.",
        ),
    ] = "",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="FILE.npy", help="What to feed the first input; else N(0, 1)."
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="REPORT.html", help="Write a page.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers.")
    ] = None,
    filling: options.Filling,
    selection: options.Selection,
) -> None:
    """Measure a net's signals, forward and back, and say what its fillers do to them.

    The exit status is 3 where something severe is found.
    """
    from caffe_compat import doctor, files, pipeline
    from caffe_compat import weights as weights_files
    from caffe_compat.doctor.page import render

    variants = [doctor.variant(text.strip()) for text in compare.split(",") if text.strip()]
    array = None if data is None else files.read_array(data)
    held = None if weights is None else weights_files.read(weights)

    def read(shapes: dict[str, Any]) -> Graph:
        return pipeline.read(net, held, **selection.keywords() | {"inputs": shapes})

    shapes: dict[str, Any] = dict(selection.shapes)
    graph = read(shapes)
    if array is not None and graph.inputs and array.shape != graph.inputs[0].shape:
        graph = read(shapes | {graph.inputs[0].blob: array.shape})
    diagnosis = doctor.examine(
        graph,
        held,
        trials=trials,
        data=array,
        compare=variants,
        **filling.keywords(),
    )
    report(diagnosis)
    for path, text in ((html, render), (json, doctor.Diagnosis.to_json)):
        if path is not None:
            with files.atomic(path) as target:
                target.write_text(text(diagnosis), encoding="utf-8")
            say(f"{path}  {path.stat().st_size:,} bytes")
    if diagnosis.severe:
        raise typer.Exit(SEVERE)


def report(diagnosis: Diagnosis) -> None:
    """Draw the curves on the terminal, and list the findings."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    names = [run.label for run in diagnosis.runs]
    forward = [[s.forward / diagnosis.moment for s in run.weighted] for run in diagnosis.runs]
    backward = [[s.kept for s in run.weighted] for run in diagnosis.runs]
    about = f"{len(forward[0])} layers with weights, {diagnosis.trials} trials"
    console.print(f"{printable(diagnosis.net) or 'unnamed net'}: {about}", markup=False)
    if forward[0]:
        console.print(legend(names, console))
        console.print(plot("forward: Var[y] over the input's mean square", forward, console))
        title = "backward: the gradient's sum of squares, over that at the net's end"
        console.print(plot(title, backward, console))
    for finding in diagnosis.findings:
        more = f" and {len(finding.layers) - 4} more" if len(finding.layers) > 4 else ""
        where = ", ".join(finding.layers[:4]) + more
        line = Text(f"{finding.severity}: ", _STYLES[finding.severity])
        line.append(printable(f"{where}: {finding.message}\n"), "default")
        line.append(printable(f"    {finding.remedy}"), "bold")
        console.print(line, soft_wrap=True)
    if not diagnosis.findings:
        console.print("nothing found")
