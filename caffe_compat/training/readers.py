"""What the data layers of a solver's nets read."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from ..caffe_pb2 import TRAIN, DataParameter, LayerParameter, NetParameter
from ..data.iterator import SOURCES, Batches
from ..data.paths import Paths
from ..data.sizing import shapes_of
from ..data.source import Access
from ..data.words import draw_words
from ..errors import UnsupportedError
from ..fillers.rng import Rng
from ..layers.naming import named
from .log import Log

_OPENED = {
    "AnnotatedData": ("data_param", "Opened {backend}", "db_{backend}.cpp"),
    "Data": ("data_param", "Opened {backend}", "db_{backend}.cpp"),
    "HDF5Data": ("hdf5_data_param", "Loading list of HDF5 filenames from:", "hdf5_data_layer.cpp"),
    "ImageData": ("image_data_param", "Opening file", "image_data_layer.cpp"),
    "WindowData": ("window_data_param", "Opening file", "window_data_layer.cpp"),
}
"""By type the parameter that has the source, Caffe's line in its log, and the line's origin."""


class Readers:
    """Opens what nets' own data layers read; all nets share the C library's `rand()`, as in Caffe.

    Args:
        folder: the folder of sources that are not in the current one.
        log: takes a line for each file that is opened, with its path.
        fork: whose layers those are that forks of Caffe define differently.
        rank: which of `ranks` processes this is: in TRAIN each reads every `ranks`-th record.
        ranks: how many train together.
        first: the first rank's stream where the train net begins; all ranks shuffle by it, while
            each crops and mirrors by its own. None: as this rank's own.
        skip_bad: pass over records that cannot be read, with a warning.
    """

    def __init__(
        self,
        folder: Path,
        log: Log,
        *,
        fork: str | None = None,
        rank: int = 0,
        ranks: int = 1,
        first: Rng | None = None,
        skip_bad: bool = False,
    ) -> None:
        paths = Paths((Path(), folder))
        self._access = Access(rank=rank, ranks=ranks, paths=paths, skip_bad=skip_bad)
        self._log, self._fork, self._first = log, fork, first

    def find(self, path: str, field: str) -> Path:
        """Return the file that a field of a layer names.

        Raises:
            ParseError: there is none.
        """
        return self._access.paths.find(path, field)

    def open(self, net: NetParameter, rng: Rng, what: str) -> Batches | None:
        """Open the sources of a net's data layers.

        Args:
            net: the net, its layers selected.
            rng: the stream where the net begins to draw from it; it is left there.
            what: the argument that gives batches in their place.

        Returns:
            The batches, with a top's array for each; None if no layer reads.

        Raises:
            UnsupportedError: a layer reads a caller's arrays, or a video.
            CaffeCompatError: a source is missing or damaged, or Caffe refuses the layer.
        """
        layers = [layer for layer in net.layer if layer.type in (*SOURCES, "VideoData")]
        if not layers:
            return None
        for layer in layers:
            with named(layer):
                if layer.type in ("MemoryData", "VideoData"):
                    raise UnsupportedError(
                        f"reads no file; give its batches as {what}", remedies=("feeds",)
                    )
                for line, origin in _opened(layer, self._access.paths):
                    self._log(line, origin)
        words = own = self._words(net, rng)
        if self._first is not None and net.state.phase == TRAIN:
            words = self._words(net, self._first)
        return Batches(net, self._access, words, own)

    def _words(self, net: NetParameter, rng: Rng) -> dict[str, list[int]]:
        """Return what the data layers draw; the net draws it again when it is filled."""
        place = rng.state()
        try:
            sizes = functools.partial(shapes_of, net, self._access)
            return draw_words(net, rng, sizes, self._access.paths, self._fork)
        finally:
            rng.restore(place)


def _opened(layer: LayerParameter, paths: Paths) -> Iterator[tuple[str, str]]:
    """Yield the lines that Caffe logs where it opens a layer's files, and its source files."""
    if layer.transform_param.mean_file:
        path = paths.find(layer.transform_param.mean_file, "mean_file")
        yield f"Loading mean file from: {path}", "data_transformer.cpp"
    field, line, origin = _OPENED[layer.type]
    p = getattr(layer, field)
    backend = DataParameter.DB.Name(layer.data_param.backend).lower()
    path = paths.find(p.source, "source")
    yield f"{line.format(backend=backend)} {path}", origin.format(backend=backend)
