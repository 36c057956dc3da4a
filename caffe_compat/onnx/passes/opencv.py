"""What another reader of ONNX than onnxruntime cannot do, as measured, and how to say it to it.

`opencv` is OpenCV 5's own importer (cv2.dnn.readNetFromONNX). All of it was found by running every
layer case there and comparing with onnxruntime: opencv-python-headless 5.0.0.93, on x86-64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from ...caffe_pb2 import PriorBoxParameter
from ...errors import UnsupportedError
from ...layers.layer import Layer
from ...net.net import Net
from ..lowering import Lowered

Target = Literal["onnxruntime", "opencv"]
TARGETS: tuple[Target, ...] = ("onnxruntime", "opencv")

# Operators that OpenCV 5.0 does not load, and that there is no other form of.
OPENCV_LACKS = {
    "Compress": "has no Compress, which gives rows that only the data decide",
    "MaxRoiPool": "has no MaxRoiPool",
    "RNN": "has no RNN",
    "Scan": "has no Scan, which steps through a recurrent layer",
}


def _detection(layer: Layer) -> str | None:
    p = layer.p
    if p.code_type != PriorBoxParameter.CENTER_SIZE:
        return (
            "takes boxes without area for equal when it suppresses, and code_type CORNER and "
            "CORNER_SIZE can make such boxes"
        )
    if not p.HasField("confidence_threshold") or p.confidence_threshold < 0:
        return "suppresses only with a confidence_threshold of 0 or more"
    return None


# Layers that it computes otherwise, all or some.
OPENCV_DIFFERS: dict[str, Callable[[Layer], str | None]] = {
    "DetectionOutput": _detection,
    "Proposal": lambda layer: "suppresses other boxes of those cut at the picture's border",
}


def fit(lowered: Lowered, net: Net, target: Target) -> Lowered:
    """The model in a form that the target reads and computes rightly.

    Args:
        lowered: the net as ONNX.
        net: the net, whose layers errors name.
        target: who will read it.

    Raises:
        UnsupportedError: the target is not known; or the layers that it cannot compute, all at
            once.
    """
    if target not in TARGETS:
        raise UnsupportedError(f"target '{target}': one of {', '.join(TARGETS)}")
    if target == "onnxruntime":
        return lowered
    refused = _refused(lowered, net)
    if refused:
        raise UnsupportedError("; ".join(dict.fromkeys(refused)))
    return _rewritten(lowered, net)


def _refused(lowered: Lowered, net: Net) -> list[str]:
    types = {node.layer.name: node.layer.proto.type for node in net.graph.nodes}
    vectors = {value.name for value in net.graph.values if len(value.dims) == 1}
    refused = []
    for node in lowered.model.graph.node:
        why = OPENCV_LACKS.get(node.op_type)
        if node.op_type == "MatMul" and vectors.intersection(node.input):
            why = "multiplies matrices, and no vectors"
        if why:
            name = _layer(node.name, types)
            refused.append(f"layer '{name}' ({types.get(name, 'ONNX')}): OpenCV 5 {why}")
    for layer in (node.layer for node in net.graph.nodes):
        ask = OPENCV_DIFFERS.get(layer.proto.type)
        differs = ask(layer) if ask else None
        if differs:
            refused.append(f"layer '{layer.name}' ({layer.proto.type}): OpenCV 5 {differs}")
    return refused


def _layer(node: str, types: dict[str, str]) -> str:
    """The layer that a node belongs to: its own name, or that before the operator's."""
    return node if node in types else node.rpartition("/")[0]


def _rewritten(lowered: Lowered, net: Net) -> Lowered:
    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    arrays = dict(lowered.arrays)
    dims = {value.name: value.dims for value in net.graph.values}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        rewrite = _REWRITES.get(node.op_type)
        if rewrite:
            nodes += rewrite(node, arrays)
        elif node.op_type == "Resize":
            nodes.append(_resize(node, arrays, dims.get(node.output[0], ())))
        else:
            nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    return replace(lowered, model=model, arrays={n: a for n, a in arrays.items() if n in used})


Arrays = dict[str, NDArray[Any]]


def _conv(node: onnx.NodeProto, arrays: Arrays) -> list[onnx.NodeProto]:
    """1x1 at stride 1 with padding: OpenCV reads beyond the picture; so a Pad goes before it."""
    p = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    pads, kernel = p.get("pads", [0]), p.get("kernel_shape", [0])
    if not any(pads) or set(kernel) != {1} or set(p.get("strides", [1])) != {1}:
        return [node]
    count, begin = len(kernel), [0, 0]
    sizes, padded = f"{node.output[0]}/pads", f"{node.output[0]}/padded"
    arrays[sizes] = np.array([*begin, *pads[:count], *begin, *pads[count:]], np.int64)
    pad = helper.make_node("Pad", [node.input[0], sizes], [padded], f"{node.name}/Pad")
    conv = onnx.NodeProto()
    conv.CopyFrom(node)
    conv.input[0] = padded
    del conv.attribute[:]
    conv.attribute.extend(a for a in node.attribute if a.name != "pads")
    return [pad, conv]


def _reduce(node: onnx.NodeProto, arrays: Arrays) -> list[onnx.NodeProto]:
    """Over three axes and more OpenCV reduces wrongly, and without the axes to one value badly.

    So two axes at a time, kept, and dropped in the end.
    """
    p = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    axes = arrays.get(node.input[1]) if len(node.input) > 1 else None
    if axes is None or (len(axes) < 3 and p.get("keepdims", 1)):
        return [node]
    steps, x, keep = [], node.input[0], bool(p.get("keepdims", 1))
    parts = [axes[i : i + 2] for i in range(0, len(axes), 2)]
    for i, part in enumerate(parts):
        last = keep and i == len(parts) - 1
        op = node.op_type if i == 0 else _AGAIN.get(node.op_type, node.op_type)
        step = f"{node.output[0]}/step{i}"
        made = node.output[0] if last else step
        arrays[f"{step}/axes"] = np.asarray(part)
        steps.append(helper.make_node(op, [x, f"{step}/axes"], [made], f"{node.name}/{i}"))
        x = made
    if not keep:
        steps.append(helper.make_node("Squeeze", [x, node.input[1]], [node.output[0]], node.name))
    return steps


def _tanh(node: onnx.NodeProto, arrays: Arrays) -> list[onnx.NodeProto]:
    """Beyond 44 or so OpenCV makes NaN; from 20 on it is 1 in float32 anyway."""
    clipped = f"{node.output[0]}/clipped"
    for name, value in (("-20", -20), ("20", 20)):
        arrays[f"constant/{name}"] = np.array(value, np.float32)
    clip = helper.make_node(
        "Clip", [node.input[0], "constant/-20", "constant/20"], [clipped], f"{node.name}/Clip"
    )
    tanh = onnx.NodeProto()
    tanh.CopyFrom(node)
    tanh.input[0] = clipped
    return [clip, tanh]


def _resize(node: onnx.NodeProto, arrays: Arrays, dims: Sequence[int | None]) -> onnx.NodeProto:
    """OpenCV does not know the attribute axes: the sizes of all of them, where they are fixed."""
    kept = [a for a in node.attribute if a.name != "axes"]
    if len(kept) == len(node.attribute):
        return node
    if not dims or None in dims or len(node.input) < 4:
        raise UnsupportedError(
            f"'{node.name}': OpenCV 5 resizes to sizes of every axis, and some "
            "here vary; give the inputs fixed shapes"
        )
    sizes = f"{node.output[0]}/sizes"
    arrays[sizes] = np.array(dims, np.int64)
    whole = onnx.NodeProto()
    whole.CopyFrom(node)
    whole.input[3] = sizes
    del whole.attribute[:]
    whole.attribute.extend(kept)
    return whole


# What adds up the parts of a sum of another kind.
_AGAIN = {"ReduceL1": "ReduceSum", "ReduceSumSquare": "ReduceSum"}
_REWRITES: dict[str, Callable[[onnx.NodeProto, Arrays], list[onnx.NodeProto]]] = {
    "Conv": _conv,
    "Tanh": _tanh,
    **dict.fromkeys(
        (
            "ReduceMean",
            "ReduceSum",
            "ReduceL1",
            "ReduceSumSquare",
            "ReduceMax",
            "ReduceMin",
            "ReduceProd",
        ),
        _reduce,
    ),
}
