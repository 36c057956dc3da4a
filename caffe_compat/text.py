"""Strangers' text made safe to show: a model file may have names of any letters and any length."""

from __future__ import annotations

import json
import re

_LONGEST_WORD = 300  # letters of one name in a message; a path is rarely longer
_LONGEST = 16_384  # letters of a message
_WORD = re.compile(rf"\S{{{_LONGEST_WORD + 1},}}")


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
    text = printable(re.sub(r"\s*[\r\n]\s*", " ", text).strip())
    text = _WORD.sub(lambda word: f"{word[0][:200]}…{word[0][-50:]}", text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
