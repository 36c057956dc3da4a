"""Progress of long loops: the library wraps them in `track`, a front end supplies the display."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
Display: TypeAlias = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Takes items, a caption and the number of items, and yields the items as they are asked for."""

_display: ContextVar[Display | None] = ContextVar("display", default=None)


def track(items: Collection[T], caption: str) -> Iterable[T]:
    """Return the items, wrapped in the display if there is one."""
    display = _display.get()
    return items if display is None else display(items, caption, len(items))


@contextmanager
def show_progress(display: Display) -> Iterator[None]:
    """Let `display(items, caption, total)` wrap the loops that run inside."""
    token = _display.set(display)
    try:
        yield
    finally:
        _display.reset(token)
