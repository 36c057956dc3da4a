"""Charts of lines, as a page of HTML without scripts or as a PNG picture."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ..errors import CaffeCompatError
from ..files import atomic, check_outputs
from ..text import printable

WIDTH, HEIGHT = 560, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 34, 44
_TICKS = 6
_KEY_COLUMNS, _KEY_ROW = 2, 16
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b8639a", "#b07d00", "#56b4e9", "#444444")
_DASHES = ((), (7, 4), (2, 3))


@dataclass(frozen=True)
class Line:
    """One line: `y` over `x`; values that are not finite leave a gap."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Chart:
    """Lines over one pair of axes.

    Attributes:
        title: what stands above.
        lines: the lines.
        across: what the horizontal axis is.
        log: whether the vertical axis is logarithmic.
    """

    title: str
    lines: Sequence[Line]
    across: str = "iterations"
    log: bool = False


@dataclass(frozen=True)
class _Stroke:
    points: tuple[tuple[float, float], ...]
    colour: str
    width: float
    dash: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Text:
    x: float
    y: float
    text: str
    anchor: str  # start, middle or end
    colour: str = "#57606a"
    bold: bool = False


def check(path: str | Path) -> None:
    """Refuse a path that charts cannot be written to.

    Raises:
        CaffeCompatError: the suffix is neither .html nor .png, or the file cannot be written.
    """
    if Path(path).suffix not in (".html", ".png"):
        raise CaffeCompatError(f"{path}: curves are written as .html or .png")
    check_outputs([path])


def save(charts: Sequence[Chart], path: str | Path, heading: str = "") -> None:
    """Write charts to a file.

    Args:
        charts: the charts, one below the other.
        path: a `.html` or a `.png` file.
        heading: what the page is about.

    Raises:
        CaffeCompatError: the suffix is neither, or the file cannot be written.
    """
    check(path)
    with atomic(path) as target:
        if Path(path).suffix == ".html":
            target.write_text(_page(charts, heading), encoding="utf-8")
        else:
            _picture(charts, target)


# -- geometry: strokes and texts, whatever draws them ------------------------------------------


def _marks(chart: Chart) -> Iterator[_Stroke | _Text]:
    xs = [x for line in chart.lines for x in line.x]
    ys = [y for line in chart.lines for y in line.y if _shown(y, chart)]
    across = _Axis(min(xs, default=0), max(xs, default=1), log=False)
    up = _Axis(min(ys, default=0), max(ys, default=1), log=chart.log)
    yield _Text(WIDTH / 2, 16, chart.title, "middle", "#1b1f24", bold=True)
    for value in up.ticks():
        y = _y(up.place(value))
        yield _Stroke(((_LEFT, y), (WIDTH - _RIGHT, y)), "#d0d7de", 0.7)
        yield _Text(_LEFT - 6, y + 4, f"{value:g}", "end")
    for value in across.ticks():
        yield _Text(_x(across.place(value)), HEIGHT - _BOTTOM + 16, f"{value:g}", "middle")
    yield _Text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 6, chart.across, "middle")
    for i, line in enumerate(chart.lines):
        colour = _COLOURS[i % len(_COLOURS)]
        dash = _DASHES[i // len(_COLOURS) % len(_DASHES)]
        for run in _runs(line, chart):
            points = tuple((_x(across.place(x)), _y(up.place(y))) for x, y in run)
            yield _Stroke(points, colour, 1.6, dash)
        yield from _key(i, line.label, colour, dash)


def _key(i: int, label: str, colour: str, dash: tuple[int, ...]) -> Iterator[_Stroke | _Text]:
    """Yield which line is which, below the axis in columns."""
    if not label:
        return
    row, column = divmod(i, _KEY_COLUMNS)
    x = _LEFT + column * (WIDTH - _LEFT - _RIGHT) / _KEY_COLUMNS
    y = HEIGHT + 12 + _KEY_ROW * row
    yield _Stroke(((x, y - 4), (x + 26, y - 4)), colour, 2.2, dash)
    yield _Text(x + 32, y, label, "start", "#1b1f24")


def _height(chart: Chart) -> int:
    """Return the height of a chart with its key."""
    labelled = any(line.label for line in chart.lines)
    rows = -(-len(chart.lines) // _KEY_COLUMNS) if labelled else 0
    return HEIGHT + _KEY_ROW * rows + (12 if rows else 0)


def _runs(line: Line, chart: Chart) -> Iterator[list[tuple[float, float]]]:
    """Yield the line's stretches without a gap."""
    run: list[tuple[float, float]] = []
    for x, y in zip(line.x, line.y, strict=True):
        if _shown(y, chart):
            run.append((x, y))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _shown(y: float, chart: Chart) -> bool:
    return math.isfinite(y) and (y > 0 or not chart.log)


class _Axis:
    """The span of an axis, widened to round numbers, and where values stand on it."""

    def __init__(self, low: float, high: float, *, log: bool) -> None:
        self._log = log
        if log:
            self.low: float = math.floor(math.log10(low) if low > 0 else 0)
            self.high: float = max(math.ceil(math.log10(high) if high > 0 else 0), self.low + 1)
            self._step: float = max(1, math.ceil((self.high - self.low) / _TICKS))
            return
        high = high if high > low else low + (abs(low) or 1)
        raw = (high - low) / _TICKS
        power = 10 ** math.floor(math.log10(raw))
        self._step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
        self.low = math.floor(low / self._step + 1e-9) * self._step
        self.high = math.ceil(high / self._step - 1e-9) * self._step

    def ticks(self) -> list[float]:
        """Return the values to mark."""
        count = round((self.high - self.low) / self._step)
        values = [self.low + i * self._step for i in range(count + 1)]
        return [10**v for v in values] if self._log else [round(v, 12) for v in values]

    def place(self, value: float) -> float:
        """Return a value's place, 0 to 1."""
        value = math.log10(value) if self._log else value
        return (value - self.low) / (self.high - self.low)


def _x(share: float) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * share


def _y(share: float) -> float:
    return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - share)


# -- as HTML -----------------------------------------------------------------------------------


def _page(charts: Sequence[Chart], heading: str) -> str:
    figures = "".join(f"<figure>{_svg(chart)}</figure>" for chart in charts)
    return printable(
        '<!DOCTYPE html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(heading or 'Training')}</title>"
        "<style>body{font:16px system-ui,sans-serif;margin:1rem auto;max-width:74rem;"
        "padding:0 1rem;background:#fff;color:#1b1f24}main{display:grid;gap:1rem;"
        "grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr))}"
        "figure{margin:0}svg{width:100%;height:auto}svg text{font:12px system-ui,sans-serif}"
        f"</style><h1>{escape(heading)}</h1><main>{figures}</main></html>\n"
    )


def _svg(chart: Chart) -> str:
    label = escape(chart.title)
    parts = [f'<svg viewBox="0 0 {WIDTH} {_height(chart)}" role="img" aria-label="{label}">']
    for mark in _marks(chart):
        if isinstance(mark, _Text):
            weight = ' font-weight="600"' if mark.bold else ""
            parts.append(
                f'<text x="{mark.x:.1f}" y="{mark.y:.1f}" text-anchor="{mark.anchor}" '
                f'fill="{mark.colour}"{weight}>{escape(mark.text)}</text>'
            )
        else:
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in mark.points)
            dash = f' stroke-dasharray="{" ".join(map(str, mark.dash))}"' if mark.dash else ""
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{mark.colour}" '
                f'stroke-width="{mark.width}" stroke-linejoin="round"{dash}/>'
            )
    return "".join(parts) + "</svg>"


# -- as PNG ------------------------------------------------------------------------------------

_SCALE = 3  # drawn so many times as large as a unit, of which one becomes anti-aliasing
_FINAL = 1.5


def _picture(charts: Sequence[Chart], path: Path) -> None:
    from PIL import Image, ImageDraw

    tops = [0, *itertools.accumulate(map(_height, charts))]
    height = tops[-1] or HEIGHT
    image = Image.new("RGB", (WIDTH * _SCALE, height * _SCALE), "white")
    pen = ImageDraw.Draw(image)
    for chart, top in zip(charts, tops, strict=False):
        for mark in _marks(chart):
            _draw(pen, mark, top)
    size = (round(WIDTH * _FINAL), round(height * _FINAL))
    image.resize(size, Image.Resampling.LANCZOS).save(path, "PNG", optimize=True)


def _draw(pen: Any, mark: _Stroke | _Text, down: float) -> None:
    from PIL import ImageFont

    if isinstance(mark, _Text):
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[mark.anchor]
        place = (mark.x * _SCALE, (mark.y + down) * _SCALE)
        font = ImageFont.load_default(13 * _SCALE)
        pen.text(place, mark.text, mark.colour, font=font, anchor=anchor)
        return
    points = [(x * _SCALE, (y + down) * _SCALE) for x, y in mark.points]
    for run in _dashed(points, mark.dash):
        pen.line(run, mark.colour, max(1, round(mark.width * _SCALE)), joint="curve")


def _dashed(
    points: list[tuple[float, float]], dash: tuple[int, ...]
) -> Iterator[list[tuple[float, float]]]:
    """Yield a line's strokes; Pillow has no dashes."""
    if not dash:
        yield points
        return
    walked = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        length = math.hypot(x1 - x0, y1 - y0)
        done = 0.0
        while done < length:
            phase = (walked + done) % (sum(dash) * _SCALE)
            on = phase < dash[0] * _SCALE
            left = (dash[0] * _SCALE if on else sum(dash) * _SCALE) - phase
            step = min(max(left, 0.5), length - done)
            if on:
                a, b = done / length, (done + step) / length
                ends = [(x0 + (x1 - x0) * t, y0 + (y1 - y0) * t) for t in (a, b)]
                yield ends
            done += step
        walked += length
