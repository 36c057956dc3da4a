"""What every subcommand shares with the terminal: notes, progress, tables."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from caffe_compat.progress import Display

_WIDEST = 80  # characters of a column; one long name is not to make all the rows as long


def printable(text: str) -> str:
    """The text with every character but a line's end that is no plain one in JSON's escapes.

    A model's names are a stranger's: shown as they are, they could steer the terminal.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


class _Notes(logging.Handler):
    """The library's log on standard error, as `warning: …` and `note: …` lines."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "warning" if record.levelno >= logging.WARNING else "note"
        say(f"{level}: {_one_line(record.getMessage())}", err=True)


def say(line: object, *, err: bool = False) -> None:
    """Print a line, `printable`, above the progress bars (where typer would write over them)."""
    stream: TextIO | None = sys.stderr if err else sys.stdout
    if stream is not None:  # the caller closed it
        stream.write(f"{printable(str(line))}\n")


@contextmanager
def ending() -> Iterator[None]:
    """Let a request to end (SIGTERM, SIGHUP) unwind the block, so that it clears up its files."""

    def end(number: int, frame: object) -> None:
        sys.exit(128 + number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    mine = [n for n in numbers if signal.getsignal(n) == signal.SIG_DFL and _in_main_thread()]
    for number in mine:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def _on_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


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


@contextmanager
def bars() -> Iterator[Display]:
    """Progress bars on a terminal, that of a loop in a loop below; nothing when piped.

    Whatever ends the block finds the terminal as it was, so that an error stands by itself.

    Yields:
        What `caffe_compat.progress.show_progress` takes.
    """
    if not _on_terminal(sys.stderr):
        yield lambda items, what, total: items
        return
    progress: Any = None

    def watch(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
        nonlocal progress
        if progress is None:
            from rich.console import Console
            from rich.progress import Progress

            # rich would send to its console what is printed meanwhile, even to a file.
            progress = Progress(
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=_on_terminal(sys.stdout),
            )
        return _watch(progress, items, what, total)

    try:
        yield watch
    finally:
        if progress is not None:
            progress.stop()


def _watch(progress: Any, items: Iterable[Any], what: str, total: int) -> Iterator[Any]:
    progress.start()
    task = progress.add_task(what, total=total)
    for item in items:
        yield item
        progress.advance(task)
    progress.remove_task(task)
    if not progress.tasks:
        progress.stop()


def _one_line(text: str) -> str:
    return printable(text).replace("\n", "\\n")


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The rows with their columns aligned."""
    rows = [[_one_line(cell) for cell in row] for row in rows]
    widths = [min(_WIDEST, max(map(len, column))) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def say_shape(dims: Sequence[int | None]) -> str:
    """1x3x224x224, a ? for an axis of any size."""
    return "x".join("?" if n is None else str(n) for n in dims) or "scalar"
