"""Names in a source file: identifiers, short, and no two alike."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable

from ...layers.names import Names

_LONGEST = 30  # so that any statement has room on its lines
_TAKEN = {*keyword.kwlist, *dir(builtins), "self", "torch", "nn", "F", "math", "operator"}


class Identifiers:
    """A namespace, in which each name is told apart from all before.

    Args:
        taken: names that mean something else there.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._names = Names()
        for name in {*taken, *_TAKEN}:
            self._names.take(name)

    def make(self, name: str) -> str:
        """Return an identifier like a name, ASCII's letters, digits and underscores alone."""
        plain = re.sub(r"\W", "_", name, flags=re.ASCII)[:_LONGEST]
        if not plain[:1].isalpha():  # two underscores would make it a class's private name
            plain = f"n{plain}"
        return self._names.unique(plain)
