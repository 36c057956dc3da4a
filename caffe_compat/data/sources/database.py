"""Data: the records of an LMDB or a LevelDB (data_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from ...caffe_pb2 import DataParameter, LayerParameter
from ...types import AnyArray, Shape
from ..buffers import Buffers
from ..cursor import Backend, Cursor, Value
from ..database import open_database
from ..datum import Record, name_of, parse, read
from ..source import Access, Plan, RecordSource, Run, State, check_batch_size, mean_of, run_here
from ..transform import Transform, fill

R = TypeVar("R")


class Entry(NamedTuple):
    """A record where it lies."""

    key: bytes
    value: Value


class Loaded(NamedTuple):
    """A record's label and pixels, and whether these were encoded."""

    label: int
    pixels: AnyArray
    encoded: bool


class EntrySource(RecordSource[Entry, R]):
    """The records of the database that a layer's data_param names.

    A subclass opens the cursor last, when nothing of the layer is left to refuse.
    """

    _cursor: Cursor

    def __init__(self, layer: LayerParameter, access: Access):
        super().__init__(layer, access)
        self.batch_size = check_batch_size(layer.data_param.batch_size)
        self._buffers = Buffers()

    def current(self) -> Entry:
        """Return the record at the cursor."""
        return Entry(self._cursor.key(), self._cursor.value())

    def advance(self) -> None:
        """Go to the next record, behind the last to the first."""
        self._cursor.advance()

    def name(self, record: Entry) -> str:
        """Return the database and the key."""
        return name_of(self.layer.data_param.source, record.key)

    def __len__(self) -> int:
        """Return how many records the database has."""
        return self._cursor.count()

    def close(self) -> None:
        """Let the database go."""
        self._cursor.close()


class DatabaseSource(EntrySource[Loaded]):
    """The records of a Data layer's database, in the order of their keys.

    Args:
        layer: the layer, with its phase.
        access: how it is read.

    Raises:
        ParseError: the database is missing, empty or damaged.
        ShapeError: what Caffe's CHECKs refuse.
        UnsupportedError: the layer has fields that only a fork reads.
    """

    def __init__(self, layer: LayerParameter, access: Access):
        super().__init__(layer, access)
        seeds = access.own  # two for the transformer where it needs them, one for the thread
        mean = mean_of(layer, access.paths)
        self._transform = Transform(layer, mean, seeds[1] if len(seeds) == 3 else None)
        self._transform.check_fields()
        self._cursor = open_source(layer, access)
        self._encoded = True  # some of the last batch

    def load(self, record: Entry) -> Loaded:
        """Read and decode a Datum."""
        name = self.name(record)
        found: Record = read(parse(record.value, name), name)
        return Loaded(found.label, self._transform.pixels(found), found.pixels is None)

    def shapes(self) -> list[Shape]:
        """Return the tops' shapes, from the record at the cursor."""
        shape = self._transform.shape(*self.first().pixels.shape)
        tops: list[Shape] = [(self.batch_size, *shape), (self.batch_size,)]
        return tops[: len(self.layer.top)]

    def pass_over(self, count: int) -> None:
        """Go past records and their random numbers without reading them."""
        self.steps(count)
        self._transform.draw(count)

    def take(self, run: Run) -> list[tuple[Entry, Loaded]]:
        """Return the next batch's records, loaded."""
        # To look at a Datum that is not encoded takes less time than to hand it to another thread.
        taken = super().take(run if self._encoded else run_here)
        self._encoded = any(loaded.encoded for _, loaded in taken)
        return taken

    def batch(self, taken: Sequence[tuple[Entry, Loaded]]) -> Plan:
        """Make a batch of images and labels."""
        images = [(self.name(record), loaded.pixels) for record, loaded in taken]
        labels = [loaded.label for _, loaded in taken]
        return fill(self._transform, images, labels, self._buffers, len(self.layer.top))

    def state(self) -> State:
        """Return the place before the next batch."""
        place = {"key": self._cursor.key(), "offset": self.offset}
        return place | self._transform.state()

    def restore(self, state: State) -> None:
        """Go to a place that `state` returned."""
        self._cursor.seek(state["key"])
        self.offset = state["offset"]
        self._transform.restore(state)


def open_source(layer: LayerParameter, access: Access) -> Cursor:
    """Open the database that a layer's data_param names.

    Raises:
        ParseError: it is missing, of the other backend, empty or damaged.
    """
    p = layer.data_param
    backend: Backend = "lmdb" if p.backend == DataParameter.LMDB else "leveldb"
    return open_database(access.paths.find(p.source, "source"), backend)
