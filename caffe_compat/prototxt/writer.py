"""Write messages as prototxt."""

from __future__ import annotations

import ast
import os
import re

from google.protobuf import text_format
from google.protobuf.message import Message

from ..files import atomic


def write_text(message: Message, path: str | os.PathLike[str]) -> None:
    """Write a message as prototxt, its floats in the fewest digits that read back the same.

    Raises:
        CaffeCompatError: the file cannot be written; the old file, if any, is untouched.
    """
    text = text_format.MessageToString(message, as_utf8=True)
    if re.search(r"[^\n -\uffff]", text):  # before protobuf 5 this leaves control codes as they are
        text = text_format.MessageToString(message, as_utf8=False)
    text = re.sub(r"^(\s*\w+: -?\d+)\.0$", r"\1", text, flags=re.MULTILINE)  # 1 for 1.0
    text = re.sub(r"^( *)custom_param: (\".*\")$", _own_message, text, flags=re.MULTILINE)
    with atomic(path) as target:
        target.write_text(text, encoding="utf-8", newline="\n")


def _own_message(match: re.Match[str]) -> str:
    """Return the message that a caller's own layer was read from."""
    return f"{match[1]}{ast.literal_eval(match[2])}"
