"""`caffe-compat doctor`: whether a net's signals survive its depth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from ..data.reading import open_batches
from ..doctor import Diagnosis, Finding, diagnose, render, say_layers, variant
from ..files import atomic, check_outputs
from ..npy import read_array
from ..options import Reading
from ..text import printable
from ..types import AnyArray
from . import options, preprocessing
from .curves import legend, plot
from .terminal import say_file

_LINES = 4  # of a remedy; more do not fit a screen
SEVERE = 3
"""The exit status if the net will hardly train."""

_STYLES = {"severe": "bold red", "warning": "yellow", "note": "dim"}


def command(
    net: options.Prototxt,
    *,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="Trained weights to examine.")
    ] = None,
    trials: Annotated[
        int, typer.Option("--trials", metavar="K", min=1, help="How many draws to average.")
    ] = 3,
    compare: Annotated[
        str,
        typer.Option(
            "--compare",
            metavar="xavier,msra,msra:auto,msra:residual,gaussian:0.01",
            help="Other fillers to measure the net under.",
        ),
    ] = "",
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DIR|FILE.npy|net",
            help="Data for the first input (default N(0, 1)): images, an array, or a batch of "
            "the net's own.",
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="REPORT.html", help="Write a page.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers.")
    ] = None,
    drawing: options.Drawing,
    prep: preprocessing.Options,
    selection: options.Selection,
) -> None:
    """Measure a net's signals and find what its fillers do to them.

    Forward and backward, over random input. The exit status is 3 if a finding is severe.
    """
    pictures = data not in (None, "net") and Path(str(data)).suffix != ".npy"
    if prep.used and not pictures:
        raise typer.BadParameter("preprocessing options go with --data DIR", param_hint="--data")
    check_outputs([html, json], [net, weights])
    diagnosis = diagnose(
        net,
        weights,
        reading=selection.reading(),
        drawing=drawing.filling(),
        trials=trials,
        data=None if pictures else _read(data, net, selection.reading(), drawing.seed),
        pictures=data if pictures else None,
        preprocess=lambda graph: prep.choose(graph, net),
        compare=[variant(text.strip()) for text in compare.split(",") if text.strip()],
    )
    _report(diagnosis)
    for path, text in ((html, render), (json, Diagnosis.to_json)):
        if path is not None:
            with atomic(path) as target:
                target.write_text(text(diagnosis), encoding="utf-8")
            say_file(path)
    if diagnosis.severe:
        raise typer.Exit(SEVERE)


def _read(
    data: str | None, net: Path, reading: Reading, seed: int
) -> AnyArray | dict[str, AnyArray] | None:
    if data != "net":
        return None if data is None else read_array(data)
    with open_batches(net, reading, seed) as reader:
        return next(reader)


def _report(diagnosis: Diagnosis) -> None:
    """Draw the curves on the terminal, and list the findings."""
    console = Console(highlight=False)
    names = [run.label for run in diagnosis.runs]
    forward = [[s.forward / diagnosis.moment for s in run.weighted] for run in diagnosis.runs]
    backward = [[s.gradient for s in run.weighted] for run in diagnosis.runs]
    counts = f"{len(forward[0])} layers with weights, {diagnosis.trials} trials"
    console.print(f"{printable(diagnosis.net) or 'unnamed net'}: {counts}", markup=False)
    if forward[0]:
        console.print(legend(names, console))
        console.print(plot("forward: Var[y] over the input's mean square", forward, console))
        title = "backward: the gradient's sum of squares, over that at the net's end"
        console.print(plot(title, backward, console))
    if len(diagnosis.runs) > 1:
        for run in diagnosis.runs:
            arrives = f"forward {run.forward:.2g}, backward {run.backward:.2g}"
            console.print(f"{printable(run.label)}: {arrives}", markup=False)
    for finding in diagnosis.findings:
        _say(finding, console)
    if not diagnosis.findings:
        console.print("no findings")


def _say(finding: Finding, console: Console) -> None:
    """Print a finding, its lines for the prototxt, and what they were measured to do."""
    line = Text(f"{finding.severity}: ", _STYLES[finding.severity])
    text = f"{say_layers(finding.layers)}: {finding.message}"
    line.append(printable(text), "default")
    console.print(line, soft_wrap=True)
    if finding.remedy is None:
        return
    changes = finding.remedy.changes
    for change in changes[:_LINES]:
        console.print(Text(printable(f"    {change.line}"), "bold"), soft_wrap=True)
        if change.layers != finding.layers:
            console.print(f"        in {printable(say_layers(change.layers))}", markup=False)
    if len(changes) > _LINES:
        rest = sum(len(change.layers) for change in changes[_LINES:])
        console.print(f"    and {rest} more layers: --json FILE has every line")
    effects = "; ".join(map(str, finding.remedy.effects))
    console.print(f"    measured with it: {printable(effects)}", markup=False)
