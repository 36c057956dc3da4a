"""Layers of the SSD branch for training and its evaluation."""

from __future__ import annotations

from ...caffe_pb2 import LayerParameter
from ...errors import UnsupportedError
from ..layer import Layer, layer


@layer(param="multibox_loss_param", bottoms=4, loss=True)
class MultiBoxLoss(Layer):
    """SSD's training loss (Liu et al. 2016, eq. 1).

    From: weiliu89/caffe, branch ssd, multibox_loss_layer.cpp
    Refused: it matches priors with the ground truth, which only training has.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        raise UnsupportedError(
            "is SSD's training loss, which matches default boxes with the ground truth; the net "
            "that detects has DetectionOutput in its place: give the deploy prototxt, or the "
            "loss include { phase: TRAIN }"
        )


@layer(param="detection_evaluate_param", bottoms=2)
class DetectionEvaluate(Layer):
    """True and false positives of detections.

    From: weiliu89/caffe, branch ssd, detection_evaluate_layer.cpp
    Refused: it scores detections against the ground truth, which only a test set has.
    """

    def __init__(self, proto: LayerParameter) -> None:
        super().__init__(proto)
        raise UnsupportedError(
            f"scores detections against the ground truth of a test set; leave the layer out, and "
            f"'{proto.bottom[0] if proto.bottom else 'detection_out'}' is an output"
        )
