"""pycaffe's solvers: the package's own, on live nets."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..caffe_pb2 import SolverParameter
from ..training import parameters
from ..training.solver import Solver as Training
from . import mode
from .arguments import check_file
from .blob import NetVec
from .live import LiveNets
from .net import Net


class Solver:
    """A net in training.

    Args:
        param_file: a solver's prototxt.

    Raises:
        CaffeCompatError: the solver or a net of it is refused; the message says where and why.
    """

    _type: str | None = None  # None: the prototxt's

    def __init__(self, param_file: str) -> None:
        path = os.fspath(param_file)
        check_file(path)
        param = parameters.read(path)
        if self._type is not None:
            param.type = self._type
        if param.random_seed >= 0:
            mode.set_random_seed(param.random_seed)
        nets = LiveNets(list(param.weights))
        self._solver = Training(
            param, folder=Path(path).parent, rng=mode.rng(), log=_log, nets=nets
        )
        self._net = nets.engines[0].live
        self._test_nets = NetVec(engine.live for engine in nets.engines[1:])

    @property
    def net(self) -> Net:
        """The train net."""
        return self._net

    @property
    def test_nets(self) -> NetVec:
        """The test nets; they share the train net's parameters from their first test on."""
        return self._test_nets

    @property
    def iter(self) -> int:
        """The number of updates so far."""
        return self._solver.iter

    @property
    def lr(self) -> float:
        """The learning rate of the next update."""
        return self._solver.lr

    @property
    def param(self) -> SolverParameter:
        """The solver's parameters; what is set in them holds from the next update on."""
        return self._solver.param

    @property
    def base_lr(self) -> float:
        """The learning rate that the policy starts from."""
        return self._solver.param.base_lr

    @base_lr.setter
    def base_lr(self, rate: float) -> None:
        self._solver.param.base_lr = rate

    def step(self, iterations: int) -> None:
        """Update the weights that many times, testing and taking snapshots on the way."""
        self._solver.step(int(iterations))

    def solve(self, resume_file: str | None = None) -> None:
        """Train to max_iter."""
        self._solver.solve(resume_file)

    def restore(self, state_file: str) -> None:
        """Go on from a solver state."""
        self._solver.restore(state_file)

    def snapshot(self) -> None:
        """Write the weights and the solver's state."""
        self._solver.snapshot()

    def apply_update(self) -> None:
        """Change the weights by the gradients as they stand."""
        self._solver.apply_update()

    def share_weights(self, net: Net) -> None:
        """Make a net's parameters the train net's."""
        net.share_with(self._net)

    def add_callback(
        self, on_start: Callable[[], Any], on_gradients_ready: Callable[[], Any]
    ) -> None:
        """Call two functions in each iteration: before its forward, and before the update."""
        self._solver.add_callback(on_start, on_gradients_ready)


class SGDSolver(Solver):
    """Stochastic gradient descent with momentum."""

    _type = "SGD"


class NesterovSolver(SGDSolver):
    """Nesterov's accelerated gradient."""

    _type = "Nesterov"


class AdaGradSolver(SGDSolver):
    """AdaGrad."""

    _type = "AdaGrad"


class RMSPropSolver(SGDSolver):
    """RMSProp."""

    _type = "RMSProp"


class AdaDeltaSolver(SGDSolver):
    """AdaDelta."""

    _type = "AdaDelta"


class AdamSolver(SGDSolver):
    """Adam."""

    _type = "Adam"


_SOLVERS: dict[str | None, type[SGDSolver]] = {
    cls._type: cls
    for cls in (
        SGDSolver, NesterovSolver, AdaGradSolver, RMSPropSolver, AdaDeltaSolver, AdamSolver,
    )
}  # fmt: skip


def get_solver(param_file: str) -> Solver:
    """Return the solver of the type that a prototxt gives."""
    check_file(os.fspath(param_file))
    kind = parameters.read(os.fspath(param_file)).type
    return _SOLVERS.get(kind, Solver)(param_file)


def _log(line: str) -> None:
    if mode.logs():
        print(line, file=sys.stderr)  # noqa: T201
