"""Signals as Caffe's command line takes them: stop with a snapshot, or a snapshot alone."""

from __future__ import annotations

import enum
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Action(enum.Enum):
    """A request to a running solver, as Caffe's signal handler makes them."""

    NONE = 0
    SNAPSHOT = 1
    STOP = 2


@contextmanager
def handling(
    sigint: Action = Action.STOP, sighup: Action = Action.SNAPSHOT
) -> Iterator[Callable[[], Action]]:
    """Turn SIGINT and SIGHUP into requests while the block runs.

    A second SIGINT before the first was heard raises KeyboardInterrupt as ever.

    Args:
        sigint: what SIGINT requests; NONE leaves it as it is.
        sighup: what SIGHUP requests, where the system has it.

    Yields:
        The request, once each; for `Solver.action`.
    """
    requests: list[Action] = []
    effects = {signal.SIGINT: sigint}
    if hasattr(signal, "SIGHUP"):
        effects[signal.SIGHUP] = sighup
    main = threading.current_thread() is threading.main_thread()
    mine = {number: effect for number, effect in effects.items() if effect is not Action.NONE}

    def note(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and mine[signal.SIGINT] in requests:
            raise KeyboardInterrupt
        requests.append(mine[signal.Signals(number)])

    before = {number: signal.signal(number, note) for number in mine} if main else {}
    try:
        yield lambda: requests.pop(0) if requests else Action.NONE
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
