"""Layers of SkimCaffe that are several others at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...caffe_pb2 import InnerProductParameter, LayerParameter, PoolingParameter
from ...errors import UnsupportedError
from ...types import Array, Shape
from ..builder import Builder
from ..registry import layer
from .conv import Convolution
from .dense import InnerProduct
from .norm import LRN
from .pooling import Pooling


def _check_slope(proto: LayerParameter) -> None:
    if proto.relu_param.negative_slope:
        raise UnsupportedError("supports negative_slope 0 alone")


def _refuse_backward(*args: Any, **kwargs: Any) -> Any:
    raise UnsupportedError("has no backward pass, as in its fork")


@layer(param="convolution_param", bottoms=(1, None), tops=(1, None))
class ConvolutionReLU(Convolution):
    """max(W * x + b, 0), as Convolution and ReLU.

    From: IntelLabs/SkimCaffe, src/caffe/layers/conv_relu_layer.cpp
    Refused: a negative_slope; a backward pass, which the fork lacks.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        _check_slope(proto)

    def forward(self, *x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, ...]:
        tops = super().forward(*x, weight=weight, bias=bias)
        return tuple(np.maximum(top, 0) for top in tops)

    backward = backward_blobs = staticmethod(_refuse_backward)

    def lower(self, g: Builder, *x: str, weight: str, bias: str | None = None) -> tuple[str, ...]:
        return tuple(g.Relu(top) for top in super().lower(g, *x, weight=weight, bias=bias))


@layer(param="pooling_param")
class ReLUPooling(Pooling):
    """The max of each window and 0, as ReLU and Pooling.

    From: IntelLabs/SkimCaffe, src/caffe/layers/relu_pooling_layer.cpp
    Refused: a negative_slope; another pool than MAX; a backward pass, which the fork lacks.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        _check_slope(proto)
        if self.p.pool != PoolingParameter.MAX:
            raise UnsupportedError("supports pool MAX alone")

    def padded(self, x: Shape) -> bool:
        """Return whether a window reads beyond the bottom's first rows or columns."""
        return self._sizes(x)[0].padded

    def forward(self, *args: Any, **kwargs: Any) -> Array:
        return np.maximum(super().forward(*args, **kwargs), 0)

    def forward_keeping(self, *args: Any, **kwargs: Any) -> tuple[Array, dict[str, Any]]:
        return self.forward(*args, **kwargs), {}

    backward = staticmethod(_refuse_backward)

    def lower(self, g: Builder, x: str, **arrays: str) -> tuple[str, ...]:
        return tuple(g.Relu(top) for top in super().lower(g, x, **arrays))


@layer(param="convolution_param")
class ConvolutionReLUPool(Convolution):
    """The max of each window of W * x + b and 0, as Convolution, ReLU and Pooling.

    From: IntelLabs/SkimCaffe, src/caffe/layers/conv_relu_pool_layer.cpp
    Refused: a negative_slope; another pool than MAX; a padded pool, whose first windows the fork
        moves inside; in ONNX, a varying height or width; a backward pass, which the fork lacks.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        self._pool = ReLUPooling(proto)

    def shapes(self, x: Shape) -> list[Shape | None]:
        (size,) = super().shapes(x)
        tops = self._pool.shapes(size or ())
        if self._pool.padded(size or ()):
            raise UnsupportedError(
                "supports a pool without a pad alone: the fork moves the first windows of a padded "
                "pool inside the image"
            )
        return tops

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, ...]:
        (y,) = super().forward(x, weight=weight, bias=bias)
        return (self._pool.forward(y),)

    backward = backward_blobs = staticmethod(_refuse_backward)

    def lower(self, g: Builder, x: str, weight: str, bias: str | None = None) -> tuple[str, ...]:
        (y,) = super().lower(g, x, weight=weight, bias=bias)
        (size,) = super().shapes((1, *(g.fixed(x, axis) for axis in range(1, len(g.dims(x))))))
        g.value(y, (g.dims(x)[0], *(size or ())[1:]))
        return self._pool.lower(g, y)


@layer(param="convolution_param")
class ConvolutionReLUPoolLRN(ConvolutionReLUPool):
    """ConvolutionReLUPool, and LRN over channels.

    From: IntelLabs/SkimCaffe, src/caffe/layers/conv_relu_pool_lrn_layer.cpp (by reading alone)
    Refused: norm_region WITHIN_CHANNEL, and what ConvolutionReLUPool refuses.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        self._norm = LRN(proto)
        self._norm.refuse_within()

    def shapes(self, x: Shape) -> list[Shape | None]:
        (size,) = super().shapes(x)
        return self._norm.shapes(size or ())

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, ...]:
        (y,) = super().forward(x, weight=weight, bias=bias)
        return (self._norm.forward(y),)

    def lower(self, g: Builder, x: str, weight: str, bias: str | None = None) -> tuple[str, ...]:
        (y,) = super().lower(g, x, weight=weight, bias=bias)
        return (self._norm.lower(g, y),)


@layer(param="inner_product_param")
class InnerProductReLUDropout(InnerProduct):
    """max(x W^T + b, 0), as InnerProduct and ReLU; the fork drops nothing.

    gemm_mode SPMDM computes the same; spmdm_transpose_in and spmdm_transpose_out are about the
    order in memory of a blob between two such layers, and not read.

    From: IntelLabs/SkimCaffe, src/caffe/layers/inner_product_relu_dropout_layer.cpp (by reading
        alone) (by reading alone)
    Refused: gemm_mode SPGEMM, as in the fork; a backward pass, since the fork's leaves out ReLU.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        if self.p.gemm_mode == InnerProductParameter.SPGEMM:
            raise UnsupportedError("does not support gemm_mode SPGEMM, nor does its fork")
        self._slope = proto.relu_param.negative_slope

    def forward(self, x: Array, weight: Array, bias: Array | None = None) -> Array:
        y = super().forward(x, weight, bias)
        return np.maximum(y, 0) + np.float32(self._slope) * np.minimum(y, 0)

    def backward(self, *args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError("has no backward pass: its fork's leaves out the ReLU")

    backward_blobs = backward

    def lower(self, g: Builder, x: str, weight: str, bias: str | None = None) -> str:
        y = super().lower(g, x, weight, bias)
        return g.LeakyRelu(y, alpha=self._slope) if self._slope else g.Relu(y)
