"""Batches of a net, from its prototxt."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from .. import steps
from ..caffe_pb2 import NetParameter
from ..errors import ShapeError, in_file
from ..fillers.rng import make_rng
from ..net.sizes import follow_batch
from ..options import SEED, PathLike, Phase, Reading
from ..prototxt.phase import select_skipped
from ..prototxt.skipped import Unknown
from ..types import Shape
from .iterator import SOURCES, Arrays, Batches, data_layers
from .paths import Paths
from .sizing import shapes_of
from .source import Access
from .words import draw_words


def batches(
    net: PathLike | NetParameter,
    *,
    phase: Phase = "TRAIN",
    level: int = 0,
    stages: Iterable[str] = (),
    ignore_unknown: Sequence[str] = (),
    fork: str | None = None,
    seed: int = SEED,
    rng: str = "boost-1.64",
    rank: int = 0,
    ranks: int = 1,
    arrays: Arrays | None = None,
    root: PathLike | None = None,
    workers: int | None = None,
    skip_bad: bool = False,
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
        stages: NetState's stages, beside those of the file.
        ignore_unknown: the unknown fields to do without, by name.
        fork: whose layers, where fillers stand before a data layer.
        seed: what Caffe's `set_random_seed` is given before it makes the net.
        rng: whose random numbers the fillers draw, where they stand before a data layer.
        rank: which of `ranks` processes this is; in TRAIN each takes every `ranks`-th record, and
            draws crops and mirrors at `seed + rank`, as Caffe's solvers on several GPUs.
        ranks: how many read together.
        arrays: for each MemoryData layer, by name, its data and its labels.
        root: the folder of relative paths; None: the current one as in Caffe, then the prototxt's.
        workers: how many threads decode and transform; None: one for each core.
        skip_bad: pass over records that cannot be read, and count them in `Batches.skipped`.

    Raises:
        ParseError: a source is missing, empty or damaged; a data layer has an unknown field.
        ShapeError: what Caffe's CHECKs refuse.
        UnsupportedError: a data layer that is not read, or that has fields only a fork reads.
        CaffeCompatError: the net has no data layer; a package of the extra `data` is missing.
    """
    if not 0 <= rank < ranks:
        raise ShapeError(f"rank {rank} of {ranks} ranks; they count from 0")
    reading = Reading(phase, level, stages, ignore_unknown=ignore_unknown, fork=fork)
    selected, paths = select(net, reading, root)
    access = Access(rank=rank, ranks=ranks, paths=paths, skip_bad=skip_bad)
    sizes = functools.partial(shapes_of, selected, access)
    words = draw_words(selected, make_rng(rng, seed), sizes, paths, fork)
    own = words
    if rank:
        own = draw_words(selected, make_rng(rng, (seed + rank) % 2**32), sizes, paths, fork)
    return Batches(selected, access, words, own, arrays=arrays, workers=workers)


def open_batches(
    net: PathLike, reading: Reading, seed: int = SEED, *, skip_bad: bool = False
) -> Batches:
    """Do as `batches`, with the options of reading packed.

    Raises:
        CaffeCompatError: as for `batches`.
    """
    return batches(
        net,
        phase=reading.phase,
        level=reading.level,
        stages=reading.stages,
        ignore_unknown=reading.ignore_unknown,
        fork=reading.fork,
        seed=seed,
        skip_bad=skip_bad,
    )


def shapes(
    net: PathLike | NetParameter,
    *,
    phase: Phase = "TRAIN",
    level: int = 0,
    stages: Iterable[str] = (),
    ignore_unknown: Sequence[str] = (),
    root: PathLike | None = None,
    skip_bad: bool = False,
) -> dict[str, Shape]:
    """Return the shapes of what a net's data layers read, by blob, from their first records.

    >>> inputs = caffe_compat.data.shapes("train_val.prototxt", phase="TEST")
    >>> net = caffe_compat.load("train_val.prototxt", phase="TEST", inputs=inputs)

    Args:
        net: a prototxt, or a net whose layers are selected.
        phase: as for `batches`, like the others.
        level: NetState's level.
        stages: NetState's stages.
        ignore_unknown: the unknown fields to do without, by name.
        root: the folder of relative paths.
        skip_bad: look at the first records that can be read.

    Raises:
        CaffeCompatError: as for `batches`.
    """
    reading = Reading(phase, level, stages, ignore_unknown=ignore_unknown)
    selected, paths = select(net, reading, root)
    return shapes_of(selected, Access(paths=paths, skip_bad=skip_bad))


def sized(net: PathLike, reading: Reading, root: PathLike | None = None) -> Reading:
    """Return the options of reading with the shapes of what the net's data layers read.

    Shapes that the options already give stay, and the other tops of their layers follow the batch.
    The files that other layers name are looked up likewise, and read (InfogainLoss's source).

    Args:
        net: the prototxt.
        reading: how it is read.
        root: the folder of relative paths.

    Raises:
        CaffeCompatError: as for `batches`.
    """
    selected, paths = select(net, reading, root)
    inputs: dict[str, Sequence[int | None]] = {**shapes_of(selected, Access(paths=paths))}
    given = {name: tuple(dims) for name, dims in reading.inputs.items()}
    for layer in data_layers(selected):
        if layer.type != "AnnotatedData":  # its boxes are those of the whole batch
            found = [tuple(n or 0 for n in inputs[top]) for top in layer.top]
            inputs |= follow_batch(layer.top, found, given)
    return replace(reading, inputs={**inputs, **reading.inputs}, find=paths.find)


def select(
    net: PathLike | NetParameter, reading: Reading, root: PathLike | None
) -> tuple[NetParameter, Paths]:
    """Return a net's layers of the phase, and where its relative paths are looked up."""
    if isinstance(net, NetParameter):
        return net, Paths((Path(root or ""),))
    message, unknown = steps.read(net, reading)
    with in_file(net):
        selected = steps.select(steps.upgrade(message, unknown), reading)
    names = {layer.name for layer in selected.layer if layer.type in SOURCES}
    state = (reading.number, reading.level, reading.stages)
    skipped = select_skipped(unknown.skipped, message, *state, harmless=True)
    counted = [skip for skip in skipped if skip.layer_name in names]
    Unknown((), counted).accept(reading.ignore_unknown)
    folders = (Path(root),) if root is not None else (Path(), Path(net).parent)
    return selected, Paths(folders)
