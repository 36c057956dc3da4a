"""Parse the settings in a Python layer's `param_str`, without running any of it.

    channel_shared: false, filler: {type: constant, value: 0.25}

Names and values with `:` between, nested ones in braces, optional commas between pairs, optional
quotes: the common part of YAML's flow style, JSON, a printed dict and protobuf's text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from ..errors import ParseError

Settings: TypeAlias = dict[str, "str | Settings"]

_TOKEN = re.compile(r"""\s*(?:([{}:,;])|"([^"\n]*)"|'([^'\n]*)'|([^\s{}:,;"']+))""")
_DEPTH = 8
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_WHOLE = frozenset(
    {
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT32,
        FieldDescriptor.TYPE_UINT64,
    }
)


def parse(text: str) -> Settings:
    """Return the settings as they are written: nested dicts of strings.

    Raises:
        ParseError: the text is of another form, or gives a name twice.
    """
    tokens = list(_tokens(text))
    if tokens and tokens[0] == (True, "{"):
        if tokens[-1] != (True, "}"):
            raise ParseError("param_str: '{' is not closed")
        tokens = tokens[1:-1]
    rest = iter([*tokens, (True, "")])
    return _pairs(rest, "", 0)


def apply(settings: Mapping[str, str | Settings], message: Message, within: str = "") -> None:
    """Set a message's fields from settings.

    Raises:
        ParseError: a name is none of its fields, or a value is not of its field's type.
    """
    fields = message.DESCRIPTOR.fields_by_name
    check_names(settings, fields, within)
    for name, value in settings.items():
        field, path = fields[name], within + name
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            if isinstance(value, str):
                raise ParseError(f"param_str: {path} takes {{...}}, and is {value!r}")
            getattr(message, name).SetInParent()
            apply(value, getattr(message, name), f"{path}.")
        elif isinstance(value, dict):
            raise ParseError(f"param_str: {path} takes one value, and is {{...}}")
        else:
            try:
                setattr(message, name, _scalar(field, value))
            except (ValueError, KeyError) as error:
                kind = _kind(field)
                raise ParseError(f"param_str: {path} is {value!r}, which is no {kind}") from error


def whole(settings: Settings, name: str, default: int) -> int:
    """Remove a whole number from the settings, and return it.

    Args:
        settings: changed in place.
        name: the setting's.
        default: the number where the setting is absent.

    Raises:
        ParseError: the value is no whole number.
    """
    value = settings.pop(name, str(default))
    if not isinstance(value, str) or not value.isdecimal():
        raise ParseError(f"param_str: {name} is {value!r}, which is no whole number from 0 on")
    return int(value)


def check_names(settings: Iterable[str], known: Iterable[str], within: str = "") -> None:
    """Raise ParseError for the first setting that is not known."""
    known = sorted(known)
    for name in settings:
        if name not in known:
            raise ParseError(f"param_str: unknown {within}{name} (known: {', '.join(known)})")


def _scalar(field: Any, value: str) -> bool | int | float | str:
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _TRUTH[value.lower()]
    if field.type == FieldDescriptor.TYPE_ENUM:
        number: int = field.enum_type.values_by_name[value].number
        return number
    if field.type in _WHOLE:
        return int(value)
    return value if field.type == FieldDescriptor.TYPE_STRING else float(value)


def _kind(field: Any) -> str:
    if field.type == FieldDescriptor.TYPE_BOOL:
        return "truth value (true, false)"
    if field.type == FieldDescriptor.TYPE_ENUM:
        return str(field.enum_type.name)
    return "whole number in range" if field.type in _WHOLE else "number"


def _tokens(text: str) -> Iterator[tuple[bool, str]]:
    """Yield each token: whether it is a mark, and its text."""
    start, end = 0, len(text.rstrip())
    while start < end:
        match = _TOKEN.match(text, start)
        if match is None:
            quote = text[start : start + 20].strip()
            raise ParseError(f"param_str: a quote is not closed: {quote}")
        start = match.end()
        yield match[1] is not None, next(part for part in match.groups() if part is not None)


def _pairs(tokens: Iterator[tuple[bool, str]], close: str, depth: int) -> Settings:
    if depth > _DEPTH:
        raise ParseError(f"param_str: braces more than {_DEPTH} deep")
    settings: Settings = {}
    for mark, name in tokens:
        if mark and name == close:
            return settings
        if mark and name in (",", ";"):
            continue
        if mark and not name:
            break
        if mark:
            raise ParseError(f"param_str: expected a name instead of {name!r}")
        if name in settings:
            raise ParseError(f"param_str: {name} is given twice")
        settings[name] = _value(name, tokens, depth)
    raise ParseError("param_str: '{' is not closed")


def _value(name: str, tokens: Iterator[tuple[bool, str]], depth: int) -> str | Settings:
    mark, token = next(tokens)
    if mark and token == ":":
        mark, token = next(tokens)
    elif (mark, token) != (True, "{"):
        raise ParseError(f"param_str: {name} is not followed by ':'")
    if mark and token == "{":
        return _pairs(tokens, "}", depth + 1)
    if mark:
        raise ParseError(f"param_str: {name} has no value; {token or 'the end'!r} follows")
    return token
