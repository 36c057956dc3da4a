"""`caffe.Net`: a net that stays alive, its arrays in the script's hands."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..types import AnyArray, Array
from . import arguments, batches, mode, storage, wiring
from .blob import shape_of
from .engine import Engine
from .feeding import MemoryDataStep
from .structure import Structure


class Net(Structure):
    """A net with its blobs and parameters.

    The next forward or backward computes with what is written into `net.blobs[name].data`,
    `net.params[name][i].data` or a `diff`.

    Args:
        network_file: the prototxt.
        phase: caffe.TRAIN or caffe.TEST.
        level: NetState's level.
        stages: NetState's stages, beside those that the prototxt gives.
        weights: a caffemodel or HDF5 file.

    Raises:
        RuntimeError: a file cannot be opened.
        CaffeCompatError: the prototxt or the weights are refused; the message says where and why.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        path, phase, level, stages, weights = arguments.sort_out(args, kwargs)
        arguments.check_file(path)
        if weights is not None:
            arguments.check_file(weights)
        message = wiring.read(path, phase, level, stages)
        if weights is None:
            self._start(wiring.connect(message))
            return
        trained = storage.read(weights)
        self._start(wiring.connect(message, storage.stored_shapes(trained)))
        storage.copy_from(self._wiring, trained)

    def _start(self, parts: wiring.Wiring) -> None:
        super().__init__(parts)
        self._engine = Engine(parts.steps)
        if parts.net.debug_info:
            from .debug import DebugLog

            self._engine.debug = DebugLog(parts, mode.log)

    # -- running -----------------------------------------------------------------------------

    def forward(
        self,
        blobs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **kwargs: AnyArray,
    ) -> dict[str, Array]:
        """Run the net, or the part of it from one layer to another.

        Args:
            blobs: names of blobs to return beside the outputs.
            start: the name of the first layer to run.
            end: the name of the last; its tops are then the outputs.
            kwargs: an array for every input, by name.

        Returns:
            The arrays by name: the blobs' own memory, which the next forward overwrites.
        """
        first = 0 if start is None else self._layer_index(start)
        last = len(self._layers) - 1 if end is None else self._layer_index(end)
        wanted = {*(self.outputs if end is None else self.top_names[end]), *(blobs or ())}
        if kwargs:
            if set(kwargs) != set(self.inputs):
                raise ShapeError("Input blob arguments do not match net inputs.")
            for name, array in kwargs.items():
                if array.shape[0] != shape_of(self.blobs[name])[0]:
                    raise ShapeError("Input is not batch sized")
                self.blobs[name].data[...] = array
        self._forward(first, last)
        return {name: self.blobs[name].data for name in wanted}

    def backward(
        self,
        diffs: Sequence[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **kwargs: AnyArray,
    ) -> dict[str, Array]:
        """Run the net backward, or the part of it from one layer to an earlier one.

        Args:
            diffs: names of blobs whose gradients to return beside the inputs'.
            start: the name of the first layer to run, the last by default.
            end: the name of the last; the gradients at its bottoms are then returned.
            kwargs: the gradient at every output, by name.

        Returns:
            The gradients by name: the blobs' own memory.
        """
        first = len(self._layers) - 1 if start is None else self._layer_index(start)
        last = 0 if end is None else self._layer_index(end)
        wanted = {*(self.inputs if end is None else self.bottom_names[end]), *(diffs or ())}
        if kwargs:
            if set(kwargs) != set(self.outputs):
                raise ShapeError("Top diff arguments do not match net outputs.")
            for name, array in kwargs.items():
                if array.shape[0] != shape_of(self.blobs[name])[0]:
                    raise ShapeError("Diff is not batch sized")
                self.blobs[name].diff[...] = array
        self._backward(first, last)
        return {name: self.blobs[name].diff for name in wanted}

    def _layer_index(self, name: str) -> int:
        if name not in self._index:
            raise ValueError(f"{name!r} is not in list")
        return self._index[name]

    def _forward(self, start: int, end: int) -> float:
        return self._engine.forward(start, end)

    def _backward(self, start: int, end: int) -> None:
        self._engine.backward(start, end)

    def forward_all(
        self, blobs: Sequence[str] | None = None, **kwargs: AnyArray
    ) -> dict[str, AnyArray]:
        """Run the net on arrays of any length, in batches; see `forward`."""
        return batches.forward_all(self, blobs or (), kwargs)

    def forward_backward_all(
        self,
        blobs: Sequence[str] | None = None,
        diffs: Sequence[str] | None = None,
        **kwargs: AnyArray,
    ) -> tuple[dict[str, AnyArray], dict[str, AnyArray]]:
        """Run the net forward and backward on arrays of any length, in batches."""
        return batches.forward_backward_all(self, blobs or (), diffs or (), kwargs)

    def _batch(self, blobs: Mapping[str, AnyArray]) -> Iterator[dict[str, AnyArray]]:
        return batches.split(blobs, shape_of(next(iter(self.blobs.values())))[0])

    def reshape(self) -> None:
        """Give every blob the shape that follows from the inputs'."""
        for step in self._wiring.steps:
            step.reshape()

    def clear_param_diffs(self) -> None:
        """Set the gradients of the parameters to 0."""
        for layer in self._layers:
            for blob in layer.blobs:
                blob.diff[...] = 0

    def before_forward(self, run: Callable[[int], Any]) -> None:
        """Call `run` with a layer's index before each layer of a forward."""
        self._engine.before_forward.append(run)

    def after_forward(self, run: Callable[[int], Any]) -> None:
        """Call `run` with a layer's index after each layer of a forward."""
        self._engine.after_forward.append(run)

    def before_backward(self, run: Callable[[int], Any]) -> None:
        """Call `run` with a layer's index before each layer of a backward."""
        self._engine.before_backward.append(run)

    def after_backward(self, run: Callable[[int], Any]) -> None:
        """Call `run` with a layer's index after each layer of a backward."""
        self._engine.after_backward.append(run)

    def set_input_arrays(self, data: AnyArray, labels: AnyArray) -> None:
        """Feed the net's MemoryData layer, its first, from arrays (N, C, H, W) and (N,)."""
        if labels.ndim == 1:
            labels = np.ascontiguousarray(labels[:, np.newaxis, np.newaxis, np.newaxis])
        self._set_input_arrays(data, labels)

    def _set_input_arrays(self, data: AnyArray, labels: AnyArray) -> None:
        first = self._wiring.steps[0]
        if not isinstance(first, MemoryDataStep):
            raise RuntimeError(  # noqa: TRY004 - as pycaffe does
                "set_input_arrays may only be called if the first layer is a MemoryDataLayer"
            )
        first.feed(data, labels)

    # -- weights -----------------------------------------------------------------------------

    def copy_from(self, weights: str) -> None:
        """Read weights by layer name from a caffemodel or HDF5 file."""
        path = os.fspath(weights)
        arguments.check_file(path)
        storage.copy_from(self._wiring, storage.read(path))

    def share_with(self, other: Net) -> None:
        """Make the parameters those of another net, by layer name: one memory for both."""
        storage.share(self._wiring, other._wiring)

    def save(self, path: str) -> None:
        """Write a caffemodel."""
        storage.save(self._wiring, os.fspath(path))

    def save_hdf5(self, path: str) -> None:
        """Write the weights as HDF5."""
        storage.save_hdf5(self._wiring, os.fspath(path))

    def load_hdf5(self, path: str) -> None:
        """Read weights by layer name from an HDF5 file."""
        self.copy_from(path)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError("a caffe.Net cannot be copied or pickled; build another from its files")
