"""The connections of a layer, which fillers count from a blob's shape alone."""

from __future__ import annotations

from math import prod

from ..caffe_pb2 import FillerParameter
from ..layers.axes import canonical_axis
from ..layers.families.conv import Convolution, Deconvolution
from ..layers.families.dense import InnerProduct
from ..layers.spatial import conv_window
from .graph import Node


def is_weighted(node: Node) -> bool:
    """Return whether a layer is a weighted sum of its inputs."""
    return isinstance(node.layer, (Convolution, InnerProduct))


def true_n(node: Node, norm: int = FillerParameter.FAN_IN) -> float:
    """Return the n that msra and xavier should divide by at a layer with weights.

    Caffe takes the first axis of the weights for the outputs and the second for the inputs, which
    is wrong of Deconvolution, of `group` (FAN_OUT) and of InnerProduct with `transpose`.

    Args:
        node: a layer of `is_weighted`.
        norm: FillerParameter's FAN_IN, FAN_OUT, or AVERAGE of both.
    """
    inputs, outputs = _fans(node)
    if norm == FillerParameter.AVERAGE:
        return (inputs + outputs) / 2
    return outputs if norm == FillerParameter.FAN_OUT else inputs


def _fans(node: Node) -> tuple[float, float]:
    layer, shape = node.layer, node.blobs[0].shape
    if isinstance(layer, InnerProduct):
        outputs, inputs = shape[::-1] if layer.p.transpose else shape
        return float(inputs), float(outputs)
    taps = prod(shape[2:])
    near, far = float(shape[1] * taps), shape[0] / layer.p.group * taps
    if isinstance(layer, Deconvolution):
        x = node.bottoms[0].shape
        window = conv_window(layer.p, len(x) - canonical_axis(layer.p.axis, len(x)) - 1)
        return far / prod(window.stride), near
    return near, far


def connections(node: Node) -> tuple[float, float]:
    """Return the inputs of an output and the outputs of an input, averaged over positions.

    Taps in the padding do not count. For layers with weights.
    """
    layer, weight = node.layer, node.blobs[0].shape
    if isinstance(layer, InnerProduct):
        return (weight[0], weight[1]) if layer.p.transpose else (weight[1], weight[0])
    x, y = node.bottoms[0].shape, node.tops[0].shape
    start = canonical_axis(layer.p.axis, len(x)) + 1
    window = conv_window(layer.p, len(x) - start)
    deconvolves = isinstance(layer, Deconvolution)
    large, small = (y[start:], x[start:]) if deconvolves else (x[start:], y[start:])
    pairs = prod(
        sum(0 <= i * step + tap * apart - pad < n for i in range(m) for tap in range(taps))
        for n, m, taps, step, pad, apart in zip(
            large, small, window.kernel, window.stride, window.pad, window.dilation, strict=True
        )
    )
    down = weight[1] * pairs / prod(small)
    up = weight[0] / layer.p.group * pairs / prod(large)
    return (up, down) if deconvolves else (down, up)
