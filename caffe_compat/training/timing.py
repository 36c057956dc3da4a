"""Time each layer forward and backward, as `caffe time` does (tools/caffe.cpp)."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..data.iterator import Batches
from ..errors import ShapeError
from ..fillers.rng import make_rng
from ..net.net import Net
from ..runtime.sampling import random_feeds
from ..types import Array
from .log import Log

_SOURCE = "caffe.cpp"


def time_layers(net: Net, iterations: int, log: Log, reader: Batches | None = None) -> None:
    """Run a net forward and backward in numpy, and log what each layer takes.

    Args:
        net: the net.
        iterations: how often.
        log: where to log.
        reader: what its data layers read, whose waits are timed too. None: inputs are random, and
            data layers read nothing.

    Raises:
        ShapeError: there are no iterations.
        UnsupportedError: a layer has no pass in numpy.
    """
    if iterations < 1:
        raise ShapeError(f"iterations must be at least 1, and is {iterations}")
    clock = _Clock(net, reader)
    log("Performing Forward", _SOURCE)
    loss = clock.forward()
    log(f"Initial loss: {loss:g}", _SOURCE)
    log("Performing Backward", _SOURCE)
    clock.backward()
    log("*** Benchmark begins ***", _SOURCE)
    log(f"Testing for {iterations} iterations.", _SOURCE)
    clock.start()
    begin = time.perf_counter()
    for i in range(iterations):
        since = time.perf_counter()
        clock.forward()
        clock.backward()
        took = (time.perf_counter() - since) * 1000
        log(f"Iteration: {i + 1} forward-backward time: {took:g} ms.", _SOURCE)
    total = (time.perf_counter() - begin) * 1000
    log("Average time per layer: ", _SOURCE)
    for node, ahead, back in zip(net.graph.nodes, clock.ahead, clock.back, strict=True):
        for way, seconds in (("forward", ahead), ("backward", back)):
            log(f"{node.layer.name:>10}\t{way}: {seconds * 1000 / iterations:g} ms.", _SOURCE)
    for way, times in (("Forward", clock.ahead), ("Backward", clock.back)):
        log(f"Average {way} pass: {sum(times) * 1000 / iterations:g} ms.", _SOURCE)
    log(f"Average Forward-Backward: {total / iterations:g} ms.", _SOURCE)
    log(f"Total Time: {total:g} ms.", _SOURCE)
    log("*** Benchmark ends ***", _SOURCE)


class _Clock:
    """A net whose layers are timed, each by itself.

    Args:
        net: the net.
        reader: what its data layers read; None: nothing.

    Attributes:
        ahead: the seconds that each node has taken forward.
        back: likewise backward.
    """

    def __init__(self, net: Net, reader: Batches | None) -> None:
        self._net, self._reader = net, reader
        self._feeds, self._rng = random_feeds(net), make_rng("fast", 0)
        self._state = net.state()
        self._values: dict[str, Array] = {}
        self._kept: dict[int, dict[str, Any]] = {}
        self.ahead: list[float] = []
        self.back: list[float] = []
        self.start()

    def start(self) -> None:
        """Set all times to 0."""
        self.ahead = [0.0] * len(self._net.graph.nodes)
        self.back = [0.0] * len(self._net.graph.nodes)

    def forward(self) -> float:
        """Run the net, and return its loss."""
        extra = self._net.draw(self._rng)
        for index in [*extra]:
            if self._net.graph.nodes[index].layer.feeds():
                extra.pop(index)
        for index, arrays in self._state.items():
            extra[index] = {**extra.get(index, {}), **arrays}
        kept: dict[int, dict[str, Any]] = {}
        feeds = {**self._feeds, **self._read()}
        since = [time.perf_counter()]

        def watch(index: int) -> None:
            now = time.perf_counter()
            self.ahead[index] += now - since[0]
            since[0] = now

        self._values = self._net.run(feeds, extra, kept, watch)
        self._kept = {i: {**extra.get(i, {}), **kept.get(i, {})} for i in extra | kept}
        return sum(
            weight * float(self._values[top.name].sum())
            for node in self._net.graph.nodes
            for top, weight in zip(node.tops, node.loss_weights, strict=True)
        )

    def _read(self) -> dict[str, Array]:
        """Return the next batch of each data layer."""
        batch: dict[str, Array] = {}
        for index, node in enumerate(self._net.graph.nodes):
            if self._reader and node.layer.name in self._reader.layers:
                since = time.perf_counter()
                batch |= self._reader.next_of(node.layer.name)
                self.ahead[index] += time.perf_counter() - since
        return batch

    def backward(self) -> None:
        """Run the net backward: every gradient, as Caffe's benchmark does not leave any out."""
        since = [time.perf_counter()]

        def watch(index: int, flows: object, sums: object) -> None:
            now = time.perf_counter()
            self.back[index] += now - since[0]
            since[0] = now

        with np.errstate(all="ignore"):
            self._net.backward(self._values, {}, self._kept, None, watch)
