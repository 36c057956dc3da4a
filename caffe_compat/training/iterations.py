"""The iterations of a training: the passes of each, their losses and their update (solver.cpp)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..caffe_pb2 import SolverParameter
from ..errors import CaffeCompatError
from .course import Course
from .debug import logged
from .engine import Engine, Pass
from .log import Log, Write
from .ranks import Ranks
from .scoring import SmoothedLoss


class Iterations:
    """The iterations of a training.

    Args:
        p: the solver's parameters.
        engine: the train net.
        course: takes the updates.
        ranks: the processes of the training.
        log: where to log.
        callbacks: called in each iteration: `start` before its first pass, `gradients` before its
            update, `update` after it.

    Attributes:
        loss: the mean loss of the last iterations of this run.
    """

    def __init__(
        self,
        p: SolverParameter,
        engine: Engine,
        course: Course,
        ranks: Ranks,
        log: Log,
        callbacks: Mapping[str, Sequence[Callable[[], None]]],
    ) -> None:
        self._p, self._engine, self._course = p, engine, course
        self._ranks, self._log, self._callbacks = ranks, log, callbacks
        self._watch: Write | None = None  # takes debug_info's lines, while they are wanted
        self.begin()

    def begin(self) -> None:
        """Begin a run, whose losses and time are those of its own iterations."""
        self._start = self._course.iter
        self.loss = SmoothedLoss(self._p.average_loss)
        self._log.restart(self._start)

    def run(self) -> Pass:
        """Run one iteration, and return its last pass.

        Raises:
            CaffeCompatError: the loss is not finite.
        """
        self._call("start")
        p, course = self._p, self._course
        display = bool(p.display and course.iter % p.display == 0)
        self._watch = logged(self._log) if display and p.debug_info else None
        whole = self._watch or self._ranks.size > 1 or self._callbacks["gradients"]
        early = course.early() if self._engine.updates_early and not whole else None
        losses = []
        for _ in range(p.iter_size):
            last = self._engine.forward_backward(self._watch, early)
            losses.append(last.loss)
        self._add(losses)
        if display:
            self._log.iteration(course.iter, self.loss.value, p.display)
            self._log.outputs("Train", last.outputs, self._engine.loss_weights)
        if self._ranks.size > 1:
            self._ranks.average(self._engine.grads)
        self._call("gradients")
        course.update(self.loss.value, early)
        self._call("update")
        return last

    def end(self) -> None:
        """Run the net once more behind the last iteration, for the loss that Caffe then logs."""
        number = self._course.iter
        self.loss.add(self._engine.forward(self._watch).loss, number - self._start)
        self._log(f"Iteration {number}, loss = {self.loss.value:g}")

    @np.errstate(over="ignore")  # a sum beyond float32 is infinite
    def _add(self, losses: Sequence[float]) -> None:
        """Add the mean loss of an iteration's passes, summed in float32 as Caffe does.

        Raises:
            CaffeCompatError: it is not finite.
        """
        total = np.float32(0)
        for loss in losses:
            total += np.float32(loss)
        mean = float(total / np.float32(len(losses)))
        if not math.isfinite(mean):
            raise CaffeCompatError(self._explain(mean))
        self.loss.add(mean, self._course.iter - self._start)

    def _explain(self, loss: float) -> str:
        """Say where a loss that is not finite began, and which snapshot precedes it."""
        layer = self._engine.first_not_finite()
        where = f", first at layer '{layer}'" if layer else ""
        last = self._course.last_snapshot
        snapshot = f"; the last snapshot before it is {last}" if last else ""
        return f"iteration {self._course.iter}: the loss is {loss:g}{where}{snapshot}"

    def _call(self, when: str) -> None:
        for function in self._callbacks[when]:
            function()
