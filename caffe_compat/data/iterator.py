"""An iterator over the batches of a net's data layers."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cache
from queue import SimpleQueue
from types import TracebackType

from ..caffe_pb2 import TRAIN, LayerParameter, NetParameter
from ..errors import CaffeCompatError, ParseError, ShapeError, UnsupportedError
from ..fillers.rng.stream import cores
from ..layers.naming import named
from ..types import AnyArray, Shape
from . import place
from .prefetch import Prefetcher
from .source import Access, Source, State
from .sources.annotated import AnnotatedSource
from .sources.database import DatabaseSource
from .sources.hdf5 import HDF5Source
from .sources.image_list import ImageListSource
from .sources.memory import MemorySource
from .sources.windows import WindowSource

Arrays = Mapping[str, tuple[AnyArray, AnyArray]]
Words = Mapping[str, Sequence[int]]

SOURCES: dict[str, type[Source]] = {
    "AnnotatedData": AnnotatedSource,
    "Data": DatabaseSource,
    "HDF5Data": HDF5Source,
    "ImageData": ImageListSource,
    "MemoryData": MemorySource,
    "WindowData": WindowSource,
}
# Readers that were not closed and that nobody refers to. The garbage collector may notice in any
# thread, one of their own included, so that thread must not wait for their end: another one does.
_abandoned: SimpleQueue[tuple[Mapping[str, Prefetcher], ThreadPoolExecutor]] = SimpleQueue()
_MOST_AHEAD = 16  # batches that are read ahead, whatever a prototxt's prefetch says


class Batches:
    """An iterator over batches: for each a dict with an array for every top.

    Arrays are float32 and belong to the caller; their memory is used again once nobody refers to
    them. Close it, or use it in a `with` block, to stop the threads that read ahead.

    Args:
        net: the net, its layers selected.
        access: how its sources are read.
        words: by layer, what it drew from the net's stream.
        own: the same for this rank; None: as `words`.
        arrays: for each MemoryData layer, by name, its data and its labels.
        workers: how many threads decode and transform; None: one for each core.

    Attributes:
        share: the rank that reads and the number of ranks; in TEST each rank reads all.

    Raises:
        CaffeCompatError: as for `caffe_compat.data.batches`.
    """

    def __init__(
        self,
        net: NetParameter,
        access: Access,
        words: Words,
        own: Words | None = None,
        *,
        arrays: Arrays | None = None,
        workers: int | None = None,
    ):
        layers = data_layers(net)
        self.share = (access.rank, access.ranks) if layers[0].phase == TRAIN else (0, 1)
        _check_arrays(arrays or {}, layers)
        workers = workers or cores()
        self._pool = ThreadPoolExecutor(workers, "caffe_compat-data")
        self._readers: dict[str, Prefetcher] = {}
        _start_closer()
        self._finalizer = weakref.finalize(self, _abandoned.put, (self._readers, self._pool))
        self._finalizer.atexit = False
        self._tops = {layer.name: list(layer.top) for layer in layers}
        own = words if own is None else own
        try:
            for layer in layers:
                name = layer.name
                its = replace(access, words=words.get(name, ()), own=own.get(name, ()))
                with named(layer):
                    source = SOURCES[layer.type](layer, its)
                    self._readers[name] = Prefetcher(source, self._pool, workers, _ahead(layer))
            for name, (data, labels) in (arrays or {}).items():
                self.set_arrays(name, data, labels)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> dict[str, AnyArray]:
        """Return the next batch.

        Raises:
            CaffeCompatError: it cannot be read: the layer, the key or line, the reason.
        """
        batch: dict[str, AnyArray] = {}
        for name in self._readers:
            batch |= self.next_of(name)
        return batch

    def next_of(self, layer: str) -> dict[str, AnyArray]:
        """Return the next batch of one layer alone, by top."""
        return dict(zip(self._tops[layer], self._readers[layer].next(), strict=True))

    @property
    def layers(self) -> list[str]:
        """The names of the data layers."""
        return list(self._readers)

    @property
    def shapes(self) -> dict[str, Shape]:
        """The tops' shapes, by blob, as Caffe sets them up from the first records."""
        shapes: dict[str, Shape] = {}
        for name, reader in self._readers.items():
            with named(reader.source.layer):
                shapes.update(zip(self._tops[name], reader.shapes, strict=True))
        return shapes

    @property
    def skipped(self) -> dict[str, str]:
        """By record what could not be read so far, and why; with `skip_bad` only."""
        return {
            record: reason
            for reader in self._readers.values()
            for record, reason in reader.source.skipped.items()
        }

    def set_arrays(self, layer: str, data: AnyArray, labels: AnyArray) -> None:
        """Give a MemoryData layer other arrays, from which it reads on at the start.

        Args:
            layer: its name.
            data: (n, channels, height, width), n a multiple of its batch size.
            labels: n of them, in any shape.

        Raises:
            ShapeError: they are of another shape.
        """
        source = self._readers[layer].source
        if not isinstance(source, MemorySource):
            raise ShapeError(f"arrays: layer '{layer}' is no MemoryData")
        self._readers[layer].change(lambda: source.set_arrays(data, labels))

    @property
    def places(self) -> dict[str, State]:
        """By layer, the place behind the last batch that was handed out."""
        return {name: reader.state for name, reader in self._readers.items()}

    def state(self) -> bytes:
        """Return the place behind the last batch that was handed out.

        A reader opened on the same net and sources goes on there after `restore`.
        """
        return place.pack(self.places)

    def restore(self, state: bytes) -> None:
        """Go to a place that `state` returned.

        Raises:
            ParseError: it is none, or the sources have changed.
        """
        self.go_to(place.unpack(state, self._readers))

    def go_to(self, places: Mapping[str, State]) -> None:
        """Go to places that `places` gave; those of layers that are not read here are ignored.

        Raises:
            ParseError: they are none, or the sources have changed.
        """
        try:
            for name, reader in self._readers.items():
                reader.restore(places[name])
        except CaffeCompatError:
            raise
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise ParseError(f"not the place of a reader of this net: {error}") from None

    def close(self) -> None:
        """Stop the threads, and let files go."""
        if self._finalizer.detach():
            _close(self._readers, self._pool)

    def __enter__(self) -> Batches:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@cache
def _start_closer() -> None:
    threading.Thread(target=_close_abandoned, daemon=True, name="caffe_compat-closer").start()


def _close_abandoned() -> None:
    while True:
        with suppress(CaffeCompatError, OSError):
            _close(*_abandoned.get())


def _close(readers: Mapping[str, Prefetcher], pool: ThreadPoolExecutor) -> None:
    for reader in readers.values():
        reader.close()
    pool.shutdown()


def data_layers(net: NetParameter) -> list[LayerParameter]:
    """Return the layers that read.

    Raises:
        UnsupportedError: one reads a camera or a video.
        CaffeCompatError: there is none, or two have one name.
    """
    for layer in net.layer:
        if layer.type == "VideoData":
            with named(layer):
                raise UnsupportedError("a video or a camera is not read; feed its tops")
    layers = [layer for layer in net.layer if layer.type in SOURCES]
    if not layers:
        raise CaffeCompatError(
            f"net '{net.name}' has no data layer in this phase: its inputs are fed by the caller"
        )
    names = [layer.name for layer in layers]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ShapeError(f"two data layers have the name '{twice[0]}'")
    return layers


def _check_arrays(arrays: Arrays, layers: Sequence[LayerParameter]) -> None:
    memory = [layer.name for layer in layers if layer.type == "MemoryData"]
    unknown = [name for name in arrays if name not in memory]
    if unknown:
        have = ", ".join(memory) or "none"
        raise ShapeError(f"arrays: no MemoryData layer '{unknown[0]}'; there are: {have}")


def _ahead(layer: LayerParameter) -> int:
    """Return how many batches to read ahead: data_param's prefetch, and not very many.

    Raises:
        ShapeError: prefetch is 0: Caffe waits for ever.
    """
    prefetch: int = layer.data_param.prefetch
    if prefetch < 1:
        raise ShapeError("prefetch must be positive, and is 0")
    return min(prefetch, _MOST_AHEAD)
