"""What a solver starts from: its random stream, its device and its nets (solver.cpp, Init)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..caffe_pb2 import SolverParameter
from ..fillers.rng import FastRng, Rng, make_rng
from . import backends, parameters
from .engine import Engine
from .feeding import Feeds
from .log import Log
from .nets import BuiltNets, Nets
from .ranks import Ranks
from .readers import Readers


@dataclass(frozen=True)
class Scaffold:
    """What a solver starts from.

    Attributes:
        rng: the random stream.
        device: where torch or numpy runs, `cpu` or `cuda:N`.
        engine: what runs the train net.
        testers: what runs each test net.
    """

    rng: Rng
    device: str
    engine: Engine
    testers: list[Engine]


def build(
    p: SolverParameter,
    folder: Path,
    ranks: Ranks,
    log: Log,
    *,
    data: Iterable[Feeds] | None,
    test_data: Sequence[Iterable[Feeds]] | None,
    weights: Sequence[str | Path] | None,
    rng: str | Rng,
    engine: str,
    device: str,
    amp: str | None,
    tf32: bool,
    fork: str | None,
    skip_bad: bool,
    nets: Nets | None,
) -> Scaffold:
    """Build what a solver starts from, in Caffe's order; the arguments are `Solver`'s.

    Raises:
        CaffeCompatError: a net is one that Caffe refuses, or the device is not there.
    """
    seed = p.random_seed if p.random_seed >= 0 else secrets.randbelow(2**32)
    seed, rank = ranks.gather(seed)[0], ranks.rank
    first = None
    if isinstance(rng, str):  # a stream of its own for each process, as Caffe's GPUs have
        first, rng = make_rng(rng, seed % 2**32), make_rng(rng, (seed + rank) % 2**32)
    where = "cpu"
    if nets is None:
        drawn = seed + rank if isinstance(rng, FastRng) else None
        make, where = backends.choose(p, engine, device, amp=amp, tf32=tf32, seed=drawn)
        nets = BuiltNets(
            rng,
            log,
            make,
            Readers(
                folder,
                log,
                fork=fork,
                rank=rank,
                ranks=ranks.size,
                first=first if rank else None,
                skip_bad=skip_bad,
            ),
            data=data,
            test_data=test_data,
            weights=parameters.weights(p, folder) if weights is None else weights,
            splits=p.debug_info,
            fork=fork,
            ranks=ranks,
        )
    if amp:
        log(f"Layers compute in {amp}, the weights are float32.")
    train = parameters.train_net(p, folder)
    log(f"Creating training net from {train.origin}")
    trained = nets.train(train)
    testers = []
    for i, each in enumerate(parameters.test_nets(p, folder)):
        log(f"Creating test net (#{i}) specified by {each.origin}")
        testers.append(nets.test(i, each))
    ranks.broadcast(trained.params)
    log("Solver scaffolding done.")
    return Scaffold(rng, where, trained, testers)
