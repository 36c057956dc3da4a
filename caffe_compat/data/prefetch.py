"""Batches read ahead: planned by one thread in order, filled by many, handed out in order."""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field
from typing import Any

from ..errors import CaffeCompatError
from ..layers.naming import named
from ..types import AnyArray
from .source import R, Source, State, T

_PARTS = 3  # of a batch for each worker: few, since each has to be handed over


@dataclass
class _Pending:
    """A batch that is being filled.

    Attributes:
        tops: its arrays.
        state: the source's place behind it.
        futures: who fills it; a failed one where it could not be planned.
    """

    tops: list[AnyArray] = field(default_factory=list)
    state: State = field(default_factory=dict)
    futures: list[Future[None]] = field(default_factory=list)


class Prefetcher:
    """A source's batches, at most `ahead` of them in memory beside those handed out.

    Args:
        source: the source; it belongs to the prefetcher from then on.
        pool: who decodes and transforms.
        workers: how many those are.
        ahead: how many batches to read ahead.
    """

    def __init__(self, source: Source, pool: Executor, workers: int, ahead: int):
        self.source, self._pool, self._ahead = source, pool, ahead
        self._parts = _PARTS * workers  # that a batch is split into
        self._state: State = source.state()
        self.shapes = source.shapes()
        self._queue: deque[_Pending] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._feeder: threading.Thread | None = None

    @property
    def state(self) -> State:
        """The place behind the last batch that was handed out."""
        return self.source.state() if self.source.in_turn else self._state

    def next(self) -> list[AnyArray]:
        """Return the next batch's tops.

        Raises:
            CaffeCompatError: it cannot be read, now or at any later call.
        """
        if self.source.in_turn:
            return self._next_in_turn()
        if self._feeder is None:
            # Started when first needed, so that a place can be restored before.
            self._feeder = threading.Thread(
                target=self._feed, daemon=True, name="caffe_compat-data"
            )
            self._feeder.start()
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopped)
            if not self._queue:
                raise CaffeCompatError("the reader is closed")
            pending = self._queue[0]
        with named(self.source.layer):
            for future in pending.futures:
                if error := future.exception():
                    # A copy, since the queue keeps the error, whose trace would keep the callers.
                    raise copy.copy(error).with_traceback(error.__traceback__)
        with self._changed:
            self._queue.popleft()
            self._changed.notify_all()
        self._state = pending.state
        return pending.tops

    def _next_in_turn(self) -> list[AnyArray]:
        with named(self.source.layer):
            plan = self.source.plan(self._run)
            self._run(lambda job: job(), plan.jobs)
        return plan.tops

    def restore(self, state: State) -> None:
        """Go to a place that `state` had; what was read ahead is dropped.

        Raises:
            CaffeCompatError: the source does not have it.
        """
        self.change(lambda: self.source.restore(state))

    def change(self, action: Callable[[], None]) -> None:
        """Do something to the source; what was read ahead is dropped.

        Raises:
            CaffeCompatError: as the action.
        """
        self._stop()
        with named(self.source.layer):
            action()
        self._state = self.source.state()
        self._stopped = False

    def close(self) -> None:
        """Stop, and let files go."""
        self._stop()
        self.source.close()

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._feeder is not None:
            self._feeder.join()
            self._feeder = None
        futures = [future for pending in self._queue for future in pending.futures]
        for future in futures:
            future.cancel()
        wait(futures)  # those that run look at files that are closed next
        self._queue.clear()

    def _feed(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or len(self._queue) < self._ahead)
                if self._stopped:
                    return
            pending, failed = _Pending(), False
            try:
                pending.tops, jobs = self.source.plan(self._run)
                pending.state = self.source.state()
                pending.futures = [self._pool.submit(_call, chunk) for chunk in self._split(jobs)]
            except Exception as error:  # raised where the batch is asked for
                pending.futures.append(Future())
                pending.futures[-1].set_exception(error)
                failed = True
            with self._changed:
                self._queue.append(pending)
                self._changed.notify_all()
            if failed:
                return

    def _split(self, items: Sequence[T]) -> list[Sequence[T]]:
        size = max(1, -(-len(items) // self._parts))
        return [items[start : start + size] for start in range(0, len(items), size)]

    def _run(self, function: Callable[[T], R], items: Sequence[T]) -> list[R]:
        futures = [
            self._pool.submit(lambda chunk: [function(item) for item in chunk], chunk)
            for chunk in self._split(items)
        ]
        try:
            return [result for future in futures for result in future.result()]
        finally:
            for future in futures:
                future.cancel()
            wait(futures)


def _call(jobs: Sequence[Callable[[], Any]]) -> None:
    for job in jobs:
        job()
