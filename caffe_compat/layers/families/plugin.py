"""This package's own Python layers for a live Caffe, in a net that is converted."""

from __future__ import annotations

from ...caffe_pb2 import LayerParameter, PReLUParameter
from ...prototxt import param_str
from ..registry import register
from .rectifier import PReLU


@register(module="caffe_compat.plugin", layer="PReLULayer", bottoms=1, tops=1, inplace=True)
class PReLULayer(PReLU):
    """PReLU, configured by `param_str` instead of `prelu_param`.

    Attributes:
        seed: of the filler's random numbers in a live Caffe, whose own stream is out of reach.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        settings = param_str.parse(proto.python_param.param_str)
        self.seed = param_str.whole(settings, "seed", 1701)
        self.p = PReLUParameter()
        param_str.apply(settings, self.p)
