"""A data layer's records as a Ray dataset: each block read where it is wanted."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..caffe_pb2 import LayerParameter
from ..errors import CaffeCompatError, ShapeError, UnsupportedError
from ..fillers.rng import make_rng
from ..layers.naming import named
from ..options import SEED, PathLike, Phase, Reading
from ..types import AnyArray
from . import place
from .extras import extra
from .iterator import SOURCES, data_layers
from .reading import select
from .sizing import shapes_of
from .source import Access, RecordSource
from .words import draw_words


def read_dataset(
    net: PathLike,
    layer: str | None = None,
    *,
    phase: Phase = "TRAIN",
    level: int = 0,
    stages: Iterable[str] = (),
    ignore_unknown: Sequence[str] = (),
    seed: int = SEED,
    root: PathLike | None = None,
    block: int = 256,
    skip_bad: bool = False,
) -> Any:
    """Read one round over a data layer's records as a `ray.data.Dataset`.

    Rows have a column for every top. Crops and mirrors are those that `batches` gives to the same
    records at this seed, whichever worker reads them; a shuffled list comes in its first order.
    Ray keeps the rows in order with `ray.data.DataContext.get_current().execution_options
    .preserve_order = True`. The workers see the sources under the paths that they have here.

    Args:
        net: a prototxt.
        layer: the data layer's name; None: the only one. Data, ImageData, and AnnotatedData
            without random numbers.
        phase: as for `batches`, like the others.
        level: NetState's level.
        stages: NetState's stages.
        ignore_unknown: the unknown fields to do without, by name.
        seed: of crops, mirrors and shuffles.
        root: the folder of relative paths.
        block: how many records a worker reads at once.
        skip_bad: leave out records that cannot be read.

    Raises:
        UnsupportedError: the layer has no records in an order of their own.
        CaffeCompatError: as for `batches`; or the extra `ray` is not installed.
    """
    with extra("a Ray dataset", "ray"):
        from ray import data as ray_data

    if block < 1:
        raise ShapeError(f"block must be positive, and is {block}")
    reading = Reading(phase, level, stages, ignore_unknown=ignore_unknown)
    selected, paths = select(net, reading, root)
    access = Access(paths=paths.absolute(), skip_bad=skip_bad)
    sizes = functools.partial(shapes_of, selected, access)
    words = draw_words(selected, make_rng("boost-1.64", seed), sizes, paths)
    its = _layer(data_layers(selected), layer)
    read = ReadBlock(its.SerializeToString(), replace(access, words=words.get(its.name, ())))
    blocks = list(read.blocks(block))
    return ray_data.from_items(blocks, override_num_blocks=len(blocks)).map_batches(
        read, batch_size=1
    )


def _layer(layers: list[LayerParameter], name: str | None) -> LayerParameter:
    names = ", ".join(each.name for each in layers)
    if name is None and len(layers) > 1:
        raise CaffeCompatError(f"the net has several data layers; name one: {names}")
    found = [each for each in layers if name in (None, each.name)]
    if not found:
        raise CaffeCompatError(f"the net has no data layer '{name}'; it has: {names}")
    return found[0]


class ReadBlock:
    """Reads one block of a layer's records, in any process.

    Args:
        layer: the layer, serialized, with its phase.
        access: how it is read; with absolute paths.
    """

    def __init__(self, layer: bytes, access: Access):
        self._layer, self._access = layer, access

    def _open(self) -> RecordSource[Any, Any]:
        layer = LayerParameter.FromString(self._layer)
        with named(layer):
            source = SOURCES[layer.type](layer, replace(self._access, own=self._access.words))
            if not isinstance(source, RecordSource):
                source.close()
                raise UnsupportedError("has no records in an order of their own; use `batches`")
        return source

    def blocks(self, size: int) -> Iterator[dict[str, Any]]:
        """Yield the place and the number of records of each block of one round."""
        source = self._open()
        try:
            left = len(source)
            with named(source.layer):
                while left:
                    count = min(size, left)
                    yield {"place": place.pack({"": source.state()}), "count": count}
                    left -= count
                    if left:
                        source.pass_over(count)
        finally:
            source.close()

    def __call__(self, rows: dict[str, AnyArray]) -> dict[str, AnyArray]:
        """Read the block that a row of `blocks` describes.

        Returns:
            An array for every top, a row for each record.
        """
        source = self._open()
        try:
            with named(source.layer):
                source.restore(place.unpack(rows["place"][0], [""])[""])
                plan = source.block(int(rows["count"][0]))
                for job in plan.jobs:
                    job()
        finally:
            source.close()
        tops = zip(source.layer.top, plan.tops, strict=True)
        # The source's memory is used again; what Ray gets is its own.
        return {top: np.array(array) for top, array in tops}
