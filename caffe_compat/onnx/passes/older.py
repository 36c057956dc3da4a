"""Write a lowered model in an older opset: 11 to 17, as the compilers of many chips take it.

Layers write operators as opset 18 has them. What these were before stands here, in one place: an
attribute that is now an input, an operator that was made of others. Source: ONNX's Changelog.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, reduce
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import onnx
from onnx import helper

from ...errors import UnsupportedError
from ...layers.builder import Operand, int64
from ...types import Dims
from .. import writer
from ..lowering import Lowered, stamp
from ..opsets import LOWERED
from ..rewriting import Rewriter, attributes

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
    g = _Older(lowered, opset)
    for node in lowered.model.graph.node:
        g.write(node)
    if g.refused:
        raise UnsupportedError.joined(g.refused)
    older = g.lowered()
    stamp(older.model, opset)
    try:
        onnx.shape_inference.infer_shapes(_typed(older), check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:  # a type that came later
        raise UnsupportedError(f"opset {opset}: {error}", remedies=("opset",)) from error
    return older


class _Older(Rewriter):
    """The graph in an older opset.

    Attributes:
        opset: the older one.
        refused: an error for each node that has no form there.
    """

    def __init__(self, lowered: Lowered, opset: int) -> None:
        super().__init__(lowered)
        self.opset = opset
        self.refused: list[UnsupportedError] = []
        graph = onnx.shape_inference.infer_shapes(_typed(lowered)).graph
        infos = (*graph.input, *graph.value_info, *graph.output)
        self._types = {each.name: each.type.tensor_type for each in infos}

    def write(self, node: onnx.NodeProto) -> None:
        """Add a node in its older form."""
        try:
            self.rewrite(node, _write)  # type: ignore[arg-type]  # a rule of this class's own
        except UnsupportedError as error:
            self.refused.append(error)
            self.nodes.append(node)

    def form(self, node: onnx.NodeProto, *inputs: Operand, **changes: Any) -> tuple[str, ...]:
        """Add a node again with these inputs and changes, and without newer attributes.

        Raises:
            UnsupportedError: a newer attribute has another value than its default.
        """
        options = {**attributes(node), **changes}
        newer = dict.fromkeys(self.newer(node, options))
        return self._add(node.op_type, inputs, len(node.output), {**options, **newer})

    def newer(self, node: onnx.NodeProto, options: Mapping[str, Any]) -> list[str]:
        """Return which attributes came after the opset and have their default.

        Raises:
            UnsupportedError: one of them has another value.
        """
        versions = _versions(node.op_type)
        then, now = (_version(versions, opset) for opset in (self.opset, _NEWER))
        names = []
        for name, value in options.items():
            if value is None or name in versions[then].attributes:
                continue
            default = versions[now].attributes[name].default_value
            if not default.type or value != helper.get_attribute_value(default):
                since = min(v for v in versions if v > then and name in versions[v].attributes)
                raise self.lacks(node, since, f"{name}={value!r}")
            names.append(name)
        return names

    def size(self, x: str, axis: int) -> int | None:
        """Return one size of a tensor, None where it may vary or is unknown."""
        dims = self.known_dims(x)
        return None if dims is None else dims[axis]

    def known_dims(self, x: str) -> Dims | None:
        """Return a tensor's shape, with None where a size may vary; None of unknown rank."""
        array = self.initializer(x)
        if array is not None:
            return array.shape
        if x not in self._types or not self._types[x].HasField("shape"):
            return None
        shape = self._types[x].shape
        return tuple(d.dim_value if d.HasField("dim_value") else None for d in shape.dim)

    def is_float(self, x: str) -> bool:
        """Return whether a tensor's numbers are floats, as they are where nothing is known."""
        array = self.initializer(x)
        if array is not None:
            return array.dtype.kind == "f"
        kind = self._types[x].elem_type if x in self._types else onnx.TensorProto.FLOAT
        return helper.tensor_dtype_to_np_dtype(kind).kind == "f"

    def numbers(self, node: onnx.NodeProto, index: int, since: int) -> list[int] | None:
        """Return the numbers of an optional input, such as axes; None where it is absent.

        Raises:
            UnsupportedError: they are computed, which came with opset `since`.
        """
        if index >= len(node.input) or not node.input[index]:
            return None
        array = self.known(node.input[index])
        if array is None:
            raise self.lacks(node, since, f"input {index}")
        return [int(n) for n in array.ravel()]

    def inner(self, graph: onnx.GraphProto) -> onnx.GraphProto:
        """Return a subgraph in older forms."""
        copy = onnx.GraphProto()
        copy.CopyFrom(graph)
        outer, place = self.nodes, (self._layer, self._begin)
        self.nodes = []
        for node in graph.node:
            self.write(node)
        del copy.node[:]
        copy.node.extend(self.nodes)
        self.nodes, (self._layer, self._begin) = outer, place
        return copy

    def lacks(self, node: onnx.NodeProto, since: int, what: str) -> UnsupportedError:
        """Return the error that a node needs a newer opset."""
        return UnsupportedError(
            f"'{node.name}': {what} of {node.op_type} came with opset {since}, and opset "
            f"{self.opset} is asked for",
            remedies=("opset",),
        )


_Outputs: TypeAlias = "str | tuple[str, ...] | None"


class _Rule(NamedTuple):
    """How to write an operator in opsets below `since`; None stands for the operator itself."""

    since: int
    write: Callable[[_Older, onnx.NodeProto], _Outputs]


def _write(g: _Older, node: onnx.NodeProto) -> _Outputs:
    rule = _RULES.get(node.op_type)
    outputs = rule.write(g, node) if rule and g.opset < rule.since else None
    return outputs or _itself(g, node)


def _itself(g: _Older, node: onnx.NodeProto) -> _Outputs:
    versions = _versions(node.op_type)
    now = _version(versions, _NEWER)
    if min(versions) > g.opset:
        raise g.lacks(node, min(versions), "the operator")
    if now <= g.opset:
        return None
    if node.op_type not in _WIDENED and node.op_type not in _RULES:
        raise g.lacks(node, now, "the meaning")
    newer = g.newer(node, attributes(node))
    return g.form(node, *node.input) if newer else None


@cache
def _versions(operator: str) -> dict[int, Any]:
    """Return an operator's schemas by the opset that brought them."""
    return {
        each.since_version: each
        for each in onnx.defs.get_all_schemas_with_history()
        if each.name == operator and not each.domain
    }


def _version(versions: Mapping[int, Any], opset: int) -> int:
    """Return which version of an operator an opset has."""
    return max(version for version in versions if version <= opset)


def _typed(lowered: Lowered) -> onnx.ModelProto:
    """Return the model with the types of its weights and without their bytes."""
    return onnx.load_from_string(writer.shell(lowered)[0])


# -- rules ---------------------------------------------------------------------------------------


def _reduce(g: _Older, node: onnx.NodeProto) -> _Outputs:
    axes = g.numbers(node, 1, _RULES[node.op_type].since)
    return g.form(node, node.input[0], axes=axes) if axes else None


def _split(g: _Older, node: onnx.NodeProto) -> _Outputs:
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


def _softmax(g: _Older, node: onnx.NodeProto) -> _Outputs:
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


def _shape(g: _Older, node: onnx.NodeProto) -> _Outputs:
    options = attributes(node)
    if not options:
        return None
    start, end = int64(options.get("start", 0)), int64(options.get("end", _END))
    return g.Slice(g.Shape(*node.input), start, end, int64(0))


def _pad(g: _Older, node: onnx.NodeProto) -> _Outputs:
    axes, pads = g.numbers(node, 3, 18), g.numbers(node, 1, 18)
    dims = g.known_dims(node.input[0])
    if axes is None or pads is None or dims is None:
        return None
    every = np.zeros((2, len(dims)), np.int64)
    every[:, axes] = np.reshape(pads, (2, -1))
    return g.form(node, node.input[0], every.ravel(), node.input[2] or None)


def _resize(g: _Older, node: onnx.NodeProto) -> _Outputs:
    x, *others = node.input
    absent = np.zeros(0, np.float32)
    return g.form(node, x, *(name or absent for name in others[:2]), *others[2:])


def _gather_nd(g: _Older, node: onnx.NodeProto) -> _Outputs:
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


def _extreme(g: _Older, node: onnx.NodeProto) -> _Outputs:
    if g.is_float(node.input[0]):
        return None
    beats = g.Greater if node.op_type == "Max" else g.Less
    return reduce(lambda a, b: g.Where(beats(a, b), a, b), node.input)


def _roi_align(g: _Older, node: onnx.NodeProto) -> _Outputs:
    mode = attributes(node).get("coordinate_transformation_mode", b"half_pixel")
    if mode != b"output_half_pixel":
        raise g.lacks(node, 16, f"coordinate_transformation_mode={mode.decode()}")
    return g.form(node, *node.input, coordinate_transformation_mode=None)


def _quantize(g: _Older, node: onnx.NodeProto) -> _Outputs:
    if g.known_dims(node.input[1]) != ():
        raise g.lacks(node, 13, "a scale for each channel")
    return g.form(node, *node.input, axis=None)


def _scan(g: _Older, node: onnx.NodeProto) -> _Outputs:
    bodies = {each.name: g.inner(each.g) for each in node.attribute if each.HasField("g")}
    return g.form(node, *node.input, **bodies)


# How operators were written before an opset changed them.
_RULES = {
    **dict.fromkeys(("ReduceSum", "Squeeze", "Unsqueeze"), _Rule(13, _reduce)),
    **dict.fromkeys(
        (
            *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax"),
            *("ReduceMean", "ReduceMin", "ReduceProd", "ReduceSumSquare"),
        ),
        _Rule(18, _reduce),
    ),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _Rule(13, _softmax)),
    **dict.fromkeys(("Max", "Min"), _Rule(12, _extreme)),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _Rule(13, _quantize)),
    "GatherND": _Rule(12, _gather_nd),
    "GreaterOrEqual": _Rule(12, lambda g, n: g.Or(g.Greater(*n.input), g.Equal(*n.input))),
    "HardSwish": _Rule(
        14, lambda g, n: g.Mul(n.input[0], g.HardSigmoid(n.input[0], alpha=1 / 6, beta=0.5))
    ),
    "LessOrEqual": _Rule(12, lambda g, n: g.Or(g.Less(*n.input), g.Equal(*n.input))),
    "Mish": _Rule(18, lambda g, n: g.Mul(n.input[0], g.Tanh(g.Softplus(n.input[0])))),
    "Pad": _Rule(18, _pad),
    "Resize": _Rule(13, _resize),
    "RoiAlign": _Rule(16, _roi_align),
    "Scan": _Rule(_NEWER, _scan),
    "Shape": _Rule(15, _shape),
    "Split": _Rule(_NEWER, _split),
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
