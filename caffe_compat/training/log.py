"""The log of a training, in Caffe's words, so that programs that parse Caffe's logs read it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping

from ..types import Array

Write = Callable[[str], None]


class Log:
    """Lines as Caffe logs them.

    Args:
        write: takes each line, without its end; None: nothing is logged.
    """

    def __init__(self, write: Write | None) -> None:
        self._write = write
        self._since = time.monotonic()
        self._last = 0

    def __call__(self, line: str, source: str = "solver.cpp", severity: str = "I") -> None:
        """Log a line as from one of Caffe's source files."""
        if self._write is not None:
            self._write(f"{severity}{_stamp()} {source}:0] {line}")

    def iteration(self, number: int, loss: float, display: int) -> None:
        """Log the loss of an iteration, and the speed since the last one that was logged."""
        seconds = time.monotonic() - self._since
        speed = (number - self._last) / (seconds or 1)
        self(
            f"Iteration {number} ({speed:g} iter/s, {seconds:g}s/{display} iters), loss = {loss:g}"
        )
        self.restart(number)

    def restart(self, number: int) -> None:
        """Measure the speed from here on."""
        self._since, self._last = time.monotonic(), number

    def outputs(
        self, kind: str, outputs: Mapping[str, Array], loss_weights: Mapping[str, float]
    ) -> None:
        """Log every value of a net's outputs.

        Args:
            kind: `Train` or `Test`.
            outputs: arrays by blob.
            loss_weights: by blob, those that are not 0.
        """
        for i, (name, value) in enumerate(_values(outputs)):
            weight = loss_weights.get(name, 0)
            part = f" (* {weight:g} = {weight * value:g} loss)" if weight else ""
            self(f"    {kind} net output #{i}: {name} = {value:g}{part}")


def _values(outputs: Mapping[str, Array]) -> Iterable[tuple[str, float]]:
    return ((name, float(v)) for name, array in outputs.items() for v in array.ravel())


def _stamp() -> str:
    """Return what glog puts before a line: date, time, thread."""
    now = time.time()
    stamp = time.strftime("%m%d %H:%M:%S", time.localtime(now))
    return f"{stamp}.{int(now % 1 * 1e6):06d} {os.getpid():5d}"
