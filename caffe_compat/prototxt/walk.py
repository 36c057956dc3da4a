"""A walk through a prototxt along the descriptors, which sets aside what the schema lacks."""

from __future__ import annotations

import bisect
import itertools
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf import text_format

from ..errors import ParseError
from .skipped import Skipped
from .tokens import Token, tokens

# C++ refuses a backslash without a meaning; Python's parser only warns.
_ESCAPE = re.compile(r"""\\(?:[abfnrtvxuU\\'"]|[0-3][0-7]{2}|[0-7]{1,2}(?![0-7])|(?P<bad>.?))""")
# Reading takes some seconds and some hundred MB at these limits; weights in text count.
_MAX_TOKENS, _MAX_MESSAGES = 3_000_000, 100_000
_CLOSER = {"{": "}", "<": ">", "[": "]"}


def _is_repeated(field: Any) -> bool:
    """Return whether a field may be given several times; protobuf 7 has no `label` any more."""
    if hasattr(field, "is_repeated"):
        return bool(field.is_repeated)
    return bool(field.label == field.LABEL_REPEATED)


def _has_value(field: Any, text: str) -> bool:
    if re.fullmatch(r"-?\d{1,10}", text):
        return int(text) in field.enum_type.values_by_number
    return text in field.enum_type.values_by_name


@dataclass
class _Frame:
    """A message that is open at the current position."""

    message: Any
    path: str
    closer: str
    layer: int | None
    counts: Counter[str]
    values: dict[str, list[str]] = field(default_factory=dict)  # the words of each field's first


class Walk:
    """One pass over the text, with a stack of its own: no nesting is too deep for it.

    It stops silently where the syntax is wrong: protobuf's parser then meets the same position and
    words the error.
    """

    def __init__(self, text: str, message: Any, file: str) -> None:
        self.text, self.file = text, file
        self.tokens = self._read_tokens()
        self.at = 0
        self.skipped: list[Skipped] = []
        self.spans: list[tuple[int, int]] = []
        self.fields: list[tuple[int, str]] = []  # each field's start and name
        self.lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self.stack = [_Frame(message, "", "", None, Counter())]
        while self.at < len(self.tokens) and self._step():
            pass

    def _read_tokens(self) -> list[Token]:
        found = list(itertools.islice(tokens(self.text), _MAX_TOKENS + 1))
        opened = sum(token.text == "{" for token in found)
        if len(found) > _MAX_TOKENS or opened > _MAX_MESSAGES:
            raise ParseError(
                f"{self.file}: more than {_MAX_MESSAGES:,} messages or {_MAX_TOKENS:,} words; "
                "the largest nets have a tenth of that"
            )
        return found

    def known_text(self) -> str:
        """Return the text with every skipped field overwritten with blanks."""
        pieces, end = [], 0
        for start, stop in self.spans:
            blank = re.sub(r"[^\n]", " ", self.text[start:stop])
            pieces += [self.text[end:start], blank]
            end = stop
        return "".join([*pieces, self.text[end:]])

    def refusal(self, error: text_format.ParseError) -> ParseError:
        """Return the parser's error with the file and the field, without the line's whole text."""
        line, column = error.GetLine() or 1, error.GetColumn() or 1
        quoted = self.known_text().split("\n")[line - 1]
        words = str(error).removeprefix(f"{line}:{column} : ").removeprefix(f"'{quoted}': ")
        words = words.removeprefix("'': ").replace("caffe_compat.", "")
        start = self.lines[line - 1] + column - 1
        if self.text.startswith(("//", "/*"), start):
            words = f"a comment begins with #, not with {self.text[start : start + 2]}"
        before = bisect.bisect(self.fields, start, key=lambda field: field[0])
        name = f"field '{self.fields[before - 1][1]}': " if before else ""
        return ParseError(f"{self.file}:{line}:{column}: {name}{words[:300]}")

    def _peek(self) -> str:
        return self.tokens[self.at].text if self.at < len(self.tokens) else ""

    def _step(self) -> bool:
        """Pass one field, or one closing bracket; return False where the syntax is wrong."""
        token, frame = self.tokens[self.at], self.stack[-1]
        if token.text == frame.closer and token.kind == "mark":
            self.stack.pop()
            self.at += 1
            return True
        if token.text in (",", ";"):
            self.at += 1
            return True
        if token.text == "[":
            return self._skip(frame, token)
        if not re.match(r"[^\W\d]\w*$", token.text):
            return False
        known = frame.message.fields_by_name.get(token.text)
        self.fields.append((token.start, token.text))
        if known is None:
            return self._skip(frame, token)
        if self._is_again(frame, known):
            return self._skip(frame, token, again=True)
        self.at += 1
        if self._peek() == ":":
            self.at += 1
        if known.message_type is not None:
            return self._enter(frame, known)
        first = self.at
        passed = self._check(frame, known, token)
        if frame.counts[token.text] == 1:
            frame.values[token.text] = self._words(first)
        return passed

    def _is_again(self, frame: _Frame, field: Any) -> bool:
        """Count a field, and return whether it is given twice and is not a repeated one.

        So it is with a layer's fields and the net's name; other fields are left to protobuf.
        """
        if field.message_type is None:
            frame.counts[field.name] += 1
        seen = frame.counts[field.name] - (field.message_type is None)
        tolerated = frame.layer is not None or (frame.path == "" and field.name == "name")
        return tolerated and bool(seen) and not _is_repeated(field)

    def _words(self, first: int) -> list[str]:
        """Return the words of the tokens from one on up to the current one."""
        return [token.text for token in self.tokens[first : self.at]]

    def _enter(self, frame: _Frame, field: Any) -> bool:
        opener = self._peek()
        if opener not in ("{", "<"):
            return False
        index = frame.counts[field.name]
        frame.counts[field.name] += 1
        is_layer = frame.message.name == "NetParameter" and field.name in ("layer", "layers")
        numbered = is_layer or field.name == "test_net_param"
        step = f"{field.name}[{index}]" if numbered else field.name
        path = f"{frame.path}.{step}" if frame.path else step
        layer = index if is_layer else frame.layer
        self.stack.append(_Frame(field.message_type, path, _CLOSER[opener], layer, Counter()))
        self.at += 1
        return True

    def _check(self, frame: _Frame, field: Any, name: Token) -> bool:
        first = self.at
        if not self._pass_value(name):
            return False
        for token in self.tokens[first : self.at]:
            if token.kind == "string" and field.enum_type:
                word = token.text.strip("\"'")
                raise self._error(
                    token.start, name, f"the quotes are the mistake: {name.text}: {word}"
                )
            if token.kind == "word" and field.enum_type and not _has_value(field, token.text):
                self._report(frame, name, token.text)
                break
            for escape in _ESCAPE.finditer(token.text) if token.kind == "string" else ():
                if escape["bad"] is not None:
                    at = token.start + escape.start()
                    raise self._error(
                        at,
                        name,
                        f"no such escape: {escape[0]}; a backslash starts an escape in a string: "
                        "for the character itself write two, and in a path /",
                    )
        return True

    def _skip(self, frame: _Frame, name: Token, *, again: bool = False) -> bool:
        """Pass a field that the schema lacks, or has once; `[` begins an extension's name.

        One that repeats its value changes nothing, and is not reported.
        """
        if name.text == "[":
            self._pass_brackets(name)
        else:
            self.at += 1
        if self._peek() == ":":
            self.at += 1
        elif self._peek() not in ("{", "<"):
            return False  # prose, not a field
        first = self.at
        if not self._pass_value(name):
            return False
        if again and self._words(first) == frame.values.get(name.text):
            self.spans.append((name.start, self.tokens[self.at - 1].end))
        else:
            self._report(frame, name, again=again)
        return True

    def _report(self, frame: _Frame, name: Token, value: str = "", *, again: bool = False) -> None:
        end = self.tokens[self.at - 1].end
        self.spans.append((name.start, end))
        field = name.text if name.text != "[" else self.text[name.start : end].split("]")[0] + "]"
        place = (self.file, *self._place(name.start), frame.path, frame.message.name)
        skip = Skipped(*place, field[:100], value[:100], frame.layer, again=again)
        if skip.is_configuration:
            skip = replace(skip, text=self.text[name.start : end])
        self.skipped.append(skip)

    def _pass_value(self, name: Token) -> bool:
        """Pass a value: a word, adjacent strings, or brackets."""
        if self._peek() in _CLOSER:
            self._pass_brackets(name)
            return True
        if not self._peek():
            return False
        token = self.tokens[self.at]
        self.at += 1
        if token.kind == "string":
            while self.at < len(self.tokens) and self.tokens[self.at].kind == "string":
                self.at += 1
        return token.kind != "mark"

    def _pass_brackets(self, name: Token) -> None:
        open_brackets: list[str] = []
        for at in range(self.at, len(self.tokens)):
            token = self.tokens[at]
            if token.kind != "mark":
                continue
            if token.text in _CLOSER:
                open_brackets.append(_CLOSER[token.text])
            elif open_brackets and token.text == open_brackets[-1]:
                open_brackets.pop()
                if not open_brackets:
                    self.at = at + 1
                    return
            elif token.text in _CLOSER.values():
                break
        raise self._error(name.start, name, "never closed")

    def _place(self, at: int) -> tuple[int, int]:
        line = bisect.bisect(self.lines, at)
        return line, at - self.lines[line - 1] + 1

    def _error(self, at: int, name: Token, reason: str) -> ParseError:
        line, column = self._place(at)
        return ParseError(f"{self.file}:{line}:{column}: field '{name.text}': {reason}")
