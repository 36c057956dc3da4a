"""Build a solver's nets, with what they are fed."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from .. import weights as weight_files
from ..errors import CaffeCompatError, ShapeError
from ..fillers.rng import Rng
from ..net.build import connect, create
from ..net.graph import Graph
from ..net.net import Net
from ..net.params import fill, match_weights
from ..prototxt.phase import select
from ..prototxt.splits import insert_splits
from ..prototxt.upgrade import upgrade
from ..weights.trained import Weights
from .backends import Make
from .engine import Engine, loss_weights
from .feeding import Batches, Feeder, Feeds
from .log import Log
from .parameters import NetSource
from .ranks import Ranks, Share
from .readers import Readers

_ALONE = Ranks()


class Nets(Protocol):
    """Makes the engines of a solver; the train net's first, then the test nets' in order."""

    def train(self, source: NetSource) -> Engine:
        """Return the engine of the train net."""

    def test(self, index: int, source: NetSource) -> Engine:
        """Return the engine of a test net; it shares the train net's blobs by layer name."""


class BuiltNets:
    """Nets from prototxts, that draw from one random stream as Caffe's solver does.

    Args:
        rng: the stream.
        log: where to log.
        make: makes an engine.
        readers: opens what the nets' own data layers read.
        data: batches for the train net; None: what its own data layers read.
        test_data: the same for each test net.
        weights: weights files to load, each over the ones before.
        splits: insert Caffe's Split layers, which `debug_info` lists.
        fork: whose layers, for types that forks of Caffe define differently.
        ranks: the processes that share the train net's batches.
    """

    def __init__(
        self,
        rng: Rng,
        log: Log,
        make: Make,
        readers: Readers,
        *,
        data: Iterable[Feeds] | None = None,
        test_data: Sequence[Iterable[Feeds]] | None = None,
        weights: Sequence[str | Path] = (),
        splits: bool = False,
        fork: str | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self._ranks = ranks or Ranks()
        self._rng, self._log, self._splits, self._fork = rng, log, splits, fork
        self._readers, self._data, self._test_data = readers, data, test_data
        names = [part.strip() for file in weights for part in str(file).split(",")]
        self._weights = [(name, weight_files.read(name)) for name in names]
        self._make = make
        self._engine: Engine | None = None

    def train(self, source: NetSource) -> Engine:
        """Return the engine of the train net.

        Raises:
            ShapeError: the net has no loss; or Caffe refuses it.
            CaffeCompatError: a layer is not known, weights do not fit, data are missing.
        """
        net, feeder = self._build(source, self._data, "data", self._ranks)
        if not loss_weights(net.graph):
            raise ShapeError(f"{source.origin}: the net has no loss in TRAIN, so nothing to learn")
        self._engine = self._make(net, feeder)
        return self._engine

    def test(self, index: int, source: NetSource) -> Engine:
        """Return the engine of a test net.

        Raises:
            CaffeCompatError: as for `train`.
        """
        assert self._engine is not None
        sources = self._test_data
        if sources is not None and index >= len(sources):
            raise ShapeError(
                f"test_data has {len(sources)} sources of batches, and test net #{index} "
                f"({source.origin}) needs one"
            )
        data = None if sources is None else sources[index]
        return self._engine.tester(*self._build(source, data, f"test_data[{index}]"))

    def alone(self, source: NetSource) -> Engine:
        """Return the engine of a net that is not trained.

        Raises:
            CaffeCompatError: as for `train`.
        """
        return self._make(*self._build(source, self._data, "data"))

    def _build(
        self, source: NetSource, data: Iterable[Feeds] | None, what: str, ranks: Ranks = _ALONE
    ) -> tuple[Net, Feeder]:
        try:
            return self._build_net(source, data, what, ranks)
        except CaffeCompatError as error:
            raise error.within(source.origin) from error

    def _build_net(
        self, source: NetSource, data: Iterable[Feeds] | None, what: str, ranks: Ranks
    ) -> tuple[Net, Feeder]:
        state = source.net.state
        message = select(upgrade(source.net), state.phase, state.level)
        message = insert_splits(message) if self._splits else message
        batches = (
            Batches(self._readers.open(message, self._rng, what) or itertools.repeat({}), what)
            if data is None
            else Share(data, what, ranks)
        )
        stored = self._weights[0][1].shapes if self._weights else None
        inputs = batches.shapes()
        graph = connect(message, create(message, self._fork, stored, self._readers.find), inputs)
        _check_fed(graph, inputs, what)
        _check_layers(graph)
        net = fill(graph, self._rng)
        for name, weights in self._weights:
            self._log(f"Finetuning from {name}")
            net = self._load(net, weights)
        return net, Feeder(Net(graph, ()), batches, self._rng)

    def _load(self, net: Net, weights: Weights) -> Net:
        """Return a net with copies of a file's blobs, by layer name (CopyTrainedLayersFrom)."""
        owned, report = match_weights(net.graph, weights)
        for layer in report.unused:
            self._log(f"Ignoring source layer {layer}", "net.cpp")
        arrays = tuple(
            tuple(
                np.array(owned[owner], np.float32).reshape(blob.shape) if owner in owned else array
                for blob, owner, array in zip(node.blobs, node.owners, arrays, strict=True)
            )
            for node, arrays in zip(net.graph.nodes, net.arrays, strict=True)
        )
        return Net(net.graph, arrays)


def _check_layers(graph: Graph) -> None:
    """Refuse a layer that cannot run now, and not at the first test after hours of training."""
    for node in graph.nodes:
        with node.layer.named():
            node.layer.check_forward()


def _check_fed(graph: Graph, fed: Collection[str], what: str) -> None:
    """Raise where an input has no batches and is not drawn either (DummyData).

    Raises:
        ShapeError: naming it.
    """
    drawn = {top for n in graph.nodes if n.layer.type == "DummyData" for top in n.layer.proto.top}
    for value in graph.inputs:
        if value.blob not in fed and value.blob not in drawn:
            raise ShapeError(
                f"input '{value.blob}' {value.shape} is not fed; give its batches as {what}",
                remedies=("feeds",),
            )
