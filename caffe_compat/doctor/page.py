"""The doctor's findings as one page of HTML, without scripts, network or other files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import isfinite

from ..pages.document import asset, document
from .chart import Curve, draw, marker
from .diagnosis import Diagnosis
from .finding import Finding, say_layers
from .signals import Signal


def render(diagnosis: Diagnosis) -> str:
    """Return a diagnosis as a page of HTML."""
    name = escape(diagnosis.net or "unnamed net")
    body = f"""<header>
<h1>Signals of {name}</h1>
<p>{_summary(diagnosis)}</p>
<p class="soft">Seed {diagnosis.seed}, {_count(diagnosis.trials, "trial")}; mean square of the input
{diagnosis.moment:.3g}.</p>
</header>
<main>
<section aria-label="Curves">
{_legend(diagnosis)}
<div class="charts">
{_forward(diagnosis)}
{_backward(diagnosis)}
</div>
<p class="soft">Shaded: within a factor of a thousand of 1. Theory: the products of
½ (1 + a²) n E[w²] (He et al. 2015, equations 9 and 13), which ignore pooling. Values beyond the
axis are drawn at its edge.</p>
</section>
<section>
<h2>Findings</h2>
{"".join(map(_finding, diagnosis.findings)) or "<p>No findings.</p>"}
</section>
{_comparison(diagnosis)}
<section>
<h2>Every layer, as written</h2>
{_layers(diagnosis)}
</section>
</main>"""
    return document(f"Signals of {diagnosis.net or 'unnamed net'}", body, asset("page.css"))


def _summary(diagnosis: Diagnosis) -> str:
    severe = sum(finding.severity == "severe" for finding in diagnosis.findings)
    if severe:
        return f"<strong>{_count(severe, 'severe finding')}</strong> of {len(diagnosis.findings)}."
    return f"Nothing severe; {_count(len(diagnosis.findings), 'finding')}."


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _over(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _legend(diagnosis: Diagnosis) -> str:
    def item(style: str, mark: str, label: str) -> str:
        lines = f'<g class="{style}"><polyline points="1,7 33,7"/>{mark}</g>'
        return f'<li><svg viewBox="0 0 34 14" aria-hidden="true">{lines}</svg> {escape(label)}</li>'

    labels = [run.label for run in diagnosis.runs]
    runs = [item(f"run{i % 5}", marker(i, 17, 7), label) for i, label in enumerate(labels)]
    return f'<ul class="legend">{"".join(runs)}{item("theory", "", "theory, as written")}</ul>'


def _forward(diagnosis: Diagnosis) -> str:
    unit = diagnosis.moment
    return _figure(
        diagnosis,
        "Forward",
        "Var[y] of each layer’s output, over the input’s mean square",
        [[s.forward / unit for s in run.weighted] for run in diagnosis.runs],
        [_over(s.theory_forward, unit) for s in diagnosis.runs[0].weighted],
    )


def _backward(diagnosis: Diagnosis) -> str:
    return _figure(
        diagnosis,
        "Backward",
        "Sum of squares of the gradient at each layer’s input, over that at the net’s end",
        [[s.gradient for s in run.weighted] for run in diagnosis.runs],
        [s.theory_gradient for s in diagnosis.runs[0].weighted],
    )


def _figure(
    diagnosis: Diagnosis,
    title: str,
    caption: str,
    values: Sequence[Sequence[float | None]],
    theory: Sequence[float | None],
) -> str:
    runs = diagnosis.runs
    curves = [Curve(run.label, values[i], f"run{i % 5}") for i, run in enumerate(runs)]
    curves.append(Curve("theory", theory, "theory"))
    names = [signal.layer for signal in runs[0].weighted]
    return (
        f'<figure><figcaption>{title}</figcaption><p class="soft">{caption}</p>'
        f"{draw(f'{title}: {caption}', names, curves)}</figure>"
    )


def _finding(finding: Finding) -> str:
    layers = escape(say_layers(finding.layers, 8))
    return f"""<article class="finding {finding.severity}">
<p><span class="kind">{finding.severity}</span> <strong>{layers}</strong></p>
<p>{escape(finding.message)}</p>
{_remedy(finding)}</article>
"""


def _remedy(finding: Finding) -> str:
    if finding.remedy is None:
        return ""
    lines = "".join(
        f"<p><code>{escape(change.line)}</code></p>"
        f'<p class="soft">{escape(say_layers(change.layers, 8))}</p>'
        for change in finding.remedy.changes
    )
    effects = escape("; ".join(map(str, finding.remedy.effects)))
    return f'{lines}<p class="soft">Measured: {effects}</p>'


def _comparison(diagnosis: Diagnosis) -> str:
    runs = diagnosis.runs
    if len(runs) == 1:
        return ""
    head = "".join(f'<th colspan="2">{escape(run.label)}</th>' for run in runs)
    under = "<th>forward</th><th>backward</th>" * len(runs)
    rows = []
    for same in zip(*(run.weighted for run in runs), strict=True):
        cells = "".join(
            _cell(signal.forward / diagnosis.moment, judged=True)
            + _cell(signal.gradient, judged=True)
            for signal in same
        )
        rows.append(f"<tr><td>{escape(same[0].layer)}</td><td>{same[0].depth}</td>{cells}</tr>")
    return f"""<section>
<h2>The same net under other fillers</h2>
<div class="wide"><table>
<thead><tr><th rowspan="2">layer</th><th rowspan="2">depth</th>{head}</tr><tr>{under}</tr></thead>
<tbody>{"".join(rows)}</tbody>
</table></div>
</section>"""


_COLUMNS = (
    "layer",
    "type",
    "depth",
    "Var[y]",
    "theory",
    "E[x²]",
    "Var[dx]",
    "theory",
    "sum dx²",
)


def _layers(diagnosis: Diagnosis) -> str:
    head = "".join(f"<th{' class=text' if c == 'type' else ''}>{c}</th>" for c in _COLUMNS)
    rows = "".join(_row(signal, diagnosis.moment) for signal in diagnosis.runs[0].signals)
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
        "</div>"
    )


def _row(signal: Signal, moment: float) -> str:
    cells: Iterable[str] = (
        f"<td>{escape(signal.layer)}</td>",
        f'<td class="text">{escape(signal.type)}</td>',
        f"<td>{signal.depth}</td>",
        _cell(signal.forward, judged=signal.weighted, unit=moment),
        _cell(signal.theory_forward),
        _cell(signal.moment),
        _cell(signal.backward),
        _cell(signal.theory_backward),
        _cell(signal.gradient, judged=signal.weighted),
    )
    return f"<tr>{''.join(cells)}</tr>"


def _cell(value: float | None, *, judged: bool = False, unit: float = 1.0) -> str:
    if value is None:
        return "<td>–</td>"
    off = judged and not 1e-3 <= value / unit <= 1e3
    text = f"{value:.3g}" if isfinite(value) else "overflow"
    return f'<td class="off">{text}</td>' if off else f"<td>{text}</td>"
