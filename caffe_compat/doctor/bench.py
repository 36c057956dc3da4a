"""Measures nets, each under the same random numbers and the same input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from ..errors import ShapeError
from ..fillers.rng import Rng, make_rng
from ..net.graph import Graph
from ..net.net import Net
from ..net.params import fill
from ..net.params import load as load_weights
from ..progress import track
from ..runtime.sampling import random_feeds
from ..types import Array
from ..weights.trained import Weights
from .ends import zeros_of
from .flow import Flow
from .signals import Signal, Stats, average, list_signals, measure

Data: TypeAlias = Array | Mapping[str, Array] | None
_Key: TypeAlias = tuple[object, ...]


class Bench:
    """Measures nets; what was measured once is not measured again.

    Args:
        seeds: the seeds of the fillers' random numbers, one for each trial.
        rng: whose random numbers.
        data: input in place of random numbers: for the first input, or by input's name.
    """

    def __init__(self, seeds: range, rng: str, data: Data) -> None:
        self._seeds, self._rng, self._data = seeds, rng, data
        self._trials: dict[_Key, tuple[Graph, list[Stats]]] = {}
        self._zeros: dict[_Key, frozenset[str]] = {}

    def measure(self, graph: Graph, weights: Weights | None = None, count: int = 0) -> Flow:
        """Return the measurements of so many trials, 0 for all of them."""
        count = count or len(self._seeds)
        key = _key(graph, weights)
        graph, stats = self._trials.setdefault(key, (graph, []))
        for trial in track(range(len(stats), count), "measuring"):
            net, _ = draw(graph, weights, make_rng(self._rng, self._seeds[trial]))
            self._zeros.setdefault(key, zeros_of(net))
            stats.append(measure(net, make_feeds(net, trial, self._data), trial))
        return Flow(graph, average(stats[:count]), self._zeros[key])

    def signals(self, graph: Graph, weights: Weights | None = None) -> tuple[Signal, ...]:
        """Return the measurements of all trials layer by layer, with the theory."""
        flow = self.measure(graph, weights)
        net, _ = draw(graph, weights, make_rng(self._rng, self._seeds[0]))
        return list_signals(net, flow.stats)


def draw(graph: Graph, weights: Weights | None, rng: Rng) -> tuple[Net, frozenset[str]]:
    """Return the net, and the layers whose blobs are the file's."""
    if weights is None:
        return fill(graph, rng), frozenset()
    net, report = load_weights(graph, weights, rng)
    return net, frozenset(node.layer.name for node in graph.nodes) - set(report.left)


def feeds_of(graph: Graph, data: Data) -> Mapping[str, Array]:
    """Return the caller's data by input.

    Raises:
        ShapeError: the net has no input.
    """
    if data is None or isinstance(data, Mapping):
        return data or {}
    if not graph.inputs:
        raise ShapeError("the net has no input to take data")
    return {graph.inputs[0].blob: data}


def make_feeds(net: Net, trial: int, data: Data) -> dict[str, Array]:
    """Return an array for each input, random where the caller has none.

    Raises:
        ShapeError: the data do not fit the net's input.
    """
    feeds = random_feeds(net, trial)
    shapes = {value.blob: value.shape for value in net.graph.inputs}
    for blob, array in feeds_of(net.graph, data).items():
        if blob not in shapes:
            raise ShapeError(f"the net has no input '{blob}'; its inputs: {', '.join(shapes)}")
        if array.shape != shapes[blob]:
            raise ShapeError(f"input '{blob}' is {shapes[blob]}, the data are {array.shape}")
        feeds[blob] = np.asarray(array, np.float32)
    return feeds


def _key(graph: Graph, weights: Weights | None) -> _Key:
    """Return what tells graphs apart that were made of one: the layers and the fillers."""
    nodes = (
        (node.layer, *(b.filler and b.filler.SerializeToString() for b in node.blobs))
        for node in graph.nodes
    )
    return (weights is not None, *nodes)
