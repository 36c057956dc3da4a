"""Layers of SkimCaffe that are several others at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...caffe_pb2 import LayerParameter, PoolingParameter
from ...errors import UnsupportedError
from ...types import Array
from ..builder import Builder
from ..layer import layer
from .conv import Convolution
from .pooling import Pooling


def _check_slope(proto: LayerParameter) -> None:
    if proto.relu_param.negative_slope:
        raise UnsupportedError("supports negative_slope 0 alone")


@layer(param="convolution_param", bottoms=(1, None), tops=(1, None))
class ConvolutionReLU(Convolution):
    """max(W * x + b, 0), as Convolution and ReLU.

    From: IntelLabs/SkimCaffe, src/caffe/layers/conv_relu_layer.cpp (by reading alone)
    Refused: a negative_slope; a backward pass, which the fork lacks.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        _check_slope(proto)

    def forward(self, *x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, ...]:
        tops = super().forward(*x, weight=weight, bias=bias)
        return tuple(np.maximum(top, 0) for top in tops)

    def backward(self, *args: Any, **kwargs: Any) -> tuple[Array, ...]:
        raise UnsupportedError("has no backward pass, as in its fork")

    backward_blobs = backward

    def lower(self, g: Builder, *x: str, weight: str, bias: str | None = None) -> tuple[str, ...]:
        return tuple(g.Relu(top) for top in super().lower(g, *x, weight=weight, bias=bias))


@layer(param="pooling_param")
class ReLUPooling(Pooling):
    """The max of each window and 0, as ReLU and Pooling.

    From: IntelLabs/SkimCaffe, src/caffe/layers/relu_pooling_layer.cpp (by reading alone)
    Refused: a negative_slope; another pool than MAX; a backward pass, which the fork lacks.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        _check_slope(proto)
        if self.p.pool != PoolingParameter.MAX:
            raise UnsupportedError("supports pool MAX alone")

    def forward(self, *args: Any, **kwargs: Any) -> Array:
        return np.maximum(super().forward(*args, **kwargs), 0)

    def forward_keeping(self, *args: Any, **kwargs: Any) -> tuple[Array, dict[str, Any]]:
        return self.forward(*args, **kwargs), {}

    def backward(self, *args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError("has no backward pass, as in its fork")

    def lower(self, g: Builder, x: str, **arrays: str) -> tuple[str, ...]:
        return tuple(g.Relu(top) for top in super().lower(g, x, **arrays))
