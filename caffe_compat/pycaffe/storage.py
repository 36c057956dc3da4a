"""A live net's weights: read, shared and written as Caffe's nets do (net.cpp)."""

from __future__ import annotations

from typing import Any

from .. import weights
from ..caffe_pb2 import NetParameter
from ..errors import WeightsError
from ..net.saving import set_up
from ..types import Array, Shape
from ..weights import snapshot
from ..weights.trained import Weights, describe, match
from . import mode
from .blob import memories, shape_of, share_data
from .wiring import Wiring


def read(path: str) -> Weights:
    """Open a weights file of any kind; see `weights.read`."""
    return weights.read(path)


def stored_shapes(trained: Weights) -> dict[str, list[Shape]]:
    """Return the shapes of the blobs by layer, by which forks' layers are told apart."""
    return {layer.name: [blob.array.shape for blob in layer.blobs] for layer in trained.layers}


def copy_from(wiring: Wiring, trained: Weights) -> None:
    """Copy weights into the layers of the same names (Net::CopyTrainedLayersFrom).

    Raises:
        WeightsError: a layer's blobs do not fit the file's; nothing is copied then.
    """
    targets = [
        (step.proto.name, [(str(i), shape_of(blob)) for i, blob in enumerate(step.blobs)])
        for step in wiring.steps
    ]
    shared = {
        (index, i)
        for index, places in enumerate(wiring.owners)
        for i, place in enumerate(places)
        if place != (index, i)
    }
    report = match(trained, targets, shared)
    for index, arrays in report.copied.items():
        for blob, array in zip(wiring.steps[index].blobs, arrays, strict=True):
            if array is not None:
                memories(blob)[0].overwrite()[: array.size] = array.reshape(-1)
    for name in report.unused:
        mode.debug("Ignoring source layer %s", name)


def share(wiring: Wiring, other: Wiring) -> None:
    """Make the layers' parameters the memory of another net's, by name.

    Raises:
        WeightsError: a layer's blobs are of another number or shape.
    """
    names = wiring.layer_names
    for source in other.steps:
        name = source.proto.name
        if name not in names:
            continue
        blobs = wiring.steps[names.index(name)].blobs
        if len(blobs) != len(source.blobs):
            raise WeightsError(f"Incompatible number of blobs for layer {name}")
        for i, (blob, theirs) in enumerate(zip(blobs, source.blobs, strict=True)):
            if shape_of(blob) != shape_of(theirs):
                raise WeightsError(
                    f"Cannot share param {i} weights from layer '{name}'; shape mismatch.  Source "
                    f"param shape is {describe(shape_of(theirs))}; target param shape is "
                    f"{describe(shape_of(blob))}"
                )
            share_data(blob, theirs)


def save(wiring: Wiring, path: str, *, diffs: bool = False) -> None:
    """Write a caffemodel with every layer, Splits included (Net::ToProto)."""
    gradients = {"diffs": _gradients(wiring)} if diffs else {}
    snapshot.write_caffemodel(path, message(wiring), _arrays(wiring), **gradients)


def message(wiring: Wiring) -> NetParameter:
    """Return what a caffemodel says of the layers beside their blobs."""
    saved = NetParameter(name=wiring.net.name)
    saved.layer.extend(set_up(step.proto, bool(step.auto_tops)) for step in wiring.steps)
    return saved


def save_hdf5(wiring: Wiring, path: str, *, diffs: bool = False) -> None:
    """Write the weights as HDF5 (Net::ToHDF5)."""
    shared = [
        (index, i)
        for index, places in enumerate(wiring.owners)
        for i, place in enumerate(places)
        if place != (index, i)
    ]
    gradients = {"diffs": _gradients(wiring)} if diffs else {}
    snapshot.write_hdf5(path, wiring.layer_names, _arrays(wiring), shared, **gradients)


def _arrays(wiring: Wiring) -> list[list[Array]]:
    arrays: list[list[Any]] = [[blob.data for blob in step.blobs] for step in wiring.steps]
    return arrays


def _gradients(wiring: Wiring) -> list[list[Array]]:
    arrays: list[list[Any]] = [[blob.diff for blob in step.blobs] for step in wiring.steps]
    return arrays
