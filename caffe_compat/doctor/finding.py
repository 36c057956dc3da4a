"""One thing that is wrong with a net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from .remedies import Remedy

Severity: TypeAlias = Literal["severe", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        rule: the cause's name, one word.
        severity: `severe`: the net will hardly train; `warning`; `note`.
        layers: the layers concerned, first to last.
        number: the measured or computed number in the message.
        message: one sentence.
        remedy: the lines that mend it, and what was measured with them; None where none did.
    """

    rule: str
    severity: Severity
    layers: tuple[str, ...]
    number: float
    message: str
    remedy: Remedy | None


def say_layers(names: Sequence[str], most: int = 4) -> str:
    """Return the names of layers, of many the first ones and a count."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
