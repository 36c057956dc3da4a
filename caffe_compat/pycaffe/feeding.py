"""Layers through which data enter a live net, and those that draw random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import fillers
from ..errors import CaffeCompatError, UnsupportedError
from ..layers import layer as package
from ..types import Array
from . import mode
from .blob import resize, shape_of
from .steps import Computed, write


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


class DropoutStep(Computed):
    """Dropout in TRAIN: what it keeps is drawn at every forward (dropout_layer.cpp)."""

    _mask: Array | None = None

    def forward(self) -> None:
        x, ratio = self.bottoms[0].data, self.layer.p.dropout_ratio
        scale = np.float32(1 / (1 - ratio))
        self._mask = mode.rng().bernoulli(1 - ratio, x.size).reshape(x.shape) * scale
        write(self.tops[0], x * self._mask)

    def backward(self) -> None:
        dy = self.tops[0].diff
        mask = self._mask
        if mask is None or mask.shape != dy.shape:
            mask = np.zeros_like(dy)
        self.add_gradients([dy * mask])


class BatchNormStep(Computed):
    """BatchNorm with the batch's statistics: every forward moves its three blobs."""

    def forward(self) -> None:
        x = self.bottoms[0].data
        axes = tuple(i for i in range(x.ndim) if i != 1)
        fraction = np.float32(self.layer.p.moving_average_fraction)
        mean, variance = np.mean(x, axis=axes), np.var(x, axis=axes)
        count = x.size // x.shape[1]
        unbiased = np.float32(count / (count - 1) if count > 1 else 1)
        super().forward()
        own = [blob.data for blob in self.blobs]
        own[2] *= fraction
        own[2] += 1
        own[0] *= fraction
        own[0] += mean
        own[1] *= fraction
        own[1] += unbiased * variance


def data_layer(layer: package.Layer) -> Computed | None:
    """Return the step of a layer that is fed or that draws; None for any other."""
    kind, train = layer.proto.type, layer.train
    if kind == "Input":
        return InputStep(layer)
    if kind == "DummyData":
        return DummyDataStep(layer)
    if kind == "MemoryData":
        return MemoryDataStep(layer)
    if kind == "Dropout" and train:
        return DropoutStep(layer)
    if kind == "BatchNorm" and not getattr(layer, "stored", True):
        return BatchNormStep(layer)
    if not layer.feeds():
        return None
    from .reading import TYPES, ReaderStep  # only here: databases bring their packages

    if kind not in TYPES:
        with layer.named():
            raise UnsupportedError("reads what this package does not; give the net an Input layer")
    return ReaderStep(layer)
