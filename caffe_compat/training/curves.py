"""Loss, accuracy and learning rate over iterations, read from the lines of a training's log."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ParseError
from ..files import reason

_NUMBER = r"([-+]?(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|inf|nan))"
_COUNT = r"(\d{1,18})(?!\d)"
_LOSS = re.compile(rf"Iteration {_COUNT}(?: \([^)]*\))?, loss = {_NUMBER}")
_RATE = re.compile(rf"Iteration {_COUNT}, lr = {_NUMBER}")
_TESTING = re.compile(rf"Iteration {_COUNT}, Testing net \(#{_COUNT}\)")
_OUTPUT = re.compile(rf"(Train|Test) net output #\d+: (\S+) = {_NUMBER}")


@dataclass
class Curve:
    """A value over iterations.

    Attributes:
        iterations: where it was logged.
        values: what it was.
    """

    iterations: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, iteration: int, value: float) -> None:
        """Add a point; a training that went on from a snapshot goes back over what came after."""
        while self.iterations and self.iterations[-1] >= iteration:
            self.iterations.pop()
            self.values.pop()
        self.iterations.append(iteration)
        self.values.append(value)


class Curves:
    """What a log says, line by line; Caffe's own logs and those of its forks are read too.

    Attributes:
        loss: the smoothed loss in training.
        rate: the learning rate.
        train: the outputs of the train net, by blob.
        test: the outputs of each test net, by (net, blob).
    """

    def __init__(self) -> None:
        self.loss, self.rate = Curve(), Curve()
        self.train: dict[str, Curve] = {}
        self.test: dict[tuple[int, str], Curve] = {}
        self._iteration, self._net = 0, 0

    def read(self, line: str) -> None:
        """Take a line of the log in."""
        if found := _TESTING.search(line):
            self._iteration, self._net = int(found[1]), int(found[2])
        elif found := _LOSS.search(line):
            self._iteration = int(found[1])
            self.loss.add(self._iteration, float(found[2]))
        elif found := _RATE.search(line):
            self.rate.add(int(found[1]), float(found[2]))
        elif found := _OUTPUT.search(line):
            kind, blob, value = found[1], found[2], float(found[3])
            if kind == "Train":
                curve = self.train.setdefault(blob, Curve())
            else:
                curve = self.test.setdefault((self._net, blob), Curve())
            if not curve.iterations or curve.iterations[-1] != self._iteration:
                curve.add(self._iteration, value)  # of an output with many values, the first


def read(path: str | Path) -> Curves:
    """Read the log of a training, Caffe's or one written here.

    Raises:
        ParseError: it is missing, or no line of it is a solver's.
    """
    curves = Curves()
    try:
        with Path(path).open(errors="replace") as file:
            _read_all(curves, file)
    except OSError as error:
        raise ParseError(f"{path}: {reason(error)}") from None
    if not (curves.loss.iterations or curves.test):
        raise ParseError(f"{path}: not the log of a training: no line tells a loss or a test")
    return curves


def _read_all(curves: Curves, lines: Iterable[str]) -> None:
    for line in lines:
        curves.read(line)
