"""Names that must be unique in a graph."""

from __future__ import annotations


class Names:
    """The names taken so far."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str) -> None:
        """Mark a name as taken; it may be already."""
        self._taken.add(name)

    def free(self, name: str) -> None:
        """Let a name be taken again."""
        self._taken.discard(name)

    def unique(self, name: str) -> str:
        """Take a name, or where it is taken the name with a number behind it, and return it."""
        unique, k = name, 1
        while unique in self._taken:
            k += 1
            unique = f"{name}_{k}"
        self._taken.add(unique)
        return unique
