"""The doctor's findings as one page of HTML, without scripts, network or other files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import isfinite

from .chart import Curve, draw, marker
from .diagnosis import Diagnosis
from .patient import Finding
from .signals import Signal

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #fff; --line: #d0d7de;
  --band: #0072b212; --bad: #b3261e; --warn: #8a5300; --note: #57606a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b1; --paper: #0d1117;
  --line: #30363d; --band: #56b4e91c; --bad: #ff8a80; --warn: #f0b354; --note: #9da7b1; } }
@media print { :root { --ink: #000; --soft: #333; --paper: #fff; --line: #bbb; --band: #0072b212;
  --bad: #b3261e; --warn: #8a5300; --note: #333; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--paper);
  color: var(--ink);
  font: 16px/1.45 system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; break-after: avoid; }
p { margin: .3rem 0; } .soft { color: var(--soft); font-size: .9rem; }
.charts { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
figure { margin: 0; break-inside: avoid; } figcaption { font-weight: 600; }
svg { width: 100%; height: auto; display: block; font-size: 13px; }
svg text { fill: var(--soft); } .grid { stroke: var(--line); stroke-width: .6; }
.one { stroke: var(--soft); stroke-width: 1; } .band { fill: var(--band); }
polyline { fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linejoin: round; }
circle, polygon { fill: currentColor; stroke: var(--paper); stroke-width: .6; }
.run0 polyline { stroke-width: 4; stroke-opacity: .55; }
.theory { color: var(--ink); } .theory polyline { stroke-width: 1.2; stroke-dasharray: 2 4; }
.run0 { color: #0072b2; } .run1 { color: #d55e00; } .run2 { color: #009e73; }
.run3 { color: #b8639a; } .run4 { color: #b07d00; }
@media (prefers-color-scheme: dark) { .run0 { color: #56b4e9; } .run1 { color: #ff8c42; }
  .run2 { color: #2bc79a; } .run3 { color: #e29bc6; } .run4 { color: #e6b422; } }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; padding: 0;
  margin: .5rem 0; }
.legend svg { width: 34px; height: 14px; display: inline-block; vertical-align: -2px; }
.finding { border: 1px solid var(--line); border-left-width: 6px; border-radius: 6px;
  padding: .6rem .8rem;
  margin: .6rem 0; break-inside: avoid; overflow-wrap: anywhere; }
.severe { border-left-color: var(--bad); } .warning { border-left-color: var(--warn); }
.kind { font-weight: 700; text-transform: uppercase; font-size: .8rem; letter-spacing: .04em; }
.severe .kind { color: var(--bad); } .warning .kind { color: var(--warn); }
code { font: .9rem ui-monospace, "DejaVu Sans Mono", monospace; background: var(--band);
  padding: .1rem .3rem;
  border-radius: 4px; white-space: pre-wrap; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums;
  width: 100%; }
th, td { padding: .2rem .5rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0;
  background: var(--paper); }
thead tr + tr th:first-child { position: static; text-align: right; }
th[colspan] { text-align: center; } .text { text-align: left; }
  thead th { border-bottom-width: 2px; } .off { color: var(--bad);
  font-weight: 700; }
@media (max-width: 34rem) { svg { font-size: 16px; } }
@media print { body { font-size: 10pt; padding: 0; max-width: none; } .wide { overflow: visible; }
  .charts { grid-template-columns: 1fr 1fr; } table { font-size: 7.5pt; }
  th, td { padding: .1rem .25rem; }
  thead { display: table-header-group; } tr { break-inside: avoid; } }
"""


def render(diagnosis: Diagnosis) -> str:
    """Return a diagnosis as a page of HTML."""
    name = escape(diagnosis.net or "unnamed net")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Signals of {name}</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
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
</main>
</body>
</html>
"""


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
    shown = ", ".join(map(escape, finding.layers[:8]))
    rest = len(finding.layers) - 8
    more = f" and {rest} more" if rest > 0 else ""
    return f"""<article class="finding {finding.severity}">
<p><span class="kind">{finding.severity}</span> <strong>{shown}</strong>{more}</p>
<p>{escape(finding.message)}</p>
<p><code>{escape(finding.remedy)}</code></p>
</article>
"""


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
