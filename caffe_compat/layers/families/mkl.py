"""The layers that Intel's MKL computes, under their own types."""

from __future__ import annotations

from ...caffe_pb2 import LayerParameter, PoolingParameter
from ...errors import UnsupportedError
from ...types import Shape
from ..registry import layer
from .conv import Convolution
from .norm import LRN
from .pooling import Pooling
from .rectifier import ReLU


@layer(param="convolution_param", bottoms=(1, None), tops=(1, None))
class MKLConvolution(Convolution):
    """Convolution.

    From: intel/caffe, src/caffe/layers/mkl_convolution_layer.cpp (by reading alone)
    """


@layer(param="relu_param", inplace=True)
class MKLReLU(ReLU):
    """ReLU.

    From: intel/caffe, src/caffe/layers/mkl_relu_layer.cpp (by reading alone)
    """


@layer(param="lrn_param")
class MKLLRN(LRN):
    """LRN.

    From: intel/caffe, src/caffe/layers/mkl_lrn_layer.cpp (by reading alone)
    Refused: norm_region WITHIN_CHANNEL, which the fork lacks.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        self.refuse_within()


@layer(param="pooling_param")
class MKLPooling(Pooling):
    """Pooling of MAX, and of AVE without a pad.

    From: intel/caffe, src/caffe/layers/mkl_pooling_layer.cpp (by reading alone)
    Refused: AVE with a pad, whose divisor is up to MKL; STOCHASTIC.
    """

    def shapes(self, x: Shape) -> list[Shape | None]:
        tops = super().shapes(x)
        if self.p.pool == PoolingParameter.AVE and self._sizes(x)[0].padded:
            raise UnsupportedError("does not support AVE with a pad, whose divisor is up to MKL")
        if self.p.pool not in (PoolingParameter.MAX, PoolingParameter.AVE):
            raise UnsupportedError("supports pool MAX and AVE alone")
        return tops
