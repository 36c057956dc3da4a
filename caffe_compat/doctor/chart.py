"""Curves over a net's depth on a logarithmic axis, as SVG without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import ceil, floor, inf, isfinite, log10
from typing import NamedTuple

WIDTH, HEIGHT = 480, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 12, 40
_TICKS = 8
_FARTHEST = 16  # decades either way; values beyond are drawn at the edge


class Curve(NamedTuple):
    """One line: a value or None for each depth; `style` is its CSS class."""

    label: str
    values: Sequence[float | None]
    style: str


class Decades(NamedTuple):
    """The span of a logarithmic axis in powers of ten, with a tick each `step`."""

    low: int
    high: int
    step: int

    def place(self, value: float) -> float:
        """Return a value's position on the axis, 0 to 1; that of the end if it is beyond."""
        if not 0 < value < inf:
            return 0.0 if value <= 0 else 1.0
        return min(1.0, max(0.0, (log10(value) - self.low) / (self.high - self.low)))


def decades(values: Sequence[float | None], ticks: int = _TICKS) -> Decades:
    """Return an axis for these values that always shows 1e-4 to 1e4."""
    powers = [log10(v) for v in values if v is not None and isfinite(v) and v > 0]
    low = max(-_FARTHEST, floor(min([-4.0, *powers])))
    high = min(_FARTHEST, ceil(max([4.0, *powers])))
    step = ceil((high - low) / ticks)
    return Decades(step * floor(low / step), step * ceil(high / step), step)


def draw(title: str, names: Sequence[str], curves: Sequence[Curve]) -> str:
    """Return the curves as one SVG.

    Args:
        title: the label for screen readers.
        names: the layer's name at each depth, for the points' tooltips.
        curves: the lines, the first one lowest.
    """
    axis = decades([value for curve in curves for value in curve.values])
    lines = "".join(_line(curve, names, axis) for curve in curves)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{_grid(axis, len(names))}{lines}</svg>"
    )


def marker(kind: int, x: float, y: float, inner: str = "") -> str:
    """Return the mark of line `kind` at a position; shapes tell lines apart without colour."""
    shape = kind % 5
    if shape == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4">{inner}</circle>'
    corners = (
        ((-3.2, -3.2), (3.2, -3.2), (3.2, 3.2), (-3.2, 3.2)),
        ((0, -4.4), (4, 3.2), (-4, 3.2)),
        ((0, -4.6), (4.6, 0), (0, 4.6), (-4.6, 0)),
        ((0, 4.4), (4, -3.2), (-4, -3.2)),
    )[shape - 1]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}">{inner}</polygon>'


def _x(i: int, count: int) -> float:
    return _LEFT + 8 + (WIDTH - _LEFT - _RIGHT - 16) * (i / (count - 1) if count > 1 else 0.5)


def _y(share: float) -> float:
    return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - share)


def _grid(axis: Decades, count: int) -> str:
    left, right = _LEFT, WIDTH - _RIGHT
    top, bottom = _y(axis.place(1e3)), _y(axis.place(1e-3))
    parts = [
        f'<rect class="band" x="{left}" y="{top:.1f}" width="{right - left}" '
        f'height="{bottom - top:.1f}"/>'
    ]
    for power in range(axis.low, axis.high + 1, axis.step):
        y = _y((power - axis.low) / (axis.high - axis.low))
        style = "one" if power == 0 else "grid"
        parts.append(f'<line class="{style}" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        text = f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{_power(power)}</text>'
        parts.append(text)
    every = max(1, ceil(count / 10))
    for i in range(0, count, every):
        x, y = _x(i, count), HEIGHT - _BOTTOM
        parts.append(f'<text x="{x:.1f}" y="{y + 16}" text-anchor="middle">{i + 1}</text>')
    middle = (left + right) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">'
        "layers with weights, in order</text>"
    )
    return "".join(parts)


def _power(power: int) -> str:
    if power == 0:
        return "1"
    return f'10<tspan dy="-5" font-size="75%">{str(power).replace("-", "−")}</tspan>'


def _line(curve: Curve, names: Sequence[str], axis: Decades) -> str:
    count = len(names)
    known = [(i, v) for i, v in enumerate(curve.values) if v is not None]
    points = [(_x(i, count), _y(axis.place(v)), names[i], v) for i, v in known]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in points)
    parts = [f'<polyline points="{path}"/>'] if points else []
    if curve.style.startswith("run"):
        kind = int(curve.style.removeprefix("run"))
        for x, y, name, value in points:
            tip = f"<title>{escape(curve.label)}, {escape(name)}: {value:.3g}</title>"
            parts.append(marker(kind, x, y, tip))
    return f'<g class="{curve.style}">{"".join(parts)}</g>'
