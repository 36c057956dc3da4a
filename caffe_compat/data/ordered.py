"""A function over many items by several threads, results in order and few at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ..fillers.rng.stream import cores

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(
    function: Callable[[T], R], items: Iterable[T], workers: int | None = None
) -> Generator[R, None, None]:
    """Yield the function's results in the items' order, a few calls ahead.

    Args:
        function: called by several threads at once.
        items: taken one by one, by the caller's thread.
        workers: how many threads; None: one for each core.
    """
    workers = workers or cores()
    with ThreadPoolExecutor(workers, "caffe_compat-data") as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
