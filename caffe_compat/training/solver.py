"""The solver: Caffe's loop over iterations, written once for every engine (solver.cpp)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ..caffe_pb2 import SolverParameter
from ..fillers.rng import Rng
from ..net.net import Net
from ..types import Array
from . import parameters, scaffold, snapshots
from .course import Course
from .engine import Pass
from .feeding import Feeds
from .iterations import Iterations
from .log import Log, Write
from .nets import Nets
from .ranks import Ranks
from .signals import Action
from .testing import Tests


class Solver:
    """A net in training.

    >>> solver = caffe_compat.Solver("solver.prototxt")
    >>> solver.solve()

    Args:
        source: a solver's prototxt, or its message.
        data: batches for the train net, an iterable of {blob: array}, one a pass; by default what
            the net's own data layers read.
        test_data: the same for each test net, in their order.
        weights: weights files to start from; they take the place of the solver's own.
        rng: the random stream, by name as for `caffe_compat.load`, or itself.
        folder: the folder of files that `source` names and that are not in the current one; by
            default the solver's own.
        log: takes each line of the log, as Caffe words it.
        engine: `torch`, `numpy`, or `auto`: torch where it is installed.
        device: `cpu`, `cuda`, `cuda:N`, or `auto`: what solver_mode and device_id name, and the CPU
            where that is not there.
        amp: `bf16` lets torch compute layers in bfloat16; the weights stay float32.
        tf32: let a GPU round the factors of its products to 10 bits.
        fork: whose layers, for types that forks of Caffe define differently under one name.
        skip_bad: pass over records that the net's data layers cannot read, with a warning.
        nets: makes the nets, in place of all arguments above but the first.

    Attributes:
        param: the solver's parameters.
        engine: what runs the train net.
        testers: what runs each test net.
        rng: the random stream.
        device: where torch or numpy runs, `cpu` or `cuda:N`.
        action: asked after each update for what a signal requests.

    Raises:
        CaffeCompatError: the solver or a net of it is one that Caffe refuses.
    """

    def __init__(
        self,
        source: str | Path | SolverParameter,
        *,
        data: Iterable[Feeds] | None = None,
        test_data: Sequence[Iterable[Feeds]] | None = None,
        weights: Sequence[str | Path] | None = None,
        rng: str | Rng = "boost-1.64",
        folder: str | Path | None = None,
        log: Write | None = None,
        engine: str = "auto",
        device: str = "auto",
        amp: str | None = None,
        tf32: bool = False,
        fork: str | None = None,
        skip_bad: bool = False,
        nets: Nets | None = None,
    ) -> None:
        self._ranks = Ranks.current()
        self._log = Log(log if self._ranks.rank == 0 else None)
        self.param, beside = parameters.checked(source)
        p, folder = self.param, Path(folder or beside)
        self._log(f"Initializing solver from parameters: \n{p}")
        if p.snapshot:
            snapshots.check_writable(p)
        built = scaffold.build(
            p,
            folder,
            self._ranks,
            self._log,
            data=data,
            test_data=test_data,
            weights=weights,
            rng=rng,
            engine=engine,
            device=device,
            amp=amp,
            tf32=tf32,
            fork=fork,
            skip_bad=skip_bad,
            nets=nets,
        )
        self.rng, self.device = built.rng, built.device
        self.engine, self.testers = built.engine, built.testers
        self._course = Course(p, self.engine, self.testers, self.rng, self._ranks, self._log)
        self._stopped = False
        self._callbacks: dict[str, list[Callable[[], None]]] = {
            "start": [],
            "gradients": [],
            "update": [],
        }
        self._iterations = Iterations(
            p, self.engine, self._course, self._ranks, self._log, self._callbacks
        )
        self._tests = Tests(p, self.testers, self._log, self._stops)
        self.action: Callable[[], Action] = lambda: Action.NONE

    @property
    def iter(self) -> int:
        """The number of updates so far."""
        return self._course.iter

    @iter.setter
    def iter(self, number: int) -> None:
        self._course.iter = number

    @property
    def net(self) -> Net:
        """The train net with its weights as they are."""
        return self.engine.net()

    @property
    def test_nets(self) -> tuple[Net, ...]:
        """The test nets; they share the train net's weights."""
        return tuple(tester.net() for tester in self.testers)

    @property
    def lr(self) -> float:
        """The learning rate of the next update."""
        return self._course.schedule.next_rate(self.iter)

    @property
    def smoothed_loss(self) -> float:
        """The mean loss of the last `average_loss` iterations of this `step`."""
        return self._iterations.loss.value

    @property
    def gradients(self) -> Mapping[str, Mapping[str, Array]]:
        """The gradients by layer and blob; after an update what it subtracted, as in Caffe."""
        named: dict[str, dict[str, Array]] = {}
        for each, grad in zip(self.engine.learnables, self.engine.grads, strict=True):
            named.setdefault(each.layer, {})[each.blob] = self.engine.numpy(grad)
        return named

    def add_callback(
        self,
        on_start: Callable[[], None] | None = None,
        on_gradients: Callable[[], None] | None = None,
        on_update: Callable[[], None] | None = None,
    ) -> None:
        """Call functions in each iteration: before its first pass, before and after its update."""
        given = {"start": on_start, "gradients": on_gradients, "update": on_update}
        for when, function in given.items():
            if function is not None:
                self._callbacks[when].append(function)

    def solve(self, snapshot: str | Path | None = None) -> None:
        """Train to max_iter, with a snapshot at the end (solver.cpp, Solve).

        Args:
            snapshot: a solver state to go on from.

        Raises:
            CaffeCompatError: as for `step` and `restore`.
        """
        p = self.param
        if p.snapshot_after_train:
            snapshots.check_writable(p)
        self._log(f"Solving {self.engine.name}")
        self._log(f"Learning Rate Policy: {p.lr_policy}")
        self._stopped = False
        if snapshot is not None:
            self.restore(snapshot)
        self.step(p.max_iter - self.iter)
        if p.snapshot_after_train and not (p.snapshot and self.iter % p.snapshot == 0):
            self.snapshot()
        if self._stopped:
            self._log("Optimization stopped early.")
            return
        if p.display and self.iter % p.display == 0:
            self._iterations.end()
        if p.test_interval and self.iter % p.test_interval == 0:
            self.test_all()
        self._log("Optimization Done.")

    @property
    def stopped(self) -> bool:
        """Whether a signal stopped the last run."""
        return self._stopped

    def step(self, iterations: int) -> Pass | None:
        """Update the weights that many times, testing and taking snapshots on the way.

        Returns:
            The last pass, of its iteration's last sub-batch; None if there was none.

        Raises:
            CaffeCompatError: the loss is not finite: the layer where that began, and the last
                snapshot; data are missing, or a snapshot cannot be written.
        """
        p, last = self.param, None
        self._iterations.begin()
        for _ in range(iterations):
            self.engine.clear()
            due = p.test_interval and self.iter % p.test_interval == 0
            if due and (self.iter or p.test_initialization):
                self.test_all()
                if self._stopped:
                    break
            last = self._iterations.run()
            request = Action(self._ranks.largest(self.action().value))
            if (p.snapshot and self.iter % p.snapshot == 0) or request is Action.SNAPSHOT:
                self.snapshot()
            if request is Action.STOP:
                self._stopped = True
                break
        return last

    def apply_update(self) -> None:
        """Change the weights by the gradients as they stand (sgd_solver.cpp, ApplyUpdate)."""
        self._course.update(self.smoothed_loss)

    def test_all(self) -> list[dict[str, Array]]:
        """Test every test net, with several processes in the first alone; see `test`."""
        scores: list[dict[str, Array]] = []
        if self._ranks.rank:
            return scores
        for i in range(len(self.testers)):
            if self._stopped:
                break
            scores.append(self.test(i))
        return scores

    def test(self, index: int = 0) -> dict[str, Array]:
        """Run a test net for its test_iter batches, and log its mean outputs.

        Returns:
            The mean of each output over the batches, by blob; nothing if a signal stopped it.
        """
        return self._tests.run(index, self.iter)

    def _stops(self) -> bool:
        """Do what signals request while a test runs; several processes do so after an update."""
        while self._ranks.size == 1 and (request := self.action()) is not Action.NONE:
            if request is Action.STOP:
                self._stopped = True
                break
            self.snapshot()
        return self._stopped

    def snapshot(self) -> tuple[Path, Path]:
        """Write the weights and the solver's state; of several processes all must call this.

        Returns:
            The paths of the caffemodel and of the solver state.

        Raises:
            CaffeCompatError: a file cannot be written, or would replace one that is no snapshot.
        """
        p = self.param
        model, resume = snapshots.paths(p, self.iter)
        kind = "HDF5" if p.snapshot_format == SolverParameter.HDF5 else "binary proto"
        self._log(f"Snapshotting to {kind} file {model}")
        self._log(f"Snapshotting solver state to {kind} file {resume}", "sgd_solver.cpp")
        state = self._course.state(model)
        if self._ranks.rank == 0:
            snapshots.write(p, self.engine, state)
        self._course.last_snapshot = resume
        return model, resume

    def restore(self, path: str | Path) -> None:
        """Go on from a solver state, Caffe's own or one written here.

        Raises:
            WeightsError: a file is missing or damaged, or belongs to another net or solver.
        """
        self._log(f"Restoring previous solver status from {path}")
        state, model = snapshots.restore(path)
        self._course.restore(state, model, str(path))
        self._course.last_snapshot = Path(path)
