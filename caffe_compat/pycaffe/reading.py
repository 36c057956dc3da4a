"""Data layers of a live net that read files: databases, lists of images, HDF5, windows."""

from __future__ import annotations

from typing import Any

from ..caffe_pb2 import NetParameter
from ..data import reading as data
from ..data.paths import Paths
from ..data.source import Reading
from ..data.streams import CRand
from ..data.words import draw_words
from . import mode
from .blob import resize
from .steps import Computed, write

_rand = CRand()  # the C library's, one for the process

TYPES = frozenset(data.SOURCES) - {"MemoryData"}


class ReaderStep(Computed):
    """A data layer: each forward hands out the next batch.

    Files are looked up from the current folder, as Caffe does.
    """

    _batches: Any = None

    def setup(self) -> None:
        net, reading = NetParameter(layer=[self.proto]), Reading(paths=Paths(), rand=_rand)
        with self.layer.named():
            words = draw_words(net, mode.rng(), lambda: data.shapes(net))
            self._batches = data.Batches(net, reading, words, words)
        self.reshape()

    def reshape(self) -> None:
        if self._bottom_shapes is None:
            self._bottom_shapes = ()
            for top, name in zip(self.tops, self.proto.top, strict=True):
                resize(top, self._batches.shapes[name])

    def forward(self) -> None:
        batch = next(self._batches)
        for top, name in zip(self.tops, self.proto.top, strict=True):
            write(top, batch[name])
