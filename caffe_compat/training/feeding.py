"""What a net is fed, pass by pass: batches, random numbers, and the state of the pass before."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from ..errors import ShapeError, WeightsError
from ..fillers.rng import Rng
from ..layers.layer import Layer
from ..net.net import Net
from ..types import AnyArray, Array, Shape

Feeds: TypeAlias = Mapping[str, AnyArray]
"""A batch: an array for each fed blob, by name."""

Extra: TypeAlias = dict[int, dict[str, Any]]


@runtime_checkable
class Resumable(Protocol):
    """Batches that can go on where they were left."""

    def state(self) -> bytes:
        """Return the place behind the last batch that was taken."""

    def restore(self, state: bytes) -> None:
        """Go to a place that `state` returned."""


@runtime_checkable
class Shaped(Protocol):
    """Batches whose shapes are known before the first is taken."""

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """The shapes by blob."""


@runtime_checkable
class Skippable(Protocol):
    """Batches that can be passed over without being read."""

    def skip(self, count: int) -> None:
        """Go past the next `count` batches."""


class Batches:
    """A source of batches: any iterable of feeds.

    An iterable that can start again does so when it ends.

    Args:
        source: the batches; if it is `Resumable`, a snapshot keeps its place.
        what: what to call it in errors.
    """

    def __init__(self, source: Iterable[Feeds], what: str) -> None:
        self._source, self._what = source, what
        self._iterator: Iterator[Feeds] = iter(source)
        self._ahead: list[Feeds] = []
        self._place = b""  # before the batch that was taken ahead

    def shapes(self) -> dict[str, Shape]:
        """Return the shapes of the next batch, by blob."""
        if isinstance(self._source, Shaped):
            return dict(self._source.shapes)
        if not self._ahead:
            self._place = self.state()
            self._ahead.append(self._take())
        return {name: array.shape for name, array in self._ahead[0].items()}

    def next(self) -> Feeds:
        """Return the next batch.

        Raises:
            ShapeError: there is none.
        """
        return self._ahead.pop() if self._ahead else self._take()

    def skip(self, count: int) -> None:
        """Go past the next `count` batches; they are read only where the source has no `skip`.

        Raises:
            ShapeError: there are none.
        """
        if not count:
            return
        if self._ahead:
            self._ahead.pop()
            count -= 1
        if isinstance(self._source, Skippable):
            self._source.skip(count)
            return
        for _ in range(count):
            self._take()

    def _take(self) -> Feeds:
        batch = next(self._iterator, None)
        if batch is None:
            self._iterator = iter(self._source)
            batch = next(self._iterator, None)
        if batch is None:
            raise ShapeError(f"{self._what} has no more batches; a training needs one a pass")
        return batch

    def state(self) -> bytes:
        """Return the place behind the last batch; empty where the source cannot say."""
        if self._ahead:
            return self._place
        return self._source.state() if isinstance(self._source, Resumable) else b""

    def restore(self, state: bytes) -> None:
        """Go to a place that `state` returned."""
        if state and isinstance(self._source, Resumable):
            self._source.restore(state)
            self._ahead.clear()


class Rows:
    """Batches of the rows of arrays, in order, from the first again behind the last.

    >>> Solver("solver.prototxt", data=Rows({"data": images, "label": labels}, 64))

    Args:
        arrays: by blob, all with as many rows.
        batch: the number of rows of a batch.

    Raises:
        ShapeError: the arrays have no row, or differ in their number; the batch is not positive.
    """

    def __init__(self, arrays: Mapping[str, AnyArray], batch: int) -> None:
        counts = {name: len(array) if np.ndim(array) else 0 for name, array in arrays.items()}
        if len({*counts.values()}) != 1 or not min(counts.values()):
            stated = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise ShapeError(f"the arrays must have equally many rows, and one at least: {stated}")
        if batch < 1:
            raise ShapeError(f"a batch needs a row at least, and has {batch}")
        self._arrays, self._batch, self._row = dict(arrays), batch, 0
        self._count = min(counts.values())

    def __iter__(self) -> Iterator[Feeds]:
        return self

    def __next__(self) -> Feeds:
        index = np.arange(self._row, self._row + self._batch) % self._count
        self._row = int(index[-1] + 1) % self._count
        return {name: np.asarray(a[index], np.float32) for name, a in self._arrays.items()}

    def skip(self, count: int) -> None:
        """Go past the rows of `count` batches."""
        self._row = (self._row + count * self._batch) % self._count

    def state(self) -> bytes:
        """Return the row that comes next."""
        return str(self._row).encode()

    def restore(self, state: bytes) -> None:
        """Go to a row that `state` returned.

        Raises:
            WeightsError: it is none.
        """
        if not state.isdigit() or int(state) >= self._count:
            raise WeightsError(f"{state!r} is not one of {self._count} rows")
        self._row = int(state)


class Feeder:
    """Gives a net what each pass needs.

    Args:
        net: the net.
        batches: where the batches come from.
        rng: the stream that Dropout and its like draw from; all nets of a solver share it.

    Attributes:
        states: what the last pass left to the next one; see `Net.update`.
    """

    def __init__(self, net: Net, batches: Batches, rng: Rng) -> None:
        self._net, self._batches, self._rng = net, batches, rng
        nodes = enumerate(net.graph.nodes)
        self._idle = frozenset(i for i, n in nodes if type(n.layer).draw is Layer.draw)
        self.states: Extra = net.state()

    def next(self, skip: Collection[int] = ()) -> tuple[Feeds, Extra]:
        """Return the next batch, and what layers receive beside it; see `Net.run`.

        Args:
            skip: the indices of nodes that draw their own numbers.
        """
        feeds, extra = self._batches.next(), self._net.draw(self._rng, self._idle.union(skip))
        for index in [*extra]:
            if self._net.graph.nodes[index].layer.feeds():
                feeds = {**extra.pop(index), **feeds}
        for index, arrays in self.states.items():
            extra[index] = {**extra.get(index, {}), **arrays}
        return feeds, extra

    def state(self) -> bytes:
        """Return the reader's place and the state of the net; empty for neither."""
        return pack(self._batches.state(), [*self.states.values()])

    def restore(self, state: bytes) -> None:
        """Go to where `state` was.

        Raises:
            WeightsError: it is not a state of this net.
        """
        if state:
            place, states = unpack(state, [*self.states.values()])
            self._batches.restore(place)
            self.states = dict(zip(self.states, states, strict=True))


def pack(place: bytes, states: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a reader's place, and what each layer leaves to the next pass, as a .npz file's bytes.

    Args:
        place: the place; empty for none.
        states: the arrays by name of each layer that leaves some, in the net's order.

    Returns:
        The bytes; empty where there is nothing to keep.
    """
    arrays = {f"{i}/{name}": a for i, state in enumerate(states) for name, a in state.items()}
    if place:
        arrays["reader"] = np.frombuffer(place, np.uint8)
    if not arrays:
        return b""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def unpack(
    state: bytes, states: Sequence[Mapping[str, Any]]
) -> tuple[bytes, list[dict[str, Array]]]:
    """Return what `pack` was given.

    Args:
        state: its result.
        states: the arrays of this net, for their shapes.

    Raises:
        WeightsError: the bytes are damaged, or another net's.
    """
    try:
        with np.load(io.BytesIO(state), allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"the reader's place is damaged: {error}") from None
    place = arrays.pop("reader", np.empty(0, np.uint8)).tobytes()
    own = {f"{i}/{name}": np.shape(a) for i, each in enumerate(states) for name, a in each.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if shapes != own:
        raise WeightsError(f"states of the shapes {shapes} are another net's")
    return place, [
        {name: arrays[f"{i}/{name}"].astype(np.float32) for name in each}
        for i, each in enumerate(states)
    ]
