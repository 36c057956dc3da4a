"""The number of bottoms or tops that a layer type takes."""

from __future__ import annotations

from typing import TypeAlias

from ..errors import ShapeError

Arity: TypeAlias = int | tuple[int, int | None]
"""One number, or (min, max or None)."""


def admits(arity: Arity, count: int) -> bool:
    """Return whether `count` bottoms or tops fit `arity`."""
    least, most = arity if isinstance(arity, tuple) else (arity, arity)
    return least <= count and (most is None or count <= most)


def check_arity(what: str, count: int, arity: Arity) -> None:
    """Raise ShapeError unless `count` bottoms or tops fit `arity`."""
    least, most = arity if isinstance(arity, tuple) else (arity, arity)
    if not admits(arity, count):
        wants = f"{least}" if least == most else f"at least {least}"
        if most is not None and most != least:
            wants = f"{least} to {most}"
        raise ShapeError(f"takes {wants} {what} blob(s), and has {count}")
