"""Layer types of forks that are known and not computed."""

from __future__ import annotations

from typing import ClassVar

from ...caffe_pb2 import LayerParameter
from ...errors import UnsupportedError
from ..layer import Layer, layer


class Refused(Layer):
    """A type that is refused with a reason."""

    reason: ClassVar[str]

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        raise UnsupportedError(self.reason, remedies=("until", "leave_out", "register"))


@layer()
class DenseBlock(Refused):
    """A whole block of DenseNet in one layer.

    From: senlinuc/caffe_ocr, src/caffe/layers/DenseBlock_layer.cpp
    Refused: its parameters are not those of the layers that it stands for, and its numbers were not
        compared with a build.
    """

    reason = (
        "is a whole block of DenseNet in one layer of senlinuc/caffe_ocr, with parameter blobs of "
        "its own order; write the block as BatchNorm, Scale, ReLU, Convolution and Concat"
    )
