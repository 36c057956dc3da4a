"""What every subcommand shares with the terminal: notes, progress, tables."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer


class _Notes(logging.Handler):
    """The library's log on standard error, as `warning: …` and `note: …` lines."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "warning" if record.levelno >= logging.WARNING else "note"
        typer.echo(f"{level}: {record.getMessage()}", err=True)


@contextmanager
def notes() -> Iterator[None]:
    """Show the library's log on standard error while the block runs."""
    log, handler = logging.getLogger("caffe_compat"), _Notes()
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.level, log.propagate = before


def bar(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
    """A progress bar on a terminal; nothing where standard error is piped."""
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, what, total, console=Console(stderr=True), transient=True)


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The rows with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def say_shape(dims: Sequence[int | None]) -> str:
    """1x3x224x224, a ? for an axis of any size."""
    return "x".join("?" if n is None else str(n) for n in dims) or "scalar"
