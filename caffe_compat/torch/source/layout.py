"""Python's text as `ruff format` lays it out at its default width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

WIDTH = 88
STEP = 4


@dataclass(frozen=True)
class Group:
    """Parts between brackets, which go on lines of their own where one line is too long."""

    opening: str
    parts: Sequence[Item]
    closing: str
    end: str = ""  # behind the last part on one line

    def __str__(self) -> str:
        return f"{self.opening}{', '.join(map(str, self.parts))}{self.end}{self.closing}"


def tuple_of(parts: Sequence[Item]) -> Group:
    """Return a tuple, which of one part needs a comma."""
    return Group("(", parts, ")", "," if len(parts) == 1 else "")


@dataclass(frozen=True)
class Binary:
    """Two operands, in parentheses where one line is too long."""

    left: str
    symbol: str
    right: str

    def __str__(self) -> str:
        space = "" if self.symbol == "**" else " "
        return f"{self.left}{space}{self.symbol}{space}{self.right}"


@dataclass(frozen=True)
class Alone:
    """An operand that goes in parentheses where one line is too long."""

    text: str

    def __str__(self) -> str:
        return self.text


Item: TypeAlias = "str | Group | Binary | Alone"


def lay_out(before: str, item: Item, after: str = "", indent: int = 0) -> list[str]:
    """Return the lines of an expression with what stands before and after it.

    A comma behind the last part tells the formatter that the parts stay on lines of their own.

    Args:
        before: what the first line begins with, without its indentation.
        item: the expression.
        after: what the last line ends with.
        indent: the indentation.
    """
    margin = " " * indent
    line = f"{margin}{before}{item}{after}"
    if len(line) <= WIDTH or isinstance(item, str) or (isinstance(item, Group) and not item.parts):
        return [line]
    if isinstance(item, Group):
        lines = [f"{margin}{before}{item.opening}"]
        for part in item.parts:
            lines += lay_out("", part, ",", indent + STEP)
        return [*lines, f"{margin}{item.closing}{after}"]
    inner = " " * (indent + STEP)
    inside = [f"{inner}{item}"]
    if len(inside[0]) > WIDTH and isinstance(item, Binary):
        inside = [f"{inner}{item.left}", f"{inner}{item.symbol} {item.right}"]
    return [f"{margin}{before}(", *inside, f"{margin}){after}"]


def literal(text: str) -> str:
    """Return a string's literal, in ASCII and on one line whatever it contains."""
    plain = ascii(text)[1:-1].replace("\\'", "'")
    if '"' not in plain:
        return f'"{plain}"'
    return ascii(text) if "'" not in text else '"' + plain.replace('"', '\\"') + '"'
