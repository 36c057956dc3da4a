"""Read a message's text without its schema."""

from __future__ import annotations

import ast
import re
from typing import Any

from ..errors import ParseError
from .tokens import Token, tokens

_WORDS = {"true": True, "false": False}
_CLOSERS = {"{": "}", "<": ">"}


def parse_mapping(text: str, place: str) -> dict[str, Any]:
    """Return the fields of a message's text: numbers, booleans, strings, mappings; enums as text.

    A field that is given several times, or in brackets, is a list.

    >>> parse_mapping('classes: 20 anchors: 1.08 anchors: 1.19 softmax: true', "region")
    {'classes': 20, 'anchors': [1.08, 1.19], 'softmax': True}

    Args:
        text: the fields, without the brackets around them.
        place: what they belong to, for errors.

    Raises:
        ParseError: the text is no message.
    """
    walk = _Walk([token for token in tokens(text) if token.text not in (",", ";")], place)
    return walk.fields("")


class _Walk:
    def __init__(self, found: list[Token], place: str) -> None:
        self._tokens, self._place, self._at = found, place, 0

    def fields(self, closer: str) -> dict[str, Any]:
        """Return the fields up to a closing bracket, or to the end."""
        fields: dict[str, Any] = {}
        listed: set[str] = set()
        while (token := self._next(closer == "")) is not None and token.text != closer:
            if token.kind != "word":
                raise self._error(token)
            name, values, is_list = token.text, *self._values()
            if is_list or name in fields:
                old = fields.get(name, [])
                fields[name] = [*(old if name in listed else [old] if name in fields else [])]
                fields[name] += values
                listed.add(name)
            else:
                fields[name] = values[0]
        return fields

    def _values(self) -> tuple[list[Any], bool]:
        token = self._take()
        if token.text == ":":
            token = self._take()
        if token.text != "[":
            return [self._value(token)], False
        values = []
        while (token := self._take()).text != "]":
            values.append(self._value(token))
        return values, True

    def _value(self, token: Token) -> Any:
        if token.text in _CLOSERS:
            return self.fields(_CLOSERS[token.text])
        if token.kind == "string":
            return ast.literal_eval(token.text)
        if token.kind != "word":
            raise self._error(token)
        if re.fullmatch(r"[-+]?(?:0[xX][\da-fA-F]+|\d+)", token.text):
            return int(token.text, 0 if "x" in token.text.lower() else 10)
        try:
            return float(re.sub(r"(?<=\d)[fF]$", "", token.text))
        except ValueError:
            return _WORDS.get(token.text, token.text)

    def _next(self, may_end: bool) -> Token | None:
        if self._at == len(self._tokens) and may_end:
            return None
        return self._take()

    def _take(self) -> Token:
        if self._at == len(self._tokens):
            raise ParseError(f"{self._place}: the text of its parameters ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _error(self, token: Token) -> ParseError:
        return ParseError(f"{self._place}: {token.text[:50]!r} in its parameters is not expected")
