"""Trained layers: the contents of a weights file, and their match with a net's layers by name."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import WeightsError
from ..types import Shape
from .mapped import Mapped

log = logging.getLogger("caffe_compat")

Target: TypeAlias = tuple[str, Sequence[tuple[str, Shape]]]


@dataclass(frozen=True, eq=False)
class BlobData:
    """One stored parameter blob.

    Attributes:
        array: float32, read-only; a view of the file itself where the format allows.
        index: its index among its layer's blobs.
        legacy: whether the file has num, channels, height and width (a bias is 1 x 1 x 1 x N, a
            matrix 1 x 1 x N x K) instead of a shape; the array then has these 4 dimensions.
    """

    array: NDArray[np.float32]
    index: int
    legacy: bool = False

    def fits(self, shape: Shape) -> bool:
        """Return whether it fits a blob of this shape (Caffe's Blob::ShapeEquals)."""
        if not self.legacy:
            return self.array.shape == tuple(shape)
        return len(shape) <= 4 and self.array.shape == (1,) * (4 - len(shape)) + tuple(shape)


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """One layer of a weights file.

    Attributes:
        name: as stored; layers are matched by it.
        type: in the words of the file's generation: `Convolution` (V2), `CONVOLUTION` (V1),
            `conv` (V0), or empty (HDF5, NPZ).
        blobs: by index; HDF5 files leave out the blobs that another layer owns.
    """

    name: str
    type: str
    blobs: tuple[BlobData, ...]


@dataclass(frozen=True, eq=False)
class Weights:
    """An opened weights file.

    Attributes:
        path: of the file.
        name: of the net; empty if the file has none.
        format: `V2`, `V1` or `V0` (the generations of caffemodel), `HDF5` or `NPZ`.
        layers: in the file's order.
        file: the map behind the blobs.
    """

    path: Path
    name: str
    format: str
    layers: tuple[LayerWeights, ...]
    file: Mapped = field(repr=False)

    @property
    def shapes(self) -> dict[str, list[Shape]]:
        """The shapes of each layer's blobs, by the layer's name."""
        return {layer.name: [blob.array.shape for blob in layer.blobs] for layer in self.layers}

    def check(self) -> None:
        """Check that the file is unchanged since it was opened; call it before use.

        Raises:
            WeightsError: it was changed or cut since. To read on would end the process.
        """
        self.file.check()


@dataclass(frozen=True, eq=False)
class Report:
    """The result of `match`.

    Attributes:
        copied: the arrays of each target in the file, by the target's index: views of the file in
            the target's own shapes; None for a shared blob that an HDF5 file leaves to its owner.
            In the order of Caffe's copying: if two targets share a blob, the last one counts.
        left: the names of the targets with blobs that are not in the file.
        unused: the names of the file's layers with blobs that are not in the net.
    """

    copied: dict[int, tuple[NDArray[np.float32] | None, ...]]
    left: tuple[str, ...]
    unused: tuple[str, ...]


def match(
    weights: Weights,
    targets: Sequence[Target],
    shared: Collection[tuple[int, int]] = (),
    *,
    reshape: bool = False,
) -> Report:
    """Match the layers of a net with trained layers by name, as Caffe's copying does.

    From net.cpp: CopyTrainedLayersFrom gives a source layer to the first target of its name, and
    CopyTrainedLayersFromHDF5 to the last. Later sources of the same name overwrite earlier ones.

    Args:
        weights: the opened file.
        targets: the net's layers in order: their names, and their blobs' names and shapes.
        shared: (target index, blob index) of the blobs that another layer owns.
        reshape: take blobs of another shape and equal count, as their numbers lie; Caffe refuses
            them.

    Returns:
        The matches. Nothing is copied yet: the arrays are views.

    Raises:
        WeightsError: a blob's shape or a layer's number of blobs does not fit, or the file was
            changed since it was opened.
    """
    weights.check()
    hdf5 = weights.format == "HDF5"
    index: dict[str, int] = {}
    for i, (name, _) in enumerate(targets):
        if hdf5 or name not in index:
            index[name] = i
    copied: dict[int, tuple[NDArray[np.float32] | None, ...]] = {}
    unused = []
    for layer in weights.layers:
        if layer.name not in index:
            unused += [layer.name] if layer.blobs else []
            continue
        target = index[layer.name]
        absent_ok = {j for i, j in shared if i == target} if hdf5 else set()
        arrays = _fit(weights.path, layer, targets[target][1], absent_ok, reshape=reshape)
        if arrays:
            copied.pop(target, None)  # so that the order is that of the last copying
            copied[target] = arrays
    left = tuple(name for i, (name, blobs) in enumerate(targets) if blobs and i not in copied)
    return Report(copied, left, tuple(unused))


def _fit(
    path: Path,
    layer: LayerWeights,
    blobs: Sequence[tuple[str, Shape]],
    absent_ok: set[int],
    *,
    reshape: bool,
) -> tuple[NDArray[np.float32] | None, ...]:
    stored = {blob.index: blob for blob in layer.blobs}
    indices = set(range(len(blobs)))
    if not stored.keys() <= indices or not indices - stored.keys() <= absent_ok:
        raise WeightsError(
            f"{path}: Incompatible number of blobs for layer {layer.name}: the net has "
            f"{len(blobs)} ({', '.join(name for name, _ in blobs) or 'none'}), the file "
            f"{len(stored)}. {_ADVICE}"
        )
    arrays: list[NDArray[np.float32] | None] = []
    for j, (_, shape) in enumerate(blobs):
        blob = stored.get(j)
        if blob is not None and not blob.fits(shape):
            equal = blob.array.size == math.prod(shape)
            if equal and reshape:
                log.info(
                    "layer '%s', blob %d: its %d numbers as they lie",
                    layer.name,
                    j,
                    blob.array.size,
                )
            else:
                raise WeightsError(
                    f"{path}: Cannot copy param {j} weights from layer '{layer.name}'; shape "
                    f"mismatch.  Source param shape is {describe(blob.array.shape)}; target param "
                    f"shape is {describe(shape)}. {_EQUAL if equal else _ADVICE}",
                    remedies=("allow_reshape",) if equal else (),
                )
        arrays.append(None if blob is None else blob.array.reshape(shape))
    return tuple(arrays)


_ADVICE = (
    "To learn this layer's parameters from scratch rather than copying from a saved net, "
    "rename the layer."
)


_EQUAL = (
    "They have equally many values: allow_reshape=True takes these as they lie, which is right "
    "for an InnerProduct that became a Convolution over its whole input, and the like."
)


def describe(shape: Shape) -> str:
    """Return a shape in the words of Caffe's shape_string: `3 150 (450)`."""
    return "".join(f"{d} " for d in shape) + f"({math.prod(shape)})"
