"""The ends of a net: inputs, constants and parameters; sinks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ... import fillers
from ...caffe_pb2 import FillerParameter
from ...errors import ShapeError
from ...fillers.rng import Rng
from ...types import Array, Shape
from ..builder import Builder, int64
from ..layer import Blob, Layer
from ..registry import layer


class Fed(Layer):
    """A layer whose tops the caller feeds, as after Caffe's transformer."""

    def feeds(self) -> tuple[int, ...]:
        return tuple(range(len(self.proto.top)))


@layer(param="input_param", bottoms=0, tops=(1, None))
class Input(Fed):
    """Arrays that the caller feeds; one shape for all tops or one each (input_layer.cpp)."""

    def shapes(self) -> list[Shape | None]:
        shapes: list[Shape | None] = [tuple(shape.dim) for shape in self.p.shape]
        tops = len(self.proto.top)
        if not shapes:
            return [None] * tops
        if len(shapes) not in (1, tops):
            raise ShapeError(f"gives {len(shapes)} shapes for {tops} tops; one each or one for all")
        return shapes * tops if len(shapes) == 1 else shapes


@layer(param="dummy_data_param", bottoms=0, tops=(1, None))
class DummyData(Layer):
    """A constant for each top with a constant filler (dummy_data_layer.cpp).

    The others are drawn anew at every pass; whoever runs the net feeds them.
    """

    def shapes(self) -> list[Shape | None]:
        shapes = self._stated()
        for i, shape in enumerate(shapes):
            fillers.check(shape, self._filler(i))
        return [*shapes]

    def _stated(self) -> list[Shape]:
        tops, legacy = len(self.proto.top), ("num", "channels", "height", "width")
        if not any(len(getattr(self.p, field)) for field in legacy):
            self._check_count("shape", self.p.shape)
            shapes = [tuple(shape.dim) for shape in self.p.shape]
            return shapes * tops if len(shapes) == 1 else shapes
        if self.p.shape:
            raise ShapeError("gives both shape and num, channels, height, width; one of them")
        columns = []
        for field in legacy:
            sizes = list(getattr(self.p, field))
            self._check_count(field, sizes)
            columns.append(sizes * tops if len(sizes) == 1 else sizes)
        return [*zip(*columns, strict=True)]

    def _check_count(self, field: str, values: Sequence[object]) -> None:
        if len(values) not in (1, len(self.proto.top)):
            raise ShapeError(
                f"{field} is given {len(values)} times for {len(self.proto.top)} "
                "tops; once or one each"
            )

    def _filler(self, top: int) -> FillerParameter:
        filler, tops = self.p.data_filler, len(self.proto.top)
        if len(filler) not in (0, 1, tops):
            raise ShapeError(
                f"data_filler is given {len(filler)} times for {tops} tops; never, once or one each"
            )
        return (filler[top] if len(filler) > 1 else filler[0]) if filler else FillerParameter()

    def feeds(self) -> tuple[int, ...]:
        return tuple(i for i in range(len(self.proto.top)) if self._filler(i).type != "constant")

    def draw(self, rng: Rng) -> dict[str, Array]:
        shapes = self._stated()
        return {
            self.proto.top[i]: fillers.fill(shapes[i], self._filler(i), rng) for i in self.feeds()
        }

    def forward(self) -> tuple[Array | None, ...]:
        """Return a view of one value for each constant top, None for fed ones."""
        fed = self.feeds()
        return tuple(
            None if i in fed else np.broadcast_to(np.float32(self._filler(i).value), shape)
            for i, shape in enumerate(self._stated())
        )

    def lower(self, g: Builder) -> tuple[str | None, ...]:
        tensors: list[str | None] = []
        for i, shape in enumerate(self._stated()):
            value = np.array([self._filler(i).value], np.float32)
            size = int64(*shape)
            tensors.append(None if i in self.feeds() else g.ConstantOfShape(size, value=value))
        return tuple(tensors)


@layer(param="parameter_param", bottoms=0)
class Parameter(Layer):
    """Its parameter blob (parameter_layer.hpp); `filler` is training_toolbox_caffe's."""

    def blobs(self) -> list[Blob]:
        filler = self.p.filler if self.p.HasField("filler") else None
        return [Blob("value", tuple(self.p.shape.dim), filler)]

    def shapes(self) -> list[Shape | None]:
        return [tuple(self.p.shape.dim)]

    def forward(self, value: Array) -> Array:
        return value

    def backward(self, dy: Array, value: Array) -> Array:
        return dy

    def overwrites(self) -> tuple[str, ...]:
        return ("value",)  # its memory is the top's

    def lower(self, g: Builder, value: str) -> str:
        return value


class _Sink(Layer):
    """A layer that only reads; in ONNX it vanishes."""

    def shapes(self, *x: Shape) -> list[Shape | None]:
        return []

    def forward(self, *x: Array) -> tuple[Array, ...]:
        return ()

    def lower(self, g: Builder, *x: str) -> tuple[str, ...]:
        return ()


@layer(bottoms=(1, None), tops=0)
class Silence(_Sink):
    """No top: its bottoms are no outputs of the net (silence_layer.cpp)."""

    def backward(self, dy: tuple[Array, ...], *x: Array) -> tuple[Array, ...]:
        return tuple(np.zeros_like(array) for array in x)


@layer(param="hdf5_output_param", bottoms=2, tops=0)
class HDF5Output(_Sink):
    """No top: in training and `import caffe` a file of its bottoms (hdf5_output_layer.cpp).

    Elsewhere it writes none. The file takes one pass, and a second is refused, where Caffe aborts.
    """

    def shapes(self, *x: Shape) -> list[Shape | None]:
        rows = [shape[0] if shape else 1 for shape in x]
        if max(map(len, x)) > 4 or rows[0] != rows[1]:
            raise ShapeError(
                f"needs as many rows in both bottoms, of 4 axes at most: {x[0]} and {x[1]}"
            )
        return []


@layer(param="mat_write_param", bottoms=(1, None), tops=0)
class MatWrite(_Sink):
    """No top: no file is written, as DeepLab does with its bottoms, which are outputs here.

    From: cdmh/deeplab-public-ver2, src/caffe/layers/mat_write_layer.cpp (by reading alone)
    """

    evaluates = True


@layer("FloatWriter", "ImgWriter", "PFMWriter", param="writer_param", bottoms=(1, None), tops=0)
class FLOWriter(_Sink):
    """No top: no file is written, as the fork does with its bottoms, which are outputs here.

    From: lmb-freiburg/flownet2, src/caffe/layers/flowriter_layer.cpp (by reading alone)
    """

    evaluates = True
