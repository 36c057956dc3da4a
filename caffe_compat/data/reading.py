"""A net's batches: one iterator over all its data layers, as Caffe's forward passes see them."""

from __future__ import annotations

import functools
import io
import weakref
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from ..caffe_pb2 import TEST, TRAIN, LayerParameter, NetParameter
from ..errors import CaffeCompatError, ParseError, ShapeError, UnsupportedError
from ..fillers.rng import make_rng
from ..fillers.rng.stream import cores
from ..layers.layer import named
from ..prototxt import reader, upgrade
from ..prototxt.phase import select, select_skipped
from ..types import AnyArray, Shape
from .paths import Paths
from .prefetch import Prefetcher
from .source import Reading, Source, State
from .sources.annotated import AnnotatedSource
from .sources.database import DatabaseSource
from .sources.hdf5 import HDF5Source
from .sources.image_list import ImageListSource
from .sources.memory import MemorySource
from .sources.windows import WindowSource
from .words import draw_words, zero_words

Phase = Literal["TEST", "TRAIN"]
Arrays = Mapping[str, tuple[AnyArray, AnyArray]]
PathLike = str | Path
SEED = 1701

SOURCES: dict[str, type[Source]] = {
    "AnnotatedData": AnnotatedSource,
    "Data": DatabaseSource,
    "HDF5Data": HDF5Source,
    "ImageData": ImageListSource,
    "MemoryData": MemorySource,
    "WindowData": WindowSource,
}
_MOST_AHEAD = 16  # batches that are read ahead, whatever a prototxt's prefetch says


def batches(
    net: PathLike | NetParameter,
    *,
    phase: Phase = "TRAIN",
    level: int = 0,
    stages: Iterable[str] = (),
    seed: int = SEED,
    rng: str = "boost-1.64",
    rank: int = 0,
    ranks: int = 1,
    arrays: Arrays | None = None,
    root: PathLike | None = None,
    workers: int | None = None,
    skip_bad: bool = False,
    ignore_unknown: bool = False,
) -> Batches:
    """Read what a net's data layers read: an endless iterator of batches.

    >>> for batch in caffe_compat.data.batches("train_val.prototxt", phase="TRAIN", seed=1701):
    ...     images, labels = batch["data"], batch["label"]

    Crops, mirrors and shuffles are Caffe's own at this seed. Batches are read ahead and come in
    order, the same with any number of workers.

    Args:
        net: a prototxt, or a net whose layers are selected.
        phase: TRAIN or TEST; with `level` and `stages` it selects the layers, as Caffe does.
        level: NetState's level.
        stages: NetState's stages, beside those that the file gives.
        seed: what Caffe's `set_random_seed` is given before it makes the net.
        rng: whose random numbers the fillers draw, where they stand before a data layer.
        rank: which of `ranks` processes this is; in TRAIN each takes every `ranks`-th record, and
            draws crops and mirrors at `seed + rank`, as Caffe's solvers on several GPUs.
        ranks: how many read together.
        arrays: for each MemoryData layer, by name, its data and its labels.
        root: the folder of relative paths; None: the current one as in Caffe, then the prototxt's.
        workers: how many threads decode and transform; None: one for each core.
        skip_bad: pass over records that cannot be read, and count them in `Batches.skipped`.
        ignore_unknown: accept fields that only a fork knows, without their meaning.

    Raises:
        ParseError: a source is missing, empty or damaged; a data layer has an unknown field.
        ShapeError: what Caffe's CHECKs refuse.
        UnsupportedError: a data layer that is not read, or that has fields only a fork reads.
        CaffeCompatError: the net has no data layer; a package of the extra `data` is missing.
    """
    paths = Paths(root=Path(root) if root is not None else None)
    if not isinstance(net, NetParameter):
        paths = replace(paths, beside=Path(net).parent)
        net = read_net(net, phase, level, tuple(stages), ignore_unknown=ignore_unknown)
    if not 0 <= rank < ranks:
        raise ShapeError(f"rank {rank} of {ranks} ranks; they count from 0")
    reading = Reading(rank=rank, ranks=ranks, paths=paths, skip_bad=skip_bad)
    sizes = functools.partial(_shapes, net, reading)
    words = draw_words(net, make_rng(rng, seed), sizes)
    own = draw_words(net, make_rng(rng, (seed + rank) % 2**32), sizes) if rank else words
    return Batches(net, reading, words, own, arrays=arrays, workers=workers)


def shapes(
    net: PathLike | NetParameter,
    *,
    phase: Phase = "TRAIN",
    level: int = 0,
    stages: Iterable[str] = (),
    root: PathLike | None = None,
    skip_bad: bool = False,
    ignore_unknown: bool = False,
) -> dict[str, Shape]:
    """Return the shapes of what a net's data layers read, by blob, from their first records.

    Args:
        net: a prototxt, or a net whose layers are selected.
        phase: as for `batches`, as are the others.
        level: NetState's level.
        stages: NetState's stages.
        root: the folder of relative paths.
        skip_bad: look at the first records that can be read.
        ignore_unknown: accept fields that only a fork knows.

    Raises:
        CaffeCompatError: as for `batches`.
    """
    paths = Paths(root=Path(root) if root is not None else None)
    if not isinstance(net, NetParameter):
        paths = replace(paths, beside=Path(net).parent)
        net = read_net(net, phase, level, tuple(stages), ignore_unknown=ignore_unknown)
    return _shapes(net, Reading(paths=paths, skip_bad=skip_bad))


def _shapes(net: NetParameter, reading: Reading) -> dict[str, Shape]:
    words = zero_words(net)
    with Batches(net, replace(reading, rank=0, ranks=1), words, words, workers=1) as opened:
        return opened.shapes


def read_net(
    prototxt: PathLike,
    phase: Phase,
    level: int = 0,
    stages: Sequence[str] = (),
    *,
    ignore_unknown: bool = False,
) -> NetParameter:
    """Read a net's prototxt of any era, upgraded and selected.

    Raises:
        ParseError: it is no prototxt, or a data layer has a field that is not known.
    """
    number = {"TEST": TEST, "TRAIN": TRAIN}[phase]
    net, skipped = reader.read_net(prototxt, number)
    kept = select_skipped(skipped, net, number, level, stages)
    selected = select(upgrade.upgrade(net), number, level, stages)
    names = {layer.name for layer in selected.layer if layer.type in SOURCES}
    unknown = [skip for skip in kept if skip.layer_name in names]
    if unknown and not ignore_unknown:
        raise ParseError(f"{unknown[0]}; ignore_unknown=True reads on without its meaning")
    return selected


class Batches:
    """An iterator over batches: for each a dict with an array for every top.

    Arrays are float32 and belong to the caller; their memory is used again once nobody refers to
    them. Close it, or use it in a `with` block, to stop the threads that read ahead.

    Args:
        net: the net, its layers selected.
        reading: how it is read.
        words: by layer, what it drew from the net's stream.
        own: the same for this rank.
        arrays: for each MemoryData layer its data and labels.
        workers: how many threads decode and transform; None: one for each core.
    """

    def __init__(
        self,
        net: NetParameter,
        reading: Reading,
        words: Mapping[str, Sequence[int]],
        own: Mapping[str, Sequence[int]],
        *,
        arrays: Arrays | None = None,
        workers: int | None = None,
    ):
        arrays = arrays or {}
        layers = _data_layers(net)
        unknown = [name for name in arrays if name not in {layer.name for layer in layers}]
        if unknown:
            raise ShapeError(f"arrays: the net has no MemoryData layer '{unknown[0]}'")
        workers = workers or cores()
        self._pool = ThreadPoolExecutor(workers, "caffe_compat-data")
        self._readers: dict[str, Prefetcher] = {}
        self._finalizer = weakref.finalize(self, _close, self._readers, self._pool)
        self._finalizer.atexit = False
        self._tops = {layer.name: list(layer.top) for layer in layers}
        try:
            for layer in layers:
                its = replace(reading, words=words.get(layer.name, ()), own=own.get(layer.name, ()))
                with named(layer):
                    source = _open(layer, its, arrays)
                    self._readers[layer.name] = Prefetcher(
                        source, self._pool, workers, _ahead(layer)
                    )
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
        for name, read in self._readers.items():
            batch.update(zip(self._tops[name], read.next(), strict=True))
        return batch

    @property
    def shapes(self) -> dict[str, Shape]:
        """The tops' shapes, by blob, as Caffe sets them up from the first records."""
        return {
            top: shape
            for name, read in self._readers.items()
            for top, shape in zip(self._tops[name], read.source.shapes(), strict=True)
        }

    @property
    def skipped(self) -> dict[str, str]:
        """By record what could not be read so far, and why; with `skip_bad` only."""
        return {
            record: reason
            for read in self._readers.values()
            for record, reason in read.source.skipped.items()
        }

    def state(self) -> bytes:
        """Return the place behind the last batch that was handed out.

        A reader opened on the same net and sources goes on there after `restore`.
        """
        flat = {
            f"{layer}/{name}": np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
            for layer, read in self._readers.items()
            for name, value in read.state.items()
        }
        file = io.BytesIO()
        np.savez(file, allow_pickle=False, **{k: np.asarray(value) for k, value in flat.items()})
        return file.getvalue()

    def restore(self, state: bytes) -> None:
        """Go to a place that `state` returned.

        Raises:
            ParseError: it is none, or the sources have changed.
        """
        places: dict[str, State] = {name: {} for name in self._readers}
        try:
            with np.load(io.BytesIO(state), allow_pickle=False) as arrays:
                for full in arrays:
                    layer, _, name = full.rpartition("/")
                    places[layer][name] = _unpack(arrays[full])
            for name, read in self._readers.items():
                read.restore(places[name])
        except CaffeCompatError:
            raise
        except (ValueError, KeyError, OSError, EOFError, TypeError) as error:
            raise ParseError(f"not the place of a reader of this net: {error}") from None

    def close(self) -> None:
        """Stop the threads, and let files go."""
        self._finalizer()

    def __enter__(self) -> Batches:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _unpack(array: AnyArray) -> AnyArray | bytes | int:
    if array.dtype == np.uint8:
        return array.tobytes()
    return array if array.ndim else int(array)


def _close(readers: Mapping[str, Prefetcher], pool: ThreadPoolExecutor) -> None:
    for read in readers.values():
        read.close()
    pool.shutdown()


def _data_layers(net: NetParameter) -> list[LayerParameter]:
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


def _open(layer: LayerParameter, reading: Reading, arrays: Arrays) -> Source:
    if layer.type == "MemoryData":
        data, labels = arrays.get(layer.name, (None, None))
        return MemorySource(layer, reading, data, labels)
    return SOURCES[layer.type](layer, reading)


def _ahead(layer: LayerParameter) -> int:
    """Return how many batches to read ahead: data_param's prefetch, and not very many.

    Raises:
        ShapeError: prefetch is 0: Caffe waits for ever.
    """
    prefetch: int = layer.data_param.prefetch
    if prefetch < 1:
        raise ShapeError("prefetch must be positive, and is 0")
    return min(prefetch, _MOST_AHEAD)
