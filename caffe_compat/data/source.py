"""The base of every data layer's source: it plans a batch, whose parts fill in any order.

To plan takes the records and all random numbers in Caffe's order, in one thread. The rest, decoding
and transforming, is the same whoever does it and when.
"""

from __future__ import annotations

import functools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from ..caffe_pb2 import TRAIN, LayerParameter
from ..errors import ParseError, ShapeError
from ..types import AnyArray, Array, Shape
from ..weights import read_mean
from .paths import Paths
from .streams import CRand

log = logging.getLogger("caffe_compat")

State = dict[str, Any]
"""A source's place: whole numbers, texts, bytes and arrays by name."""

T = TypeVar("T")
R = TypeVar("R")
Run = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]
"""Calls a function on each item, in any order, and returns the results in the items' order."""


def run_here(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Call the function on each item, one after another."""
    return [function(item) for item in items]


@dataclass(frozen=True)
class Access:
    """How a layer is read.

    Attributes:
        words: what the layer drew from the net's stream when it was set up, in its order.
        own: the same for this rank, whose net's seed is the first rank's plus the rank.
        rank: which of `ranks` this is: in TRAIN it takes every `ranks`-th record (Skip).
        ranks: how many read the same source together.
        paths: where relative paths are looked up.
        skip_bad: pass over records that cannot be read, in place of an error.
        rand: the C library's `rand()`, one for the whole process: HDF5Data shuffles by it.
    """

    words: Sequence[int] = ()
    own: Sequence[int] = ()
    rank: int = 0
    ranks: int = 1
    paths: Paths = field(default_factory=Paths)
    skip_bad: bool = False
    rand: CRand = field(default_factory=CRand)


class Plan(NamedTuple):
    """A batch on its way.

    Attributes:
        tops: an array for each top, not all of them filled.
        jobs: the calls that fill what is not.
    """

    tops: list[AnyArray]
    jobs: Sequence[Callable[[], None]]


class Bad(NamedTuple):
    """A record that cannot be read."""

    reason: str


class Source(ABC):
    """The records that one data layer reads.

    Args:
        layer: the layer, with its phase.
        access: how it is read.

    Attributes:
        in_turn: whether batches are planned when they are asked for and not ahead, since other
            sources draw from the same stream.
        skipped: by record, why it could not be read; with `skip_bad` only.
    """

    in_turn = False

    def __init__(self, layer: LayerParameter, access: Access):
        self.layer, self.access = layer, access
        self.skipped: dict[str, str] = {}

    @abstractmethod
    def shapes(self) -> list[Shape]:
        """Return the tops' shapes as Caffe sets them up, from the first record."""

    @abstractmethod
    def plan(self, run: Run = run_here) -> Plan:
        """Take the next batch's records and random numbers."""

    @abstractmethod
    def state(self) -> State:
        """Return the place before the next batch."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Go to a place that `state` returned.

        Raises:
            ParseError: the source does not have it.
        """

    def close(self) -> None:  # noqa: B027  # most sources have no file open
        """Let files go. No planned batch may be filled from then on."""

    def attempt(self, load: Callable[[T], R], record: T) -> R | Bad:
        """Load a record; with `skip_bad` return why it cannot be, in place of an error."""
        if not self.access.skip_bad:
            return load(record)
        try:
            return load(record)
        except ParseError as error:
            return Bad(str(error))

    def skip(self, name: str, reason: str) -> None:
        """Count a record that cannot be read, once."""
        if name not in self.skipped:
            self.skipped[name] = reason
            log.warning("skipped: %s", reason)


class RecordSource(Source, Generic[T, R]):
    """A source of records of type T that are loaded one by one to an R, by whoever has time."""

    batch_size: int

    def __init__(self, layer: LayerParameter, access: Access):
        super().__init__(layer, access)
        self.train = layer.phase == TRAIN
        self.offset = 0  # records passed, of all ranks and epochs

    @abstractmethod
    def __len__(self) -> int:
        """Return how many records there are."""

    @abstractmethod
    def current(self) -> T:
        """Return the record at this place."""

    @abstractmethod
    def advance(self) -> None:
        """Go to the next record, behind the last to the first."""

    @abstractmethod
    def load(self, record: T) -> R:
        """Read and decode a record; called by any thread.

        Raises:
            ParseError: it cannot be read.
        """

    @abstractmethod
    def name(self, record: T) -> str:
        """Return what to call the record in errors."""

    @abstractmethod
    def batch(self, taken: Sequence[tuple[T, R]]) -> Plan:
        """Make a batch of loaded records, with the random numbers that are next."""

    @abstractmethod
    def pass_over(self, count: int) -> None:
        """Go past records and their random numbers without reading them.

        Raises:
            UnsupportedError: how many numbers a record takes is only known when it is read.
        """

    def plan(self, run: Run = run_here) -> Plan:
        """Take the next batch."""
        return self.batch(self.take(run))

    def block(self, count: int) -> Plan:
        """Take so many records, or with `skip_bad` those of them that can be read."""
        taken = [(record, self.attempt(self.load, record)) for record in self.steps(count)]
        for record, loaded in taken:
            if isinstance(loaded, Bad):
                self.skip(self.name(record), loaded.reason)
        good = [(r, loaded) for r, loaded in taken if not isinstance(loaded, Bad)]
        if not good:
            raise ParseError(f"none of the {count} records of a block can be read")
        return self.batch(good)

    def steps(self, count: int) -> list[T]:
        """Take the next records of this rank."""
        return [self._step() for _ in range(count)]

    def take(self, run: Run) -> list[tuple[T, R]]:
        """Return the next batch's records, loaded; with `skip_bad` only those that can be.

        Raises:
            ParseError: one cannot be read; with `skip_bad`, none of very many.
        """
        taken: list[tuple[T, R]] = []
        bad = 0
        while len(taken) < self.batch_size:
            records = self.steps(self.batch_size - len(taken))
            for record, loaded in zip(
                records, run(functools.partial(self.attempt, self.load), records), strict=True
            ):
                if isinstance(loaded, Bad):
                    self.skip(self.name(record), loaded.reason)
                    bad += 1
                else:
                    taken.append((record, loaded))
            if not taken and bad >= MOST_BAD * self.batch_size:
                raise ParseError(f"none of {bad} records can be read; see the warnings")
        return taken

    def first(self) -> R:
        """Return what the next record holds, and stay before it; with `skip_bad` one that can be.

        Raises:
            ParseError: it cannot be read.
        """
        place = self.state()
        try:
            for _ in range(MOST_BAD):
                record = self.current()
                loaded = self.attempt(self.load, record)
                if not isinstance(loaded, Bad):
                    return loaded
                self.skip(self.name(record), loaded.reason)
                self.advance()
        finally:
            self.restore(place)
        raise ParseError(f"none of the first {MOST_BAD} records can be read; see the warnings")

    def _step(self) -> T:
        while self.train and self.offset % self.access.ranks != self.access.rank:
            self._pass()
        record = self.current()
        self._pass()
        return record

    def _pass(self) -> None:
        self.advance()
        self.offset += 1


MOST_BAD = 100  # batches of nothing but bad records, before it is an error all the same


def check_batch_size(size: int) -> int:
    """Return the batch size.

    Raises:
        ShapeError: it is 0.
    """
    if size < 1:
        raise ShapeError(f"batch_size must be positive, and is {size}")
    return size


def mean_of(layer: LayerParameter, paths: Paths) -> Array | None:
    """Return the mean of a layer's mean_file, (channels, height, width); None without one.

    Raises:
        ParseError: there is no such file.
        WeightsError: it is no mean.
        ShapeError: it has no 4 axes, of which the first is 1.
    """
    p = layer.transform_param
    if not p.HasField("mean_file"):
        return None
    path = paths.find(p.mean_file, "mean_file")
    mean = read_mean(path)
    if mean.ndim > 4 or (mean.ndim == 4 and mean.shape[0] != 1):
        raise ShapeError(f"mean_file {path} has the shape {mean.shape}; a mean is 1xCxHxW")
    shape = mean.shape[1:] if mean.ndim == 4 else mean.shape
    return np.asarray(mean.reshape((*shape, 1, 1, 1)[:3]), np.float32)
