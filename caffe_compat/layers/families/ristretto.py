"""The layers of Ristretto, whose numbers have few bits, as their float32 originals."""

from __future__ import annotations

from ..registry import layer
from .conv import Convolution, Deconvolution
from .dense import InnerProduct
from .norm import LRN


@layer(param="convolution_param", bottoms=(1, None), tops=(1, None))
class ConvolutionRistretto(Convolution):
    """Convolution in float32; its quantization_param is not read, and the log tells so.

    From: pmgysel/caffe, src/caffe/ristretto/layers/conv_ristretto_layer.cpp (by reading alone)
    """


@layer(param="convolution_param", bottoms=(1, None), tops=(1, None))
class DeconvolutionRistretto(Deconvolution):
    """Deconvolution in float32, as ConvolutionRistretto.

    From: pmgysel/caffe, src/caffe/ristretto/layers/deconv_ristretto_layer.cpp (by reading alone)
    """


@layer(param="inner_product_param")
class FcRistretto(InnerProduct):
    """InnerProduct in float32, as ConvolutionRistretto.

    From: pmgysel/caffe, src/caffe/ristretto/layers/fc_ristretto_layer.cpp (by reading alone)
    """


@layer(param="lrn_param")
class LRNRistretto(LRN):
    """LRN in float32, as ConvolutionRistretto.

    From: pmgysel/caffe, src/caffe/ristretto/layers/lrn_ristretto_layer.cpp (by reading alone)
    """
