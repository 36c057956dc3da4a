"""Lets a front end watch long work: `track` wraps a loop, `watching` says who looks on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
Watcher = Callable[[Iterable[Any], str, int], Iterable[Any]]
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


def track(items: Collection[T], what: str) -> Iterable[T]:
    """The items, one by one, under the eyes of the watcher if there is one."""
    watcher = _watcher.get()
    return items if watcher is None else watcher(items, what, len(items))


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Let `watcher(items, what, total)` wrap the loops that run inside."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)
