"""Layers through which data enter a live net, and those that draw random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import fillers
from ..caffe_pb2 import PoolingParameter
from ..data import place
from ..data.iterator import Batches
from ..errors import CaffeCompatError, UnsupportedError
from ..layers import layer as package
from ..training import feeding as training
from ..types import Array
from . import mode
from .blob import resize, shape_of
from .reading import TYPES, ReaderStep
from .steps import Computed, Step, write


class InputStep(Computed):
    """A layer whose tops the script fills: their shapes are those that it gives them."""

    def reshape(self) -> None:
        if self._bottom_shapes is None:
            super().reshape()

    def forward(self) -> None:
        """Leave what the script wrote."""


class DummyDataStep(Computed):
    """DummyData: constants once, and what its fillers draw at every forward."""

    def setup(self) -> None:
        super().setup()
        self._fill(constant=True)

    def reshape(self) -> None:
        if self._bottom_shapes is None:
            super().reshape()

    def forward(self) -> None:
        self._fill(constant=False)

    def _fill(self, *, constant: bool) -> None:
        given, tops = self.layer.p.data_filler, len(self.tops)
        for i, top in enumerate(self.tops):
            filler = given[i if len(given) == tops else 0] if given else None
            if (filler is None or filler.type == "constant") == constant:
                top.data[...] = fillers.fill(shape_of(top), filler, mode.rng())


class MemoryDataStep(Computed):
    """MemoryData: batches of the arrays that `Net.set_input_arrays` gives."""

    _arrays: tuple[Array, Array] | None = None
    _place = 0

    def feed(self, data: Array, labels: Array) -> None:
        """Hand out these arrays from now on, from their start.

        Raises:
            RuntimeError: an array is not what Caffe can read in place.
        """
        batch, *sizes = shape_of(self.tops[0])
        self._check("data array", data, sizes)
        self._check("labels array", labels, [1, 1, 1])
        if len(data) != len(labels):
            raise RuntimeError("data and labels must have the same first dimension")
        if len(data) % batch:
            raise RuntimeError("first dimensions of input arrays must be a multiple of batch size")
        self._arrays, self._place = (data, labels), 0

    @staticmethod
    def _check(what: str, array: Any, sizes: list[int]) -> None:
        if not array.flags.c_contiguous:
            raise RuntimeError(f"{what} must be C contiguous")
        if array.ndim != 4:
            raise RuntimeError(f"{what} must be 4-d")
        if array.dtype != np.float32:
            raise RuntimeError(f"{what} must be float32")
        for axis, name in ((1, "number of channels"), (2, "height"), (3, "width")):
            if array.shape[axis] != sizes[axis - 1]:
                raise RuntimeError(f"{what} has wrong {name}")

    def reshape(self) -> None:
        if self._bottom_shapes is None:
            super().reshape()

    def forward(self) -> None:
        if self._arrays is None:
            with self.layer.named():
                raise CaffeCompatError(
                    "MemoryData needs arrays: net.set_input_arrays(data, labels)"
                )
        batch = shape_of(self.tops[0])[0]
        resize(self.tops[1], (batch, 1, 1, 1))  # as Caffe's forward does
        for top, array in zip(self.tops, self._arrays, strict=True):
            rows = array[self._place : self._place + batch]
            top.data[...] = rows.reshape(shape_of(top))
        self._place = (self._place + batch) % len(self._arrays[0])


class ChangingStep(Computed):
    """A layer that draws random numbers, or whose passes change parameters or leave a state."""

    _states: dict[str, Array] | None = None

    @property
    def states(self) -> dict[str, Array]:
        """The states that the last pass left to the next one; those of a first pass if none fit."""
        initial = self.layer.state(*map(shape_of, self.bottoms))
        if self._states is None or _shapes(self._states) != _shapes(initial):
            return initial
        return self._states

    @states.setter
    def states(self, states: dict[str, Array]) -> None:
        self._states = states

    def forward(self) -> None:
        shapes = [shape_of(blob) for blob in self.bottoms]
        x = [blob.data for blob in self.bottoms]
        self._states = self.states
        self.keep()
        with self.layer.named():
            extra = {**self._states, **self.layer.draw(mode.rng(), *shapes)}
            outputs, kept = self.layer.forward_keeping(*x, **self.arrays(), **extra)
            self.extra = {**extra, **kept}
            changes = self.layer.update(*x, **self.arrays(), **self.extra)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for top, array in zip(self.tops, outputs, strict=True):
            write(top, array)
        for name, array in changes.items():
            if name in self.parameters:
                data = self.parameters[name].data
                data[...] = array.reshape(data.shape)
            else:
                self._states[name] = array

    def backward(self) -> None:
        if self._states is None:  # nothing was drawn yet, so nothing passes
            self.add_gradients([np.zeros_like(blob.data) for blob in self.bottoms])
        else:
            super().backward()


def _shapes(arrays: dict[str, Array]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}


def _changes(layer: package.Layer) -> bool:
    """Return whether a layer's passes draw or change something in its phase, with its settings."""
    cls, plain = type(layer), package.Layer
    if cls.state is not plain.state:
        return True
    if layer.proto.type == "Pooling":
        return layer.train and layer.p.pool == PoolingParameter.STOCHASTIC
    changes = cls.draw is not plain.draw or cls.update is not plain.update
    return changes and (layer.samples or not getattr(layer, "stored", not layer.train))


def data_layer(layer: package.Layer) -> Computed | None:
    """Return the step of a layer that is fed or that draws; None for any other."""
    kind = layer.proto.type
    if kind == "Input":
        return InputStep(layer)
    if kind == "DummyData":
        return DummyDataStep(layer)
    if kind == "MemoryData":
        return MemoryDataStep(layer)
    if not layer.feeds():
        return ChangingStep(layer) if _changes(layer) else None
    if kind not in TYPES:
        with layer.named():
            raise UnsupportedError("reads what this package does not; give the net an Input layer")
    return ReaderStep(layer)


def state(steps: Sequence[Step]) -> bytes:
    """Return the place of a net's readers and what one pass leaves to the next.

    The bytes are those of the same net in `caffe_compat.Solver`.
    """
    places = {name: at for reader in _readers(steps) for name, at in reader.places.items()}
    return training.pack(place.pack(places) if places else b"", [s.states for s in _keeping(steps)])


def restore(steps: Sequence[Step], state: bytes) -> None:
    """Go to where `state` was.

    Raises:
        WeightsError: it is not a state of this net.
        ParseError: a source has changed.
    """
    if not state:
        return
    keeping = _keeping(steps)
    at, states = training.unpack(state, [step.states for step in keeping])
    for step, arrays in zip(keeping, states, strict=True):
        step.states = arrays
    readers = _readers(steps)
    if at and readers:
        places = place.unpack(at, [name for reader in readers for name in reader.layers])
        for reader in readers:
            reader.go_to(places)


def _readers(steps: Sequence[Step]) -> list[Batches]:
    return [step.batches for step in steps if isinstance(step, ReaderStep)]


def _keeping(steps: Sequence[Step]) -> list[ChangingStep]:
    return [step for step in steps if isinstance(step, ChangingStep) and step.states]
