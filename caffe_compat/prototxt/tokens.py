"""The words of a prototxt's text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# An unterminated string is a token too, so that no input makes the scan quadratic.
_TOKEN = re.compile(
    r"""(?:\s|\#[^\n]*)+
    | (?P<string> "(?:[^"\\\n]|\\[^\n])*"? | '(?:[^'\\\n]|\\[^\n])*'? )
    | (?P<word> [\w.+-]+ )
    | (?P<mark> . )""",
    re.VERBOSE | re.DOTALL,
)


class Token(NamedTuple):
    """A string, a word or a mark of a prototxt's text, and where it is."""

    kind: str  # "string", "word" or "mark"
    text: str
    start: int
    end: int


def tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of a prototxt's text, without comments."""
    for match in _TOKEN.finditer(text):
        if match.lastgroup:
            yield Token(match.lastgroup, match.group(), *match.span())
