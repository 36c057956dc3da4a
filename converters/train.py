"""`caffe-compat train`: a solver's prototxt to trained weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..caffe_pb2 import SolverParameter
from ..errors import CaffeCompatError
from ..training import backends, parameters, ranks, signals
from ..training.log import Log
from ..training.report import Events, Report
from ..training.signals import Action
from ..training.snapshots import paths
from ..training.solver import Solver
from . import options, training
from .terminal import on_terminal, say


class Effect(str, Enum):
    """The effect of a signal."""

    STOP = "stop"
    SNAPSHOT = "snapshot"
    NONE = "none"

    @property
    def action(self) -> Action:
        """The solver's name for it."""
        return Action[self.name]


def command(
    solver: Annotated[
        Path | None, typer.Argument(metavar="SOLVER.prototxt", show_default=False)
    ] = None,
    *,
    solver_option: Annotated[
        Path | None, typer.Option("--solver", metavar="FILE", help="The solver, as Caffe's own.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option("--weights", metavar="A,B", help="Weights to start from, by layer name."),
    ] = None,
    snapshot: Annotated[
        Path | None,
        typer.Option("--snapshot", metavar="X.solverstate", help="Go on from this state."),
    ] = None,
    snapshot_prefix: Annotated[
        str | None,
        typer.Option(
            "--snapshot-prefix", metavar="PATH", help="Where snapshots go, over the solver's."
        ),
    ] = None,
    feed: training.Feed = None,
    stage: training.Stage = None,
    level: training.Level = 0,
    fork: training.Fork = None,
    skip_bad: options.SkipBad = False,
    engine: training.Engine = "auto",
    device: training.Device = "auto",
    amp: Annotated[
        str | None,
        typer.Option("--amp", metavar="bf16", help="Compute layers in bfloat16, by torch."),
    ] = None,
    tf32: Annotated[
        bool, typer.Option("--tf32", help="Let a GPU round factors to 10 bits.")
    ] = False,
    custom: options.Custom = None,
    rng: Annotated[
        str,
        typer.Option("--rng", metavar="NAME", help="Whose random numbers; see `init`."),
    ] = "boost-1.64",
    curves: Annotated[
        Path | None,
        typer.Option(
            "--curves", metavar="OUT.html|OUT.png", help="Draw loss, outputs and learning rate."
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None,
        typer.Option("--tensorboard", metavar="DIR", help="Write TensorBoard's event files."),
    ] = None,
    sigint_effect: Annotated[
        Effect, typer.Option("--sigint-effect", help="What SIGINT does.")
    ] = Effect.STOP,
    sighup_effect: Annotated[
        Effect, typer.Option("--sighup-effect", help="What SIGHUP does.")
    ] = Effect.SNAPSHOT,
) -> None:
    """Train a net by its solver's prototxt, with Caffe's numbers and log."""
    path = solver or solver_option
    if path is None or (solver and solver_option):
        raise typer.BadParameter("name one solver: SOLVER.prototxt or --solver FILE")
    if weights and snapshot:
        raise typer.BadParameter("give --snapshot or --weights, not both")
    p, folder = parameters.checked(path)
    if snapshot_prefix is not None:
        p.snapshot_prefix = snapshot_prefix
    if level:
        p.train_state.level = level
    p.train_state.stage.extend(training.split(stage))
    try:
        source = parameters.train_net(p, folder)
    except CaffeCompatError as error:
        raise error.within(str(path)) from error
    with ranks.joined(device) as processes:
        first = processes.rank == 0
        if first:
            _show_files(p, source.origin)
        place = backends.place(p, engine, device)
        with _outputs(*((curves, tensorboard) if first else (None, None))) as watch:

            def write(line: str) -> None:
                training.write_log(line)
                watch(line)

            log = Log(write if first else None)
            training.log_device(log, place)
            trained = Solver(
                p,
                folder=folder,
                data=training.rows(feed, source.net) if feed else None,
                weights=[] if snapshot else weights,
                rng=rng,
                engine=engine,
                device=place,
                amp=amp,
                tf32=tf32,
                fork=fork,
                skip_bad=skip_bad,
                log=write,
            )
            effects = sigint_effect.action, sighup_effect.action
            with signals.handling(*effects) as trained.action, _bar(trained, first):
                if snapshot:
                    log(f"Resuming from {snapshot}", "caffe.cpp")
                    trained.restore(snapshot)
                log("Starting Optimization", "caffe.cpp")
                trained.solve()
            log("Optimization Done.", "caffe.cpp")


def _show_files(p: SolverParameter, net: str) -> None:
    """Print what a training reads and writes."""
    say(f"note: reads {net}", err=True)
    if p.snapshot or p.snapshot_after_train:
        model, state = (str(each).replace("_iter_0.", "_iter_N.") for each in paths(p, 0))
        say(f"note: writes {model} and {state}", err=True)


@contextmanager
def _outputs(curves: Path | None, tensorboard: Path | None) -> Iterator[Any]:
    """Give what takes each line of the log, and write curves and events from them."""
    takers: list[Any] = []
    report = Report(curves) if curves else None
    events = Events(tensorboard) if tensorboard else None
    takers = [each for each in (report, events) if each is not None]

    def take(line: str) -> None:
        for each in takers:
            each(line)

    try:
        yield take
    finally:
        for each in takers:
            each.close()


@contextmanager
def _bar(solver: Solver, first: bool) -> Iterator[None]:
    """Show iterations, loss, learning rate, images a second and the time left on a terminal."""
    if not first or not on_terminal(sys.stderr):
        yield
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    fields = "loss {task.fields[loss]:.4g}  lr {task.fields[lr]:.3g}  {task.fields[speed]}"
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(fields),
        TimeRemainingColumn(),
    )
    batch = next((v.shape[0] for v in solver.net.graph.values if v.shape), 1)
    images = batch * solver.param.iter_size
    with Progress(
        *columns, console=Console(stderr=True), redirect_stdout=on_terminal(sys.stdout)
    ) as progress:
        task = progress.add_task(
            "", total=solver.param.max_iter, completed=solver.iter, loss=0.0, lr=solver.lr, speed=""
        )

        def show() -> None:
            speed = progress.tasks[0].speed
            progress.update(
                task,
                completed=solver.iter,
                loss=solver.smoothed_loss,
                lr=solver.lr,
                speed=f"{speed * images:,.0f} images/s" if speed else "",
            )

        solver.add_callback(on_update=show)
        yield
