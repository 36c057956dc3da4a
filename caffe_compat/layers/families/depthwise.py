"""Convolutions with one filter for each channel, under forks' names."""

from __future__ import annotations

from ...caffe_pb2 import LayerParameter
from ...errors import UnsupportedError
from ...types import Shape
from ..axes import canonical_axis
from ..registry import layer
from ..window import Window
from .conv import Convolution


@layer(param="convolution_param", bottoms=(1, None), tops=(1, None))
class DepthwiseConvolution(Convolution):
    """A Convolution whose group and num_output are the number of channels.

    The weights are num_output x 1 x kernel.

    From: yonghenglh6/DepthwiseConvolution, caffe/src/caffe/layers/depthwise_conv_layer.cpp
    Refused: another group or num_output, or none: the fork's CPU and GPU code then differ.
    """

    def _parts(self, x: Shape) -> tuple[Shape, int, Shape, Window]:
        channels = x[canonical_axis(self.p.axis, len(x))]
        if not self.p.group == self.p.num_output == channels:
            group = f"group {self.p.group}" if self.p.HasField("group") else "no group"
            raise UnsupportedError(
                f"{group} and num_output {self.p.num_output} for {channels} channels: the fork's "
                f'CPU and GPU code differ there; write group: {channels}, or type: "Convolution"'
            )
        return super()._parts(x)


@layer(param="convolution_param")
class ConvolutionDepthwise(Convolution):
    """A Convolution of one filter for each channel.

    group is optional; the weights are num_output x 1 x kernel.

    From: openvinotoolkit/training_toolbox_caffe, caffe/src/caffe/layers/conv_dw_layer.cpp (BVLC's
        pull request 5665)
    From: Cambricon/caffe, src/caffe/layers/conv_depthwise_layer.cpp (group stated)
    Refused: another group or num_output than channels: forks differ there.
    """

    def __init__(self, proto: LayerParameter) -> None:
        own = LayerParameter()
        own.CopyFrom(proto)
        convolution = own.convolution_param
        self._stated: int | None = convolution.group if convolution.HasField("group") else None
        convolution.group = convolution.num_output
        super().__init__(own)

    def _parts(self, x: Shape) -> tuple[Shape, int, Shape, Window]:
        channels, outputs = x[canonical_axis(self.p.axis, len(x))], self.p.num_output
        if outputs != channels or self._stated not in (None, channels):
            group = "" if self._stated is None else f" and group {self._stated}"
            raise UnsupportedError(
                f"num_output {outputs}{group} for {channels} channels, where forks differ; it "
                "must be one filter for each channel"
            )
        return super()._parts(x)
