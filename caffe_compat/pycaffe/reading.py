"""Data layers of a live net that read files: databases, lists of images, HDF5, windows."""

from __future__ import annotations

from ..caffe_pb2 import NetParameter
from ..data.iterator import SOURCES, Batches
from ..data.paths import Paths
from ..data.sizing import shapes_of
from ..data.source import Access
from ..data.streams import CRand
from ..data.words import draw_words
from . import mode
from .blob import resize
from .steps import Computed, write

_rand = CRand()  # the C library's, one for the process

PATHS = Paths()  # the current folder alone, as in Caffe
TYPES = frozenset(SOURCES) - {"MemoryData"}


class ReaderStep(Computed):
    """A data layer: each forward hands out the next batch.

    Attributes:
        batches: its batches.
    """

    batches: Batches

    def setup(self) -> None:
        net, access = NetParameter(layer=[self.proto]), Access(paths=PATHS, rand=_rand)
        with self.layer.named():
            self.check_arity()
            words = draw_words(net, mode.rng(), lambda: shapes_of(net, access), PATHS)
            self.batches = Batches(net, access, words, words)
        self.reshape()

    def reshape(self) -> None:
        if self._bottom_shapes is None:
            self._bottom_shapes = ()
            for top, name in zip(self.tops, self.proto.top, strict=True):
                resize(top, self.batches.shapes[name])

    def forward(self) -> None:
        batch = next(self.batches)
        for top, name in zip(self.tops, self.proto.top, strict=True):
            write(top, batch[name])
