"""HDF5Data: the rows of several files' data sets (hdf5_data_layer.cpp)."""

from __future__ import annotations

import numpy as np

from ...caffe_pb2 import TRAIN, LayerParameter
from ...errors import ParseError, ShapeError
from ...files import read_bytes
from ...fillers.rng.shuffling import Order
from ...types import AnyArray, Array, Shape
from ...weights import read_datasets
from ...weights.mapped import check
from ..source import Access, Plan, Run, Source, State, check_batch_size, run_here

_MOST_LIST = 1 << 25  # bytes of a list of files


class HDF5Source(Source):
    """The rows of an HDF5Data layer's files, a file at a time.

    With `shuffle` the files, and in each file the rows, are in the order that the C library's
    `rand()` gives in a fresh process, which `random_seed` does not touch.

    Args:
        layer: the layer, with its phase.
        access: how it is read.

    Raises:
        ParseError: the list or a file is missing; a data set is not there, or not of numbers.
        ShapeError: what Caffe's CHECKs refuse.
    """

    def __init__(self, layer: LayerParameter, access: Access):
        super().__init__(layer, access)
        if layer.HasField("transform_param"):
            raise ShapeError("does not transform data, and has a transform_param")
        p = layer.hdf5_data_param
        self._batch_size = check_batch_size(p.batch_size)
        self._shuffle = self.in_turn = p.shuffle
        source = access.paths.find(p.source, "source")
        self._names = read_bytes(source, _MOST_LIST).decode(errors="surrogateescape").split()
        if not self._names:
            raise ParseError(f"{source}: names no HDF5 file")
        self._offset = 0
        self._files: Order = np.arange(len(self._names))
        if self._shuffle:
            self._files = access.rand.shuffle(self._files)
        self._current = 0
        self._load()
        self._shapes = [array.shape[1:] for array in self._arrays]

    def _load(self) -> None:
        """Read the current file's data sets, and put its rows in order."""
        self._read()
        self._order: Order = np.arange(self._rows)
        if self._shuffle:
            self._order = self.access.rand.shuffle(self._order)
        self._row = 0

    def _read(self) -> None:
        name = self._names[self._files[self._current]]
        path = self.access.paths.find(name, "HDF5 file")
        found = read_datasets(path, self.layer.top)
        self._arrays: list[Array] = [found[top] for top in self.layer.top]
        for top, array in found.items():
            if array.ndim < 1 or not len(array):
                raise ShapeError(f"{path}: /{top} has the shape {array.shape}; it has no rows")
        self._rows = len(self._arrays[0])
        for top, array in found.items():
            if len(array) != self._rows:
                raise ShapeError(
                    f"{path}: /{top} has {len(array)} rows, and /{self.layer.top[0]} {self._rows}"
                )

    def _advance(self) -> None:
        """Go to the next row. A new file is shuffled twice, as Caffe does."""
        self._offset += 1
        self._row += 1
        if self._row < self._rows:
            return
        if len(self._names) > 1:
            self._current += 1
            if self._current == len(self._names):
                self._current = 0
                if self._shuffle:
                    self._files = self.access.rand.shuffle(self._files)
            self._load()
            self._check_shapes()
        self._row = 0
        if self._shuffle:
            self._order = self.access.rand.shuffle(self._order)

    def _check_shapes(self) -> None:
        for top, array, shape in zip(self.layer.top, self._arrays, self._shapes, strict=True):
            if array.shape[1:] != shape:
                name = self._names[self._files[self._current]]
                raise ShapeError(
                    f"{name}: a row of /{top} is {array.shape[1:]}, and {shape} in the first file"
                )

    def shapes(self) -> list[Shape]:
        """Return the tops' shapes, from the first file."""
        return [(self._batch_size, *shape) for shape in self._shapes]

    def plan(self, run: Run = run_here) -> Plan:
        """Take the next batch."""
        check(self._arrays)
        tops: list[AnyArray] = [np.empty(shape, np.float32) for shape in self.shapes()]
        for i in range(self._batch_size):
            while self._skips():
                self._advance()
            for top, array in zip(tops, self._arrays, strict=True):
                top[i] = array[self._order[self._row]]
            self._advance()
        return Plan(tops, [])

    def _skips(self) -> bool:
        rank, ranks = self.access.rank, self.access.ranks
        return self.layer.phase == TRAIN and self._offset % ranks != rank

    def state(self) -> State:
        """Return the place before the next batch."""
        return {
            "offset": self._offset,
            "files": self._files,
            "current": self._current,
            "row": self._row,
            "order": self._order,
            "rand": self.access.rand.position(),
        }

    def restore(self, state: State) -> None:
        """Go to a place that `state` returned."""
        if len(state["files"]) != len(self._names):
            raise ParseError(f"names {len(self._names)} files, and named {len(state['files'])}")
        self._offset, self._files = state["offset"], state["files"]
        self._current = state["current"]
        self._read()
        if len(state["order"]) != self._rows:
            name = self._names[self._files[self._current]]
            raise ParseError(f"{name}: has {self._rows} rows, and had {len(state['order'])}")
        self._row, self._order = state["row"], state["order"]
        self.access.rand.seek(state["rand"])
