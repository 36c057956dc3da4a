"""Output that all subcommands share: lines, notes, progress bars, tables."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ..progress import Display
from ..text import one_line
from .flags import flags_of

if TYPE_CHECKING:  # it loads numpy, which --help does without
    from ..types import AnyArray


class _Notes(logging.Handler):
    """A handler that prints the library's log as `warning: …` and `note: …` lines.

    A record with the attribute `last` makes the answers worthless: it is shown last and loudly.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: list[str] = []
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "last", False):
            self._last.append(f"WARNING: {record.getMessage()}")
            return
        level = "warning" if record.levelno >= logging.WARNING else "note"
        line = f"{level}: {record.getMessage()}{flags_of(record)}"
        if line not in self._said:  # a net that is read twice is described once
            self._said.add(line)
            say(line, err=True)

    def say_last(self) -> None:
        """Print what is to be said last, each line once."""
        say(*dict.fromkeys(self._last), err=True)


def say(*lines: object, err: bool = False) -> None:
    """Print lines, each by `one_line`, above the progress bars; typer would overwrite them."""
    stream: TextIO | None = sys.stderr if err else sys.stdout
    if stream is not None:  # the caller closed it
        stream.writelines(f"{one_line(str(line))}\n" for line in lines)


def statistics(array: AnyArray) -> str:
    """Return an array's numbers in one line."""
    if array.size == 1:
        return f"{float(array.reshape(())):.6g}"
    if not array.size:
        return "empty"
    return "  ".join(
        f"{name} {getattr(array, name)():.6g}" for name in ("mean", "std", "min", "max")
    )


def say_file(path: Path) -> None:
    """Print a file's name and size."""
    say(f"{path}  {path.stat().st_size:,} bytes")


@contextmanager
def unwind_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the block, so that it removes its temporary files."""

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


def on_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal."""
    return stream is not None and stream.isatty()


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def notes() -> Iterator[None]:
    """Show the library's log on standard error while the block runs.

    The records that are shown last are left out if the block fails.
    """
    log, handler = logging.getLogger("caffe_compat"), _Notes()
    before = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    failed = True
    try:
        yield
        failed = False
    except SystemExit as end:  # the end of every command, well or ill
        failed = bool(end.code)
        raise
    finally:
        log.removeHandler(handler)
        if not failed:
            handler.say_last()
        log.level, log.propagate = before


@contextmanager
def bars() -> Iterator[Display]:
    """Show progress bars on a terminal, an inner loop's below the outer's; none if piped.

    The bars go when the block ends, so that an error stands by itself.

    Yields:
        The argument of `progress.show_progress`.
    """
    if not on_terminal(sys.stderr):
        yield lambda items, caption, total: items
        return
    progress: Any = None

    def display(items: Iterable[Any], caption: str, total: int) -> Iterable[Any]:
        nonlocal progress
        if progress is None:
            from rich.console import Console
            from rich.progress import Progress

            # rich would redirect standard output to its console even if it is a file.
            progress = Progress(
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=on_terminal(sys.stdout),
            )
        return _show(progress, items, caption, total)

    try:
        yield display
    finally:
        if progress is not None:
            progress.stop()


def _show(progress: Any, items: Iterable[Any], caption: str, total: int) -> Iterator[Any]:
    progress.start()
    task = progress.add_task(caption, total=total)
    for item in items:
        yield item
        progress.advance(task)
    progress.remove_task(task)
    if not progress.tasks:
        progress.stop()
