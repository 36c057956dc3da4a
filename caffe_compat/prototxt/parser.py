"""Parse prototxt to messages, and set aside the fields that only a fork knows.

protobuf's own text parser decides what is well formed, and refuses every unknown field. So the text
is first walked along the descriptors: fields outside the schema are reported and overwritten with
blanks, in place, and protobuf reads the rest strictly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar, cast

from google.protobuf import text_format
from google.protobuf.message import Message

from ..errors import ParseError
from .skipped import Skipped
from .walk import Walk

M = TypeVar("M", bound=Message)


def parse(text: str, kind: type[M], file: str = "<text>") -> M:
    """Parse text strictly.

    Args:
        text: as for `parse_tolerantly`, like the others.
        kind: the message's class.
        file: the file's name in errors.

    Raises:
        ParseError: as there, and for an unknown field.
    """
    message, skipped = parse_tolerantly(text, kind, file)
    if skipped:
        raise ParseError(str(skipped[0]))
    return message


def parse_tolerantly(text: str, kind: type[M], file: str = "<text>") -> tuple[M, list[Skipped]]:
    """Parse text, and leave out the fields and enum values that the schema does not know.

    Args:
        text: a prototxt's text.
        kind: the message's class, such as NetParameter.
        file: the file's name in errors.

    Returns:
        The message, and the fields left out, in the file's order.

    Raises:
        ParseError: a syntax error, or a value that does not fit its field.
    """
    walk = Walk(text, kind.DESCRIPTOR, file)
    message = kind()
    try:
        text_format.Parse(walk.known_text(), message)
    except text_format.ParseError as error:
        raise walk.refusal(error) from None
    except (UnicodeError, RecursionError) as error:
        raise ParseError(f"{file}: {error}") from None
    if not message.IsInitialized():
        missing = cast(Any, message).FindInitializationErrors()
        raise ParseError(f"{file}: required but absent: {', '.join(missing)}")
    return message, [_named(skip, message) for skip in walk.skipped]


def _named(skip: Skipped, message: Message) -> Skipped:
    """Add the layer's name, which may stand behind the skipped field."""
    owner: Any = message
    for step in skip.path.split(".") if skip.layer is not None else []:
        field, _, index = step.partition("[")
        owner = getattr(owner, field)[int(index[:-1])] if index else getattr(owner, field)
        if index and field != "test_net_param":
            v0 = owner.layer.name if field == "layers" else ""
            return replace(skip, layer_name=owner.name or v0)
    return skip
