"""Rewrite models for OpenCV 5's own importer, and refuse layers that it computes differently.

The importer is cv2.dnn.readNetFromONNX. Its differences were measured by running every layer case
beside onnxruntime: opencv-python-headless 5.0.0.93 on x86-64.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from ...caffe_pb2 import PriorBoxParameter
from ...errors import UnsupportedError
from ...layers.builder import Operator, int64
from ...layers.layer import Layer
from ...net.net import Net
from ..lowering import Lowered
from ..rewriting import Rewriter, Rule, attributes, rewrite
from .lacking import name_lacking

# Operators that OpenCV 5.0 does not load and that have no equivalent.
OPENCV_LACKS = {
    "Compress": "OpenCV 5 has no Compress, whose number of rows depends on the data",
    "Dropout": "OpenCV 5 drops nothing, and this Dropout draws at random in every run",
    "MaxRoiPool": "OpenCV 5 has no MaxRoiPool",
    "RNN": "OpenCV 5 has no RNN",
    "Scan": "OpenCV 5 has no Scan, the loop of a recurrent layer",
}


def _detection(layer: Layer) -> str | None:
    p = layer.p
    if p.code_type != PriorBoxParameter.CENTER_SIZE:
        return (
            "suppresses boxes without area as equal ones, and code_type CORNER and CORNER_SIZE "
            "can have such boxes"
        )
    if not p.HasField("confidence_threshold") or p.confidence_threshold < 0:
        return "suppresses only with a confidence_threshold of 0 or more"
    return None


# Layers that it computes differently, and the reason, None if a layer is exact.
OPENCV_DIFFERS: dict[str, Callable[[Layer], str | None]] = {
    "DetectionOutput": _detection,
    "Proposal": lambda layer: "suppresses other boxes of those cut at the image's border",
}


def fit(lowered: Lowered, net: Net) -> Lowered:
    """Return the model in a form that OpenCV 5 reads and computes exactly.

    Args:
        lowered: the net as ONNX.
        net: the net, for its layers' names.

    Raises:
        UnsupportedError: it cannot compute layers; all are named.
    """
    refused = _refused(lowered, net)
    if refused:
        raise UnsupportedError("; ".join(dict.fromkeys(refused)))
    return rewrite(lowered, _RULES)


def _refused(lowered: Lowered, net: Net) -> list[str]:
    vectors = {value.name for value in net.graph.values if len(value.dims) == 1}

    def lack(node: onnx.NodeProto) -> str | None:
        if node.op_type == "MatMul" and vectors.intersection(node.input):
            return "OpenCV 5 multiplies no vectors"
        return OPENCV_LACKS.get(node.op_type)

    refused = name_lacking(lowered, net, lack)
    for layer in (node.layer for node in net.graph.nodes):
        ask = OPENCV_DIFFERS.get(layer.proto.type)
        differs = ask(layer) if ask else None
        if differs:
            refused.append(f"layer '{layer.name}' ({layer.proto.type}): OpenCV 5 {differs}")
    return refused


def _conv(g: Rewriter, node: onnx.NodeProto) -> str | None:
    """Pad before a padded 1x1 convolution of stride 1: OpenCV reads beyond the image there."""
    p = attributes(node)
    pads, kernel = p.get("pads", [0]), p.get("kernel_shape", [0])
    if not any(pads) or set(kernel) != {1} or set(p.get("strides", [1])) != {1}:
        return None
    x, *blobs = node.input
    count = len(kernel)
    padded = g.Pad(x, int64(0, 0, *pads[:count], 0, 0, *pads[count:]))
    return g.again(node, padded, *blobs, pads=None)


def _reduce(g: Rewriter, node: onnx.NodeProto) -> str | None:
    """Reduce two axes at a time, and drop them at the end.

    OpenCV's values for three axes or more are wrong, and so is the rank if it drops axes.
    """
    p = attributes(node)
    axes = g.known(node.input[1]) if len(node.input) > 1 else None
    if axes is None or (len(axes) < 3 and p.get("keepdims", 1)):
        return None
    x, op = node.input[0], node.op_type
    for i in range(0, len(axes), 2):
        reduce: Operator = getattr(g, op)
        x = reduce(x, axes[i : i + 2])
        op = _AGAIN.get(op, op)
    return x if p.get("keepdims", 1) else g.Squeeze(x, axes)


def _tanh(g: Rewriter, node: onnx.NodeProto) -> str:
    """Clip at 20, where tanh is 1 in float32: beyond 44 or so OpenCV returns NaN."""
    return g.Tanh(g.Clip(node.input[0], np.float32(-20), np.float32(20)))


def _resize(g: Rewriter, node: onnx.NodeProto) -> str | None:
    """Give the sizes of all axes, if fixed: OpenCV does not know the attribute axes."""
    dims = g.values.get(node.output[0])
    if "axes" not in attributes(node):
        return None
    if not dims or None in dims or len(node.input) < 4:
        raise UnsupportedError(
            f"'{node.name}': OpenCV 5 needs the sizes of every axis to resize, and "
            "some vary; give the inputs fixed shapes",
            remedies=("inputs",),
        )
    sizes = int64(*(size for size in dims if size is not None))
    return g.again(node, *node.input[:3], sizes, axes=None)


def _gather(g: Rewriter, node: onnx.NodeProto) -> str | None:
    """Gather one row more, and drop it: OpenCV divides by their number, which may be 0."""
    places = g.values.get(node.input[1]) or (None,)
    if places[0] is not None or attributes(node).get("batch_dims", 0):
        return None
    more = g.Pad(node.input[1], int64(0, 0, 1, 0))
    return g.Slice(g.again(node, node.input[0], more), int64(0), int64(-1), int64(0))


# The operator that adds up the parts of another kind of sum.
_AGAIN = {"ReduceL1": "ReduceSum", "ReduceSumSquare": "ReduceSum"}
_REDUCING = ("Mean", "Sum", "L1", "SumSquare", "Max", "Min", "Prod")
_RULES: dict[str, Rule] = {
    "Conv": _conv,
    "GatherND": _gather,
    "Resize": _resize,
    "Tanh": _tanh,
    **{f"Reduce{kind}": _reduce for kind in _REDUCING},
}
