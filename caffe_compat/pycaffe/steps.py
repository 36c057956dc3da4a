"""The layers of a live net: each reads and writes its blobs' memory, as Caffe's do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np

from .. import caffe_pb2, fillers
from ..errors import ShapeError
from ..layers import layer as package
from ..layers.arity import check_arity
from ..layers.naming import named
from ..types import Array, Shape
from . import mode
from .blob import Blob, BlobVec, memories, resize, shape_of, share_data, share_diff
from .layer import Layer, show
from .overwritten import anew, keeps_bottom, true_backward


class Step:
    """A layer in its place, with its blobs.

    Attributes:
        proto: its message.
        bottoms: the blobs that it reads.
        tops: the blobs that it writes.
        blobs: its parameter blobs.
        shown: what `net.layers` shows.
        loss_weights: one for each top.
        need_backward: whether backward runs it.
        propagate: for each bottom, whether backward writes its gradient.
        param_propagate: likewise for each parameter blob.
    """

    shown: Layer
    auto_tops = 0  # how many tops it has where the prototxt names fewer (AutoTopBlobs)

    def __init__(self, proto: caffe_pb2.LayerParameter) -> None:
        self.proto = proto
        self.bottoms: list[Blob] = []
        self.tops: list[Blob] = []
        self.loss_weights: list[float] = []
        self.need_backward = False
        self.propagate: list[bool] = []
        self.param_propagate: list[bool] = []

    @property
    def blobs(self) -> BlobVec:
        """Its parameter blobs."""
        return self.shown.blobs

    def setup(self) -> None:
        """Make the parameters and shape the tops (Layer::SetUp)."""
        raise NotImplementedError

    def reshape(self) -> None:
        """Shape the tops by the bottoms (Layer::Reshape)."""
        raise NotImplementedError

    def forward(self) -> None:
        """Compute the tops' data, their shapes being right."""
        raise NotImplementedError

    def backward(self) -> None:
        """Compute the gradients of the bottoms, and add to those of the parameters."""

    def allows_force_backward(self, bottom: int) -> bool:
        """Return whether `force_backward` wants the gradient at a bottom."""
        return True

    def check_backward(self) -> None:
        """Refuse a backward pass that Caffe ends at."""

    def loss(self) -> float:
        """Return the tops' values times their gradients, where they have a loss weight."""
        total = 0.0
        for top, weight in zip(self.tops, self.loss_weights, strict=True):
            if weight:
                total += float(np.dot(top.data.ravel(), top.diff.ravel()))
        return total

    @contextmanager
    def named(self) -> Iterator[None]:
        """Put the layer in front of any error of this package that is raised inside."""
        with named(self.proto):
            yield


class Computed(Step):
    """A layer that this package knows.

    Attributes:
        layer: its shapes, its parameters and what it computes.
    """

    def __init__(self, layer: package.Layer) -> None:
        super().__init__(layer.proto)
        self.layer = layer
        self.auto_tops = 1 if layer.loss else 0
        self.shown = show(self, layer.proto.type, BlobVec())
        self._bottom_shapes: tuple[Shape, ...] | None = None
        self._top_shapes: list[Shape] = []
        self.kept: Blob | None = None  # the bottom before the layer ran in place on it
        self.parameters: dict[str, Blob] = {}
        self.shares = False
        self.extra: dict[str, Any] = {}  # what the last forward pass drew and kept for backward
        self.lowers: bool | None = None  # whether onnxruntime can run it; None: not known yet

    def setup(self) -> None:
        shapes = [shape_of(blob) for blob in self.bottoms]
        with self.layer.named():
            self.check_arity()
            stated = self.layer.blobs(*shapes)
            self._make_blobs(stated, shapes)
        self.parameters = dict(zip((blob.name for blob in stated), self.blobs, strict=True))
        self.reshape()

    def check_arity(self) -> None:
        """Refuse another number of bottoms or tops than the layer takes."""
        check_arity("bottom", len(self.bottoms), self.layer.bottoms)
        check_arity("top", len(self.proto.top) or self.auto_tops, self.layer.tops)

    def _make_blobs(self, stated: Sequence[package.Blob], shapes: list[Shape]) -> None:
        """Fill the parameters: at once where the random stream is seeded, else when first read."""
        if self.blobs:
            return
        self.blobs.extend(Blob(blob.shape) for blob in stated)
        carried = self.proto.blobs
        if carried:
            arrays = [np.array(blob.double_data or blob.data, np.float32) for blob in carried]
            if [a.size for a in arrays] != [blob.count for blob in self.blobs]:
                raise ShapeError(
                    f"the prototxt gives blobs of {[a.size for a in arrays]} values, and the "
                    f"layer has {[blob.count for blob in self.blobs]}"
                )
            for blob, array in zip(self.blobs, arrays, strict=True):
                blob.data[...] = array.reshape(shape_of(blob))
            return
        own_fill = type(self.layer).fill is not package.Layer.fill
        if mode.seeded() or own_fill:
            for blob, array in zip(
                self.blobs, self.layer.fill(mode.rng(), *shapes, blobs=stated), strict=True
            ):
                blob.data[...] = array
            return
        for blob, state in zip(self.blobs, stated, strict=True):
            if state.filler is not None:
                fillers.check(state.shape, state.filler)
                _fill_later(blob, state)

    def reshape(self) -> None:
        shapes = tuple(shape_of(blob) for blob in self.bottoms)
        first = self._bottom_shapes is None
        if shapes != self._bottom_shapes:
            with self.layer.named():
                tops = self.layer.shapes(*shapes)
                self._check_parameters(shapes)
                if len(tops) != len(self.tops):
                    raise ShapeError(
                        f"has {len(tops)} top blob(s), and the prototxt names {len(self.tops)}"
                    )
                self._top_shapes = [self._known(shape, i) for i, shape in enumerate(tops)]
            self.shares = self.layer.shares(*shapes)
            self._bottom_shapes = shapes
        for top, shape in zip(self.tops, self._top_shapes, strict=True):
            if first or not (self.layer.varies and len(shape_of(top)) == len(shape)):
                resize(top, shape)
            if self.shares:
                share_data(top, self.bottoms[0])
                if self.proto.type != "Split":
                    share_diff(top, self.bottoms[0])

    def _known(self, shape: Shape | None, top: int) -> Shape:
        if shape is None:
            name = self.proto.top[top]
            raise ShapeError(f"the prototxt does not give the shape of '{name}'")
        return shape

    def _check_parameters(self, shapes: tuple[Shape, ...]) -> None:
        """Refuse bottoms that would need other parameters than the layer has."""
        for blob, stated in zip(self.blobs, self.layer.blobs(*shapes), strict=True):
            if shape_of(blob) != stated.shape and blob.count != prod(stated.shape):
                raise ShapeError(
                    f"Input size incompatible with the layer's parameters: {stated.name} would "
                    f"be {stated.shape}, and is {shape_of(blob)}"
                )

    def arrays(self) -> dict[str, Array]:
        """Return the parameters by the names that the layer gives them."""
        return {name: blob.data for name, blob in self.parameters.items()}

    @property
    def in_place(self) -> bool:
        """Whether the first top is the first bottom."""
        return bool(self.tops and self.bottoms) and self.tops[0] is self.bottoms[0]

    def forward(self) -> None:
        if self.shares:
            return
        x = [blob.data for blob in self.bottoms]
        self.keep()
        with self.layer.named():
            outputs = self.layer.forward(*x, **self.arrays())
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for top, array in zip(self.tops, outputs, strict=True):
            write(top, array)

    def keep(self) -> None:
        """Keep the bottom of a layer that runs in place, where Caffe keeps it for backward."""
        if self.in_place and keeps_bottom(self.layer):
            self.kept = Blob(shape_of(self.bottoms[0]))
            self.kept.data[...] = self.bottoms[0].data

    def check_backward(self) -> None:
        with self.layer.named():
            self.layer.check_backward(self.propagate)

    def backward(self) -> None:
        if not any(self.propagate) and not any(self.param_propagate):
            return
        if self.shares and memories(self.tops[0])[1] is memories(self.bottoms[0])[1]:
            return
        x = [blob.data for blob in self.bottoms]
        if self.in_place and self.kept is not None and shape_of(self.kept) == x[0].shape:
            x[0] = self.kept.data
        with self.layer.named():
            flows = true_backward(self, x)
        self.add_gradients(flows)

    def add_gradients(self, flows: Sequence[Array | None]) -> None:
        """Write the gradients at the bottoms, and add those of the parameters."""
        bottoms, parameters = flows[: len(self.bottoms)], flows[len(self.bottoms) :]
        for bottom, flow, wanted in zip(self.bottoms, bottoms, self.propagate, strict=False):
            if wanted and flow is not None:
                bottom.diff[...] = flow.reshape(shape_of(bottom))
        written = anew(self)
        for (name, blob), flow, wanted in zip(
            self.parameters.items(), parameters, self.param_propagate, strict=False
        ):
            if wanted and flow is not None:
                diff = blob.diff
                flow = flow.reshape(diff.shape)
                if name in written:
                    diff[...] = flow
                else:
                    diff += flow

    def allows_force_backward(self, bottom: int) -> bool:
        return self.layer.allows_force_backward(bottom)


def _fill_later(blob: Blob, stated: package.Blob) -> None:
    """Fill a parameter when it is first read; weights that are loaded before spare the draw."""

    def fill(flat: Array) -> None:
        flat[...] = fillers.fill(stated.shape, stated.filler, mode.rng()).reshape(-1)

    memories(blob)[0].fill_later(fill)


def write(top: Blob, array: Array) -> None:
    """Write what a layer computed into its top, which takes the shape where only data tell it."""
    if array.shape != shape_of(top):
        resize(top, array.shape)
    top.data[...] = array
