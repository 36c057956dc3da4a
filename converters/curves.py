"""Curves over a net's depth, drawn in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ..doctor.chart import decades

_ROWS = 13
_MARKS = {"utf": "●■▲◆▼", "ascii": "o#^*v"}
_STYLES = ("bright_blue", "dark_orange", "green", "magenta", "yellow")


def legend(labels: Sequence[str], console: Console) -> Text:
    """Return the mark of each line."""
    text = Text()
    for i, label in enumerate(labels):
        text.append(f"{_mark(i, console)} {label}   ", _STYLES[i % 5])
    return text


def plot(title: str, lines: Sequence[Sequence[float | None]], console: Console) -> Text:
    """Draw the lines on a logarithmic axis, one column or more per depth, the first line on top."""
    depth = len(lines[0])
    axis = decades([value for line in lines for value in line], _ROWS - 1)
    rows = (axis.high - axis.low) // axis.step + 1
    width = max(1, min(6, (console.width - 10) // max(depth, 1)))
    blank: list[int | None] = [None] * (depth * width)
    cells = [list(blank) for _ in range(rows)]
    for i, line in reversed(list(enumerate(line[: console.width - 10] for line in lines))):
        for place, value in enumerate(line):
            if value is not None:
                row = rows - 1 - round(axis.place(value) * (rows - 1))
                cells[row][place * width + width // 2] = i
    text = Text(f"\n{title}\n")
    for row, marks in enumerate(cells):
        power = axis.high - row * axis.step
        text.append(f"{'1' if power == 0 else f'1e{power:+03d}':>6} |", "dim")
        rule = "-" if power == 0 else "." if abs(power) == 3 else " "
        for mark in marks:
            if mark is None:
                text.append(rule, "dim")
            else:
                text.append(_mark(mark, console), _STYLES[mark % 5])
        text.append("\n")
    return text.append(f"{'':7}1{depth:>{depth * width - 1}}", "dim")


def _mark(i: int, console: Console) -> str:
    marks = _MARKS["utf" if console.encoding.lower().startswith("utf") else "ascii"]
    return marks[i % len(marks)]
