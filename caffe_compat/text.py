"""Strangers' text made safe to show: a model file may have names of any letters and any length."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

_LONGEST_WORD = 300  # letters of one name in a message, from which its middle is left out
_LONGEST = 16_384  # letters of a message
_WIDEST = 80  # letters of a column, so that one long name does not widen every row
_LONG = re.compile(rf"'[^']{{{_LONGEST_WORD},}}'|\S{{{_LONGEST_WORD},}}")


def printable(text: str) -> str:
    """Return the text with its control characters, except line ends and tabs, as JSON's escapes.

    Such characters would steer the terminal that shows a name, or the page.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else json.dumps(c)[1:-1] for c in text)


def one_line(text: str) -> str:
    """Return the text in one line: `printable`, and line ends as their escapes."""
    return printable(text).replace("\n", "\\n")


def message(text: str) -> str:
    """Return the text as a message of one line, with the middle of long names left out.

    A line end with the spaces around it becomes one space, as in another library's message.
    """
    text = printable(re.sub(r"\s*[\r\n]\s*", " ", text).strip()).replace("\t", "\\t")
    text = _LONG.sub(lambda word: f"{word[0][:200]}…{word[0][-50:]}", text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def list_names(names: Sequence[str], most: int = 5) -> str:
    """Return names with commas, and behind the first ones how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most + 1 else ""
    return ", ".join(names[: most if more else most + 1]) + more


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the rows with their columns aligned."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [min(_WIDEST, max(map(len, column))) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def say_shape(dims: Sequence[int | None]) -> str:
    """Return a shape as 1x3x224x224, with a ? for an axis of any size."""
    return "x".join("?" if n is None else str(n) for n in dims) or "scalar"
