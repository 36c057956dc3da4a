"""The tables of a net for `show`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..net.filler_summary import FillerSummary, summarize_fillers
from ..net.rectifiers import Rectifier
from ..net.slopes import decayed
from ..net.summary import summarize
from ..onnx.costs import Cost, Costs, costs
from ..options import Filling, Reading
from ..packed import read_graph
from ..pages.net_page import net_page
from ..steps import fill
from ..text import table
from ..weights import read as read_weights
from ..weights.trained import Weights
from .terminal import say

if TYPE_CHECKING:
    from ..doctor import Finding


def show(
    prototxt: Path, reading: Reading, weights: Weights | None, *, fillers: bool
) -> Iterator[str]:
    """Read a net and return its table, that of its layers or of its fillers."""
    graph = read_graph(prototxt, None, reading)
    if names := decayed(graph):
        say(
            "warning: weight decay reaches the slopes of PReLU layers without "
            f"param {{ decay_mult: 0 }}: {', '.join(names)}",
            err=True,
        )
    if fillers:
        return show_fillers(summarize_fillers(graph, weights))
    return iter(str(summarize(graph)).split("\n"))


def show_fillers(fillers: Sequence[FillerSummary]) -> Iterator[str]:
    """Yield a line for every blob of weights: the slope of `--slopes auto`, and its own filler.

    The std is the one that the rectifiers ask for; only an msra filler uses it, under
    `--slopes auto`. The last column is the root mean square of the filler's own values.
    """
    heads = ("layer", "blob", "filler", "norm", "n", "rectifier", "a", "std", "filler's")
    yield from table([heads, *map(_filler, fillers)])


def _filler(row: FillerSummary) -> Sequence[str]:
    return (
        row.layer,
        row.blob,
        row.filler,
        row.norm,
        f"{row.n:.10g}",
        " | ".join(_few(r.layers) or "linear" for r in row.rectifiers),
        " | ".join(_slope(r) for r in row.rectifiers),
        "" if row.std is None else f"{row.std:.6g}",
        "?" if row.rms is None else f"{row.rms:.6g}",
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _slope(rectifier: Rectifier) -> str:
    """Return the a, or if there is none the second moment in the place of ½ (1 + a²)."""
    a = rectifier.slope
    return f"E[f²]={rectifier.gain / 2:.6g}" if a is None else f"{a:.6g}"


def count(prototxt: Path, reading: Reading) -> Costs:
    """Read a net and count its costs."""
    return costs(read_graph(prototxt, None, reading))


def page(prototxt: Path, weights: Path | None, reading: Reading, *, doctor: bool = False) -> str:
    """Read a net and return its page, with the findings of an examination if that is asked for."""
    stored = read_weights(weights) if weights else None
    graph = read_graph(prototxt, stored, reading)
    findings: dict[str, list[str]] = {}
    if doctor:
        from ..doctor import diagnose  # here, since it loads onnxruntime

        for finding in diagnose(prototxt, stored, reading=reading).findings:
            for name in finding.layers:
                findings.setdefault(name, []).append(_finding(finding))
    html: str = net_page(fill(graph, stored, Filling()) if stored else graph, findings)
    return html


def _finding(finding: Finding) -> str:
    text = f"{finding.severity}: {finding.message}"
    if finding.remedy is None:
        return text
    lines = dict.fromkeys(change.line for change in finding.remedy.changes)
    effects = "; ".join(map(str, finding.remedy.effects))
    return f"{text}. Remedy: {' or '.join(lines)} (measured: {effects})"


def show_costs(total: Costs) -> Iterator[str]:
    """Yield a line for every layer that costs something, and the totals; `*` marks the dearest."""
    heads = ("layer", "type", "multiply-adds", "other", "parameters", "bytes", "moved", "sees")
    dearest = {id(cost) for cost in total.dearest()}
    yield f"net {total.net!r}, for one image"
    yield from table([heads, *(_cost(cost, id(cost) in dearest) for cost in total.layers)])
    yield (
        f"{len(total.layers)} layers, {total.total('multiply_adds'):,} multiply-adds, "
        f"{total.total('operations'):,} other operations, {total.total('parameters'):,} parameters"
    )
    yield (
        f"{total.total('activations'):,} bytes of blobs, {total.total('moved'):,} bytes moved, "
        f"{total.peak:,} bytes in use at most"
    )


def _cost(cost: Cost, dear: bool) -> Sequence[str]:
    sees = ""
    if cost.field is not None:
        (height, width), (down, across) = cost.field.size, cost.field.stride
        sees = f"{height:g}x{width:g} every {down:g}x{across:g}"
    return (
        f"{cost.layer}{' *' if dear else ''}",
        cost.type,
        f"{cost.multiply_adds:,}",
        f"{cost.operations:,}",
        f"{cost.parameters:,}",
        f"{cost.activations:,}",
        f"{cost.moved:,}",
        cost.note or sees,
    )
