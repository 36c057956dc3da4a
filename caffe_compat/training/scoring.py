"""Means of losses and outputs: over a solver's iterations, a test's batches, a net's score."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from ..types import Array
from .engine import Engine, Pass
from .log import Log

_SOURCE = "caffe.cpp"


class SmoothedLoss:
    """The mean of the last losses (solver.cpp, UpdateSmoothedLoss).

    Args:
        window: the number of losses, `average_loss`.

    Attributes:
        value: the mean, rounded to float32 as Caffe does.
    """

    def __init__(self, window: int) -> None:
        self._window, self._losses = window, list[float]()
        self.value = 0.0

    def add(self, loss: float, index: int) -> None:
        """Add a loss.

        Args:
            loss: the loss of an iteration.
            index: the number of the iteration since the start.
        """
        if len(self._losses) < self._window:
            self._losses.append(loss)
            count = len(self._losses)
            mean = (self.value * (count - 1) + loss) / count
        else:
            place = index % self._window
            mean = self.value + (loss - self._losses[place]) / self._window
            self._losses[place] = loss
        self.value = float(np.float32(mean))


class Sums:
    """The sums of the losses and outputs of passes, in float32 as Caffe's."""

    def __init__(self) -> None:
        self._loss, self._count = np.float32(0), np.float32(0)
        self._outputs: dict[str, Array] = {}

    @np.errstate(all="ignore")  # an infinite sum is shown as such
    def add(self, one: Pass) -> None:
        """Add a pass."""
        self._loss += np.float32(one.loss)
        self._count += np.float32(1)
        for name, array in one.outputs.items():
            self._outputs[name] = self._outputs.get(name, 0) + array

    def loss(self) -> float:
        """Return the mean loss."""
        return float(self._loss / self._count) if self._count else float("nan")

    def means(self) -> dict[str, Array]:
        """Return the mean of each output, by blob; none where there was no pass."""
        return {name: array / self._count for name, array in self._outputs.items()}


def score(engine: Engine, iterations: int, log: Log) -> dict[str, Array]:
    """Run a net forward as `caffe test` does, log it, and return the means of its outputs.

    Args:
        engine: the net, with its batches.
        iterations: the number of batches.
        log: where to log.

    Raises:
        ShapeError: there are no iterations.
    """
    if iterations < 1:
        raise ShapeError(f"iterations must be at least 1, and is {iterations}")
    log(f"Running for {iterations} iterations.", _SOURCE)
    sums = Sums()
    for i in range(iterations):
        one = engine.forward()
        sums.add(one)
        for name, array in one.outputs.items():
            for value in array.ravel():
                log(f"Batch {i}, {name} = {value:g}", _SOURCE)
    log(f"Loss: {sums.loss():g}", _SOURCE)
    for name, array in sums.means().items():
        weight = engine.loss_weights.get(name, 0)
        for value in array.ravel():
            part = f" (* {weight:g} = {weight * value:g} loss)" if weight else ""
            log(f"{name} = {value:g}{part}", _SOURCE)
    return sums.means()
