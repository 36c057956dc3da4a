"""Layers that collect batches from several processes, as a single process has them."""

from __future__ import annotations

from ...errors import ShapeError
from ...types import Array, Shape
from ..builder import Builder
from ..layer import Arrays, Layer
from ..registry import layer


@layer("Scatter", bottoms=(1, None), tops=(1, None))
class Gather(Layer):
    """Each top is its bottom; in ONNX it vanishes.

    From: yjxiong/caffe, src/caffe/layers/gather_layer.cpp and scatter_layer.cpp, without MPI
    """

    def shapes(self, *x: Shape) -> list[Shape | None]:
        if len(x) != len(self.proto.top):
            raise ShapeError(f"has {len(x)} bottoms and {len(self.proto.top)} tops; one each")
        return list(x)

    def shares(self, *x: Shape) -> bool:
        return True

    def forward(self, *x: Array) -> tuple[Array, ...]:
        return x

    def backward(self, dy: Arrays, *x: Array) -> tuple[Array, ...]:
        return dy if isinstance(dy, tuple) else (dy,)

    def lower(self, g: Builder, *x: str) -> tuple[str, ...]:
        return x
