"""The tests of a solver's test nets (solver.cpp, Test)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..caffe_pb2 import SolverParameter
from ..types import Array
from .debug import logged
from .detections import Detections, mean
from .engine import Engine, Pass
from .log import Log
from .scoring import Sums


class Tests:
    """The test nets of a solver, and how they are run.

    Args:
        p: the solver's parameters.
        testers: what runs each test net.
        log: where to log.
        stops: asked before each batch whether a signal stops the training.
    """

    def __init__(
        self,
        p: SolverParameter,
        testers: Sequence[Engine],
        log: Log,
        stops: Callable[[], bool],
    ) -> None:
        self._p, self._testers, self._log, self._stops = p, testers, log, stops

    def run(self, index: int, iteration: int) -> dict[str, Array]:
        """Run a test net for its test_iter batches, and log what they score.

        Args:
            index: of the test net.
            iteration: the number of updates so far.

        Returns:
            The mean of each output over the batches, by blob, with eval_type `detection` its mean
            average precision; nothing if a signal stopped it.
        """
        p, tester = self._p, self._testers[index]
        self._log(f"Iteration {iteration}, Testing net (#{index})")
        watch = logged(self._log) if p.debug_info else None
        sums, rows = Sums(), Detections()
        detects = p.eval_type == "detection"
        for _ in range(p.test_iter[index]):
            if self._stops():
                self._log("Test interrupted.")
                return {}
            result = tester.forward(watch)
            sums.add(Pass(result.loss, {}) if detects else result)
            if detects:
                rows.add(result.outputs)
        if p.test_compute_loss:
            self._log(f"Test loss: {sums.loss():g}")
        scores = self._precisions(rows) if detects else sums.means()
        self._log.outputs("Test", scores, {} if detects else tester.loss_weights)
        return scores

    def _precisions(self, rows: Detections) -> dict[str, Array]:
        """Return the mean average precision of each output, and log what it comes from."""
        precisions = rows.precisions(self._p.ap_version)
        for labels in precisions.values():
            for label, precision in labels.items():
                if precision is None:
                    self._log(f"Missing true_pos for label: {label}", severity="W")
                elif self._p.show_per_class_result:
                    self._log(f"class{label}: {precision:g}")
        return {name: mean(labels) for name, labels in precisions.items()}
