"""The course of a training: its updates, and all that goes from one run to the next."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .. import weights as weight_files
from ..caffe_pb2 import SolverParameter
from ..errors import WeightsError
from ..fillers.rng import Rng
from ..weights.solverstate import State
from .engine import Engine
from .log import Log
from .policies import Place, Schedule
from .ranks import Ranks
from .updates import RowUpdates, Updater

_SOURCE = "sgd_solver.cpp"


class Course:
    """How far a training has come: its iteration, rate, history, random stream and readers.

    Args:
        p: the solver's parameters.
        engine: the train net.
        testers: the test nets.
        rng: the random stream that all of them share.
        ranks: the processes of the training.
        log: where to log.

    Attributes:
        iter: the number of updates so far.
        schedule: the learning rate.
        last_snapshot: the solver state that was written or restored last.
    """

    def __init__(
        self,
        p: SolverParameter,
        engine: Engine,
        testers: Sequence[Engine],
        rng: Rng,
        ranks: Ranks,
        log: Log,
    ) -> None:
        self._p, self._engine, self._testers = p, engine, testers
        self._rng, self._ranks, self._log = rng, ranks, log
        self._updater = Updater(p, engine, log)
        self.schedule = Schedule(p)
        self.iter = 0
        self.last_snapshot: Path | None = None

    def early(self) -> RowUpdates | None:
        """Return what updates parameters during the next backward pass; see `Updater.early`."""
        if self._p.lr_policy == "plateau":  # its rate depends on the loss
            return None
        return self._updater.early(self.iter, self.schedule.next_rate(self.iter))

    @np.errstate(all="ignore")  # infinite weights show in the next loss, whose error is clear
    def update(self, loss: float, early: RowUpdates | None = None) -> None:
        """Change the weights by the gradients as they stand (sgd_solver.cpp, ApplyUpdate).

        Args:
            loss: the smoothed loss, by which some policies go.
            early: what updated some weights in the backward pass.
        """
        for line in self.schedule.advance(self.iter, loss):
            self._log(line, _SOURCE)
        rate = self.schedule.rate(self.iter)
        if self._p.display and self.iter % self._p.display == 0:
            self._log(f"Iteration {self.iter}, lr = {rate:g}", _SOURCE)
        self._updater.update(self.iter, rate, early)
        self.iter += 1

    def state(self, model: Path) -> State:
        """Return all that a later run needs to go on in the same bits.

        Args:
            model: where the weights go.
        """
        place = self.schedule.place
        readers = [engine.state() for engine in (self._engine, *self._testers)]
        for stream, reader in self._ranks.gather((self._rng.state(), readers[0]))[1:]:
            readers += [stream, reader]
        return State(
            self.iter,
            place.step,
            str(model),
            [self._engine.numpy(array) for array in self._updater.history],
            minimum_loss=place.minimum_loss,
            iter_last_event=place.last_event,
            random_stream=self._rng.state(),
            readers=readers,
        )

    def restore(self, state: State, model: Path | None, path: str) -> None:
        """Go to a state.

        Args:
            state: the state, Caffe's own or one of `state`.
            model: its weights; None where it names none.
            path: its file, for errors.

        Raises:
            WeightsError: it belongs to another net or solver.
        """
        history = self._updater.history
        if len(state.history) != len(history):
            raise WeightsError(
                f"{path}: its history has {len(state.history)} arrays, and a solver of type "
                f"{self._updater.type} for this net has {len(history)}"
            )
        owners = itertools.cycle(self._engine.learnables)
        for blob, own, array in zip(owners, history, state.history, strict=False):
            if array.shape != tuple(own.shape):
                raise WeightsError(
                    f"{path}: its history of the blob '{blob.blob}' of layer '{blob.layer}' is "
                    f"{array.shape}, and {tuple(own.shape)} in this net"
                )
        if model:
            self._engine.load(weight_files.read(model))
        self._log("SGDSolver: restoring history", _SOURCE)
        for own, array in zip(history, state.history, strict=True):
            own[...] = self._engine.array(array)
        self.iter = state.iter
        self.schedule.place = Place(state.current_step, state.minimum_loss, state.iter_last_event)
        self._go_to(state)

    def _go_to(self, state: State) -> None:
        """Let the stream and the readers go on where they were; a process has those of its rank."""
        engines = (self._engine, *self._testers)
        readers, stream = [*state.readers], state.random_stream
        own = len(engines) + 2 * (self._ranks.rank - 1)
        if self._ranks.rank:
            stream = readers[own] if own < len(readers) else b""
            readers[:1] = readers[own + 1 : own + 2] or readers[:1]
        if stream:
            self._rng.restore(stream)
        for engine, reader in zip(engines, readers, strict=False):
            engine.restore(reader)
