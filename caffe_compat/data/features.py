"""A net's blobs over its own data, into databases, as Caffe's extract_features writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from .. import packed, steps
from ..errors import CaffeCompatError, ShapeError
from ..options import SEED, Copying, Filling, PathLike, Reading
from ..progress import track
from ..runtime.session import Session
from ..types import AnyArray, Shape
from ..weights.trained import Weights
from .cursor import Backend, Writer
from .database import create
from .datum import of_pixels
from .reading import batches

_AXES = 4  # of a Datum, with its place in the batch


def extract_features(
    weights: PathLike,
    prototxt: PathLike,
    blobs: Sequence[str],
    outs: Sequence[PathLike],
    count: int,
    *,
    backend: Backend = "lmdb",
    device: str = "auto",
    level: int = 0,
    stages: Iterable[str] = (),
    ignore_unknown: Sequence[str] = (),
    fork: str | None = None,
    seed: int = SEED,
    root: PathLike | None = None,
    skip_bad: bool = False,
    allow_missing: bool = False,
    allow_reshape: bool = False,
) -> dict[str, int]:
    """Run a net on what its data layers read, and write blobs as Datums of floats.

    Args:
        weights: a caffemodel or Caffe's HDF5.
        prototxt: the net, with its data layers; its TEST phase is run.
        blobs: the blobs to write; for each item of a batch one record, numbered from 0000000000.
        outs: a database for each, which appears whole or not at all.
        count: of the batches.
        backend: `lmdb` or `leveldb`.
        device: where to run: `auto`, `cpu`, `cuda[:N]`, ...
        level: NetState's level.
        stages: NetState's stages, beside those of the file.
        ignore_unknown: the unknown fields to do without, by name.
        fork: whose layers.
        seed: of mirrors and shuffles.
        root: the folder of relative paths; None: the current one, then the prototxt's.
        skip_bad: pass over records that cannot be read.
        allow_missing: take a weights file that has none of the net's layers, as for `load`.
        allow_reshape: take blobs of another shape and equal count, as their numbers lie.

    Returns:
        The number of records of each blob.

    Raises:
        ShapeError: there is no such blob, or it has more than 4 axes; blobs and outs differ in
            number.
        CaffeCompatError: as for `batches`, `load` and `Session`; or a database exists.
    """
    if len(blobs) != len(outs) or not blobs:
        raise ShapeError(f"{len(blobs)} blobs for {len(outs)} databases; one each")
    if count < 1:
        raise ShapeError(f"the number of batches must be positive, and is {count}")
    reading = Reading("TEST", level, stages, ignore_unknown=ignore_unknown, fork=fork)
    copying = Copying(allow_missing, allow_reshape)
    model = _Model(prototxt, steps.open_weights(weights), reading, copying, blobs, device)
    done = dict.fromkeys(blobs, 0)
    with ExitStack() as stack:
        reader = stack.enter_context(
            batches(
                prototxt,
                phase="TEST",
                level=level,
                stages=stages,
                ignore_unknown=ignore_unknown,
                fork=fork,
                seed=seed,
                root=root,
                skip_bad=skip_bad,
            )
        )
        model.open(reader.shapes)  # an unknown blob is an error before a folder is made
        writers = {
            blob: stack.enter_context(create(out, backend))
            for blob, out in zip(blobs, outs, strict=True)
        }
        for _ in track(range(count), "extracting"):
            outputs = model.run(next(reader))
            for blob, writer in writers.items():
                done[blob] = _write(writer, done[blob], blob, outputs[blob])
    return done


class _Model:
    """The net in a session of the batch's shapes, which may change from batch to batch."""

    def __init__(
        self,
        prototxt: PathLike,
        stored: Weights | None,
        reading: Reading,
        copying: Copying,
        blobs: Sequence[str],
        device: str,
    ):
        self._prototxt, self._stored, self._reading = prototxt, stored, reading
        self._copying = copying
        self._blobs, self._device = blobs, device
        self._shapes: dict[str, Shape] = {}
        self._session: Session | None = None

    def open(self, shapes: Mapping[str, Shape]) -> Session:
        if self._session is None or self._shapes != shapes:
            reading = replace(self._reading, inputs=shapes)
            net = packed.load_net(self._prototxt, self._stored, reading, Filling(), self._copying)
            for blob in self._blobs:
                if len(net.graph.blob(blob).shape) > _AXES:
                    raise ShapeError(f"blob '{blob}' has more than the {_AXES} axes of a Datum")
            self._shapes = dict(shapes)
            self._session = Session(net, self._device, blobs=self._blobs)
        return self._session

    def run(self, batch: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        session = self.open({top: array.shape for top, array in batch.items()})
        missing = [name for name in session.inputs if name not in batch]
        if missing:
            raise CaffeCompatError(f"input '{missing[0]}' is no data layer's: nothing feeds it")
        return session.run({name: batch[name] for name in session.inputs})


def _write(writer: Writer, done: int, blob: str, array: AnyArray) -> int:
    """Write an item of each batch as a record; return how many there are then."""
    shape = (*array.shape, 1, 1, 1)[:_AXES]
    for item in array.reshape(shape):
        writer.put(b"%010d" % done, of_features(item))
        done += 1
    return done


def of_features(item: AnyArray) -> bytes:
    """Return a serialized Datum as extract_features writes it: floats, and no label."""
    datum = of_pixels(item.astype("f4"))
    datum.ClearField("encoded")
    return datum.SerializeToString()
