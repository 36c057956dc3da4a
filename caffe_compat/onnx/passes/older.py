"""Write a lowered model in an older opset: 11 to 17, as the compilers of many chips take it.

Layers write operators as opset 18 has them. Their older forms stand here, in one place: an
attribute that is now an input, an operator that was made of others. Source: ONNX's Changelog.md.
"""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import numpy as np
import onnx

from ...errors import UnsupportedError
from ...layers.builder import int64
from ..lowering import Lowered, stamp
from ..opsets import LOWERED
from ..rewriting import attributes
from .older_graph import Older, Outputs, Rule, typed, version_in, versions_of

_NEWER = LOWERED[0]  # the opset whose forms the model has
_END = np.iinfo(np.int64).max


def write_older(lowered: Lowered, opset: int) -> Lowered:
    """Return the model in the forms that its operators had in an older opset.

    Args:
        lowered: the model, of opset 18.
        opset: 11 to 17.

    Raises:
        UnsupportedError: operators have no equivalent there; all are named.
    """
    g = Older(lowered, opset, _write)
    for node in lowered.model.graph.node:
        g.write(node)
    if g.refused:
        raise UnsupportedError.joined(g.refused)
    older = g.lowered()
    stamp(older.model, opset)
    try:
        onnx.shape_inference.infer_shapes(typed(older), check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:  # a type that came later
        raise UnsupportedError(f"opset {opset}: {error}", remedies=("opset",)) from error
    return older


class _Former(NamedTuple):
    """An operator as opsets below `since` write it; None stands for the operator itself."""

    since: int
    write: Rule


def _write(g: Older, node: onnx.NodeProto) -> Outputs:
    former = _FORMER.get(node.op_type)
    outputs = former.write(g, node) if former and g.opset < former.since else None
    return outputs or _itself(g, node)


def _itself(g: Older, node: onnx.NodeProto) -> Outputs:
    versions = versions_of(node.op_type)
    now = version_in(versions, _NEWER)
    if min(versions) > g.opset:
        raise g.lacks(node, min(versions), "the operator")
    if now <= g.opset:
        return None
    if node.op_type not in _WIDENED and node.op_type not in _FORMER:
        raise g.lacks(node, now, "the meaning")
    newer = g.newer(node, attributes(node))
    return g.form(node, *node.input) if newer else None


def _reduce(g: Older, node: onnx.NodeProto) -> Outputs:
    axes = g.numbers(node, 1, _FORMER[node.op_type].since)
    return g.form(node, node.input[0], axes=axes) if axes else None


def _split(g: Older, node: onnx.NodeProto) -> Outputs:
    parts, computed = len(node.output), len(node.input) > 1
    if computed and g.opset >= 13:
        return None
    sizes = g.numbers(node, 1, 13)
    size = g.size(node.input[0], attributes(node).get("axis", 0))
    if sizes is None and size is not None and size % parts:  # only newer opsets round up
        part = -(-size // parts)
        sizes = [*[part] * (parts - 1), size - part * (parts - 1)]
    if sizes is None or g.opset < 13:
        return g.form(node, node.input[0], split=sizes, num_outputs=None)
    return g.form(node, node.input[0], int64(*sizes), num_outputs=None)


def _softmax(g: Older, node: onnx.NodeProto) -> Outputs:
    """Write the softmax of an axis by one over all the axes from there on, as it was."""
    (x,), axis, dims = node.input, attributes(node).get("axis", -1), g.known_dims(node.input[0])
    if dims is None:
        if axis != -1:
            raise g.lacks(node, 13, f"axis={axis}")
        dims = (None,)
    if all(n == 1 for n in dims[axis:][1:]):
        return g.form(node, x, axis=axis)
    order = [*range(len(dims))]
    order[axis], order[-1] = order[-1], order[axis]
    (y,) = g.form(node, g.Transpose(x, perm=order), axis=-1)
    return g.Transpose(y, perm=order)


def _shape(g: Older, node: onnx.NodeProto) -> Outputs:
    options = attributes(node)
    if not options:
        return None
    start, end = int64(options.get("start", 0)), int64(options.get("end", _END))
    return g.Slice(g.Shape(*node.input), start, end, int64(0))


def _pad(g: Older, node: onnx.NodeProto) -> Outputs:
    axes, pads = g.numbers(node, 3, 18), g.numbers(node, 1, 18)
    dims = g.known_dims(node.input[0])
    if axes is None or pads is None or dims is None:
        return None
    every = np.zeros((2, len(dims)), np.int64)
    every[:, axes] = np.reshape(pads, (2, -1))
    return g.form(node, node.input[0], every.ravel(), node.input[2] or None)


def _resize(g: Older, node: onnx.NodeProto) -> Outputs:
    x, *others = node.input
    absent = np.zeros(0, np.float32)
    return g.form(node, x, *(name or absent for name in others[:2]), *others[2:])


def _gather_nd(g: Older, node: onnx.NodeProto) -> Outputs:
    """Gather rows of batches, of which older opsets have none, number by number."""
    batch, dims = attributes(node).get("batch_dims", 0), g.known_dims(node.input[0])
    if not batch or dims is None or len(dims) != batch + 2 or g.size(node.input[1], -1) != 1:
        return None
    x, places = node.input
    width = g.Slice(g.Shape(x), int64(-1), int64(_END), int64(0))
    outer = g.Slice(g.Shape(places), int64(0), int64(-1), int64(0))
    rows = g.Reshape(places, int64(*[0] * batch, -1, 1))
    wide = g.Expand(rows, g.Concat(int64(*[1] * (batch + 1)), width, axis=0))
    return g.Reshape(g.GatherElements(x, wide, axis=batch), g.Concat(outer, width, axis=0))


def _extreme(g: Older, node: onnx.NodeProto) -> Outputs:
    if g.is_float(node.input[0]):
        return None
    beats = g.Greater if node.op_type == "Max" else g.Less
    return reduce(lambda a, b: g.Where(beats(a, b), a, b), node.input)


def _roi_align(g: Older, node: onnx.NodeProto) -> Outputs:
    mode = attributes(node).get("coordinate_transformation_mode", b"half_pixel")
    if mode != b"output_half_pixel":
        raise g.lacks(node, 16, f"coordinate_transformation_mode={mode.decode()}")
    return g.form(node, *node.input, coordinate_transformation_mode=None)


def _quantize(g: Older, node: onnx.NodeProto) -> Outputs:
    if g.known_dims(node.input[1]) != ():
        raise g.lacks(node, 13, "a scale for each channel")
    return g.form(node, *node.input, axis=None)


def _dropout(g: Older, node: onnx.NodeProto) -> Outputs:
    if g.opset < 12:
        raise g.lacks(node, 12, "training_mode, which draws at random in every run,")
    return None


def _scan(g: Older, node: onnx.NodeProto) -> Outputs:
    bodies = {each.name: g.inner(each.g) for each in node.attribute if each.HasField("g")}
    return g.form(node, *node.input, **bodies)


# How operators were written before an opset changed them.
_FORMER = {
    **dict.fromkeys(("ReduceSum", "Squeeze", "Unsqueeze"), _Former(13, _reduce)),
    **dict.fromkeys(
        (
            *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax"),
            *("ReduceMean", "ReduceMin", "ReduceProd", "ReduceSumSquare"),
        ),
        _Former(18, _reduce),
    ),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _Former(13, _softmax)),
    **dict.fromkeys(("Max", "Min"), _Former(12, _extreme)),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _Former(13, _quantize)),
    "Dropout": _Former(13, _dropout),
    "GatherND": _Former(12, _gather_nd),
    "GreaterOrEqual": _Former(12, lambda g, n: g.Or(g.Greater(*n.input), g.Equal(*n.input))),
    "HardSwish": _Former(
        14, lambda g, n: g.Mul(n.input[0], g.HardSigmoid(n.input[0], alpha=1 / 6, beta=0.5))
    ),
    "LessOrEqual": _Former(12, lambda g, n: g.Or(g.Less(*n.input), g.Equal(*n.input))),
    "Mish": _Former(18, lambda g, n: g.Mul(n.input[0], g.Tanh(g.Softplus(n.input[0])))),
    "Pad": _Former(18, _pad),
    "Resize": _Former(13, _resize),
    "RoiAlign": _Former(16, _roi_align),
    "Scan": _Former(_NEWER, _scan),
    "Shape": _Former(15, _shape),
    "Split": _Former(_NEWER, _split),
}

# Operators whose later versions took more types, or attributes that say the same by default.
_WIDENED = frozenset(
    (
        *("Abs", "Add", "ArgMax", "ArgMin", "BatchNormalization", "Cast", "Ceil", "Clip"),
        *("Concat", "CumSum", "DepthToSpace", "Div", "Equal", "Erf", "Exp", "Expand", "Flatten"),
        *("Floor", "Gather", "GatherElements", "Gemm", "Greater", "Identity", "IsNaN", "LRN"),
        *("LSTM", "LeakyRelu", "Less", "Log", "MatMul", "MaxPool", "Mod", "Mul", "Neg", "NonZero"),
        *("PRelu", "Pow", "RNN", "Reciprocal", "Relu", "Reshape", "ScatterElements", "ScatterND"),
        *("Sigmoid", "Sign", "Size", "Slice", "SpaceToDepth", "Sqrt", "Sub", "Sum", "Tanh"),
        *("Tile", "Transpose", "Where"),
    )
)
