"""Count the arithmetic of an ONNX graph, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil, prod
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from ..types import Shape
from .lowering import Lowered

_SMALL = 4096  # values of an initializer that shape inference may have to see


@dataclass(frozen=True)
class Field:
    """The part of the input image that one value of a tensor sees.

    Attributes:
        size: (height, width) in pixels of the input.
        stride: (vertical, horizontal) distance between neighbours, in pixels of the input.
    """

    size: tuple[float, float]
    stride: tuple[float, float]


START = Field((1, 1), (1, 1))


@dataclass
class Count:
    """The arithmetic of a graph.

    Attributes:
        multiply_adds: of the operators with weights.
        operations: of the others.
        fields: by tensor, what a value sees; None: all of the image, or it is not known.
        note: what could not be counted; empty where all is.
    """

    multiply_adds: int = 0
    operations: int = 0
    fields: dict[str, Field | None] = field(default_factory=dict)
    note: str = ""


def count(lowered: Lowered, fields: Mapping[str, Field | None]) -> Count:
    """Count a graph's arithmetic.

    Args:
        lowered: the graph, its inputs of fixed shapes.
        fields: what a value of each input sees.
    """
    shapes = _shapes(lowered)
    result = Count(fields=dict(fields))
    for node in lowered.model.graph.node:
        _count_node(result, node, shapes, 1)
    return result


def _shapes(lowered: Lowered) -> dict[str, Shape | None]:
    """Return the shape of every tensor; None where only the data decide."""
    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    for name, array in lowered.arrays.items():
        if array.size <= _SMALL:
            model.graph.initializer.append(numpy_helper.from_array(np.array(array), name))
        else:
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            model.graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
    inferred = shape_inference.infer_shapes(model, data_prop=True).graph
    return {**{name: array.shape for name, array in lowered.arrays.items()}, **_known(inferred)}


def _known(graph: onnx.GraphProto) -> dict[str, Shape | None]:
    """Return the inferred shapes of a graph's tensors; None where a size is not known."""
    shapes: dict[str, Shape | None] = {}
    for info in (*graph.value_info, *graph.output, *graph.input):
        dims = info.type.tensor_type.shape.dim
        known = info.type.tensor_type.HasField("shape") and all(d.dim_value for d in dims)
        shapes[info.name] = tuple(d.dim_value for d in dims) if known else None
    return shapes


def _count_node(
    result: Count, node: onnx.NodeProto, shapes: Mapping[str, Shape | None], times: int
) -> None:
    inputs = [shapes.get(name) for name in node.input]
    outputs = [shapes.get(name) for name in node.output]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    _place(result, node, inputs, attributes)
    if node.op_type == "Scan":
        _count_scan(result, node, shapes, attributes, times)
        return
    rule = _MULTIPLY_ADDS.get(node.op_type) or _OPERATIONS.get(node.op_type)
    if node.op_type in _FREE:
        return
    try:
        number = times * (rule or _each)(inputs, outputs, attributes)
    except (TypeError, IndexError):  # a shape that is not known
        result.note = "not all counted: some sizes are decided by the data"
        return
    if node.op_type in _MULTIPLY_ADDS:
        result.multiply_adds += number
    else:
        result.operations += number


def _count_scan(
    result: Count,
    node: onnx.NodeProto,
    shapes: Mapping[str, Shape | None],
    attributes: Any,
    times: int,
) -> None:
    """Count a loop's body once for each time step."""
    inputs: list[Any] = [shapes.get(name) for name in node.input]
    body, scanned = attributes["body"], attributes["num_scan_inputs"]
    states = len(inputs) - scanned
    axes = attributes.get("scan_input_axes", [0] * scanned)
    if any(shape is None for shape in inputs):
        result.note = "not all counted: some sizes are decided by the data"
        return
    steps = inputs[states][axes[0]]
    local: dict[str, Shape] = {name: s for name, s in shapes.items() if s is not None}
    for i, info in enumerate(body.input):
        axis = axes[i - states] if i >= states else None
        local[info.name] = tuple(n for a, n in enumerate(inputs[i]) if a != axis)
    inner_shapes = _body_shapes(body, local)
    for inner in body.node:
        _count_node(result, inner, inner_shapes, times * steps)


def _body_shapes(body: onnx.GraphProto, outer: Mapping[str, Shape]) -> dict[str, Shape | None]:
    """Return the shape of every tensor in a loop's body; it may read tensors from outside."""
    made = {name for node in body.node for name in node.output}
    read = {name for node in body.node for name in node.input if name} - made
    graph = onnx.GraphProto()
    graph.CopyFrom(body)
    del graph.input[:], graph.output[:]
    for name in sorted(read):
        kind = onnx.TensorProto.FLOAT
        graph.input.append(helper.make_tensor_value_info(name, kind, outer.get(name)))
    graph.output.extend(onnx.ValueInfoProto(name=info.name) for info in body.output)
    inferred = shape_inference.infer_shapes(helper.make_model(graph)).graph
    return {**outer, **_known(inferred)}


Rule: TypeAlias = Callable[[list[Any], list[Any], Mapping[str, Any]], int]


def _each(inputs: list[Any], outputs: list[Any], attributes: Mapping[str, Any]) -> int:
    """One for each value computed."""
    return prod(outputs[0])


def _read(inputs: list[Any], outputs: list[Any], attributes: Mapping[str, Any]) -> int:
    """One for each value read."""
    return prod(inputs[0])


def _convolution(inputs: list[Any], outputs: list[Any], attributes: Mapping[str, Any]) -> int:
    """Every weight at every position of the output."""
    return int(prod(inputs[1]) * outputs[0][0] * prod(outputs[0][2:]))


def _deconvolution(inputs: list[Any], outputs: list[Any], attributes: Mapping[str, Any]) -> int:
    """Every weight at every position of the input."""
    return int(prod(inputs[1]) * inputs[0][0] * prod(inputs[0][2:]))


def _product(inputs: list[Any], outputs: list[Any], attributes: Mapping[str, Any]) -> int:
    """Each value of the output is a sum over the inner axis."""
    inner = inputs[0][0] if attributes.get("transA") else inputs[0][-1]
    return int(prod(outputs[0]) * inner)


def _window(inputs: list[Any], outputs: list[Any], attributes: Mapping[str, Any]) -> int:
    """Each value of the output reads a window."""
    return int(prod(outputs[0]) * prod(attributes["kernel_shape"]))


def _neighbours(inputs: list[Any], outputs: list[Any], attributes: Mapping[str, Any]) -> int:
    """Each value of the output reads `size` channels, and is divided by a power."""
    return int(prod(outputs[0]) * (attributes["size"] + 2))


_MULTIPLY_ADDS: dict[str, Rule] = {
    "Conv": _convolution,
    "ConvTranspose": _deconvolution,
    "Gemm": _product,
    "MatMul": _product,
}
_OPERATIONS: dict[str, Rule] = {
    "AveragePool": _window,
    "MaxPool": _window,
    "GlobalAveragePool": _read,
    "GlobalMaxPool": _read,
    "LRN": _neighbours,
    "BatchNormalization": lambda *a: 2 * _each(*a),
    "Softmax": lambda *a: 3 * _each(*a),
    "LogSoftmax": lambda *a: 3 * _each(*a),
    **dict.fromkeys(
        (
            *("ArgMax", "ArgMin", "CumSum", "NonMaxSuppression", "TopK"),
            *("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"),
            *("ReduceProd", "ReduceSum", "ReduceSumSquare"),
        ),
        _read,
    ),
}
# Operators that move or rename values and compute none.
_FREE = frozenset(
    {
        *("Cast", "Compress", "Concat", "Constant", "ConstantOfShape", "DepthToSpace", "Expand"),
        *("Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Pad", "Range", "Reshape"),
        *("ScatterElements", "ScatterND", "Shape", "Slice", "SpaceToDepth", "Split", "Squeeze"),
        *("Tile", "Transpose", "Unsqueeze"),
    }
)


def _place(
    result: Count, node: onnx.NodeProto, inputs: list[Any], attributes: Mapping[str, Any]
) -> None:
    """Set what the outputs' values see."""
    seen = [result.fields[name] for name in node.input if name in result.fields]
    if not seen:
        return
    whole = node.op_type in _WHOLE or any(each is None for each in seen)
    place = None if whole else _join([each for each in seen if each is not None])
    if place is not None and node.op_type in _WINDOWED:
        place = _through_window(place, node.op_type, attributes)
    elif place is not None and node.op_type == "Resize":
        place = None  # its scale may be a tensor
    result.fields.update(dict.fromkeys(node.output, place))


_WHOLE = frozenset(
    {
        *("Flatten", "GatherND", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "MatMul"),
        *("MaxRoiPool", "NonMaxSuppression", "ReduceMax", "ReduceMean", "ReduceSum", "RoiAlign"),
        *("Scan", "TopK"),
    }
)
_WINDOWED = frozenset({"Conv", "ConvTranspose", "AveragePool", "MaxPool"})


def _join(fields: list[Field]) -> Field:
    """Return what a value sees that is computed from several."""
    (hs, ws), (hj, wj) = (
        zip(*(f.size for f in fields), strict=True),
        zip(*(f.stride for f in fields), strict=True),
    )
    return Field((max(hs), max(ws)), (max(hj), max(wj)))


def _through_window(place: Field, operator: str, attributes: Mapping[str, Any]) -> Field | None:
    """Return what a value behind a convolution or a pooling sees (Dumoulin and Visin 2016)."""
    kernel = attributes.get("kernel_shape", [])
    if len(kernel) != 2:
        return None
    strides = attributes.get("strides", [1, 1])
    dilations = attributes.get("dilations", [1, 1])
    sizes, steps = [], []
    for axis in range(2):
        reach, stride = (kernel[axis] - 1) * dilations[axis], strides[axis]
        size, step = place.size[axis], place.stride[axis]
        if operator == "ConvTranspose":
            sizes.append(size + (ceil((reach + 1) / stride) - 1) * step)
            steps.append(step / stride)
        else:
            sizes.append(size + reach * step)
            steps.append(step * stride)
    return Field((sizes[0], sizes[1]), (steps[0], steps[1]))
