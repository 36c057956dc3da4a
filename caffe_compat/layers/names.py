"""Names that must be unique in a graph."""

from __future__ import annotations


class Names:
    """The names taken so far."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._least: dict[str, int] = {}  # the numbers below are taken, by name; unless listed, 2

    def take(self, name: str) -> None:
        """Mark a name as taken; it may be already."""
        self._taken.add(name)

    def free(self, name: str) -> None:
        """Let a name be taken again."""
        self._taken.discard(name)
        plain, _, number = name.rpartition("_")
        if plain in self._least and number.isdecimal():
            self._least[plain] = min(self._least[plain], int(number))

    def unique(self, name: str) -> str:
        """Take a name, or where it is taken the name with a number behind it, and return it."""
        unique = name
        if name in self._taken:
            k = self._least.get(name, 2)
            while (unique := f"{name}_{k}") in self._taken:
                k += 1
            self._least[name] = k + 1
        self._taken.add(unique)
        return unique
