"""Lower a net to ONNX: the walk over the layers, and the model around their nodes.

The result is the plain meaning of the layers; `passes` adapt it to its readers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import onnx

from ..errors import UnsupportedError
from ..layers.builder import Builder, Parameter
from ..net.evaluations import report_left, without_evaluations
from ..net.graph import Graph, Value
from ..net.net import Net
from ..net.sharing import Place
from ..prototxt.flow import Flow
from ..types import AnyArray, Dims
from .opsets import LOWERED, OPSET

ALIASES = "caffe_compat.aliases"
"""The metadata with the tensors, as JSON, of blobs that have none of their own."""
IGNORED = "caffe_compat.ignored"
"""The metadata with the unknown fields, as JSON, that the conversion did without."""


@dataclass(frozen=True)
class Lowered:
    """An ONNX model whose weights are still in their file.

    Attributes:
        model: all but the initializers.
        arrays: the initializers by name; weights that need no change are Caffe's own arrays.
        changed: the names of the parameters that ONNX needs in another form.
        params: the initializers with a parameter's bytes, perhaps under another shape.
        dims: the shapes of the tensors that are Caffe's blobs, with None where a size may vary.
    """

    model: onnx.ModelProto
    arrays: dict[str, AnyArray]
    changed: tuple[str, ...] = ()
    params: Mapping[str, Parameter] = field(default_factory=dict)
    dims: Mapping[str, Dims] = field(default_factory=dict)


def lower(net: Net, opset: int = OPSET, extra: Sequence[Value] = ()) -> Lowered:
    """Return the ONNX model of a net, in operators of the default domain alone.

    A loss or an evaluation is left out where it has no ONNX form, and what it compares is an
    output.

    Args:
        net: the net with its weights.
        opset: the version of ONNX's operators.
        extra: values to have as outputs beside the net's own.

    Raises:
        UnsupportedError: layers have no exact ONNX form; all are named.
        WeightsError: the weights' file was changed since it was opened.
    """
    if opset not in LOWERED:
        raise UnsupportedError(f"opset {opset}: nets are lowered to {LOWERED[0]} to {LOWERED[-1]}")
    net.check()
    wanted = {value.name for value in extra}
    net, left = without_evaluations(net, wanted)
    report_left(left)
    g = Builder(opset)
    for value in net.graph.inputs:
        g.value(value.name, value.dims)
    refused: dict[int, UnsupportedError] = {}
    names = parameter_names(net)
    for index, node in enumerate(net.graph.nodes):
        for value in node.tops:
            g.value(value.name, value.dims)
        try:
            _lower(g, net, index, names)
        except UnsupportedError as error:
            asked = node.layer.evaluates and any(top.name in wanted for top in node.tops)
            refused[index] = UnsupportedError(error) if asked else error
    if refused:
        raise UnsupportedError.joined(_with_ways(net.graph, refused))
    return _model(g, net, _outputs(net.graph, extra))


def _with_ways(graph: Graph, refused: Mapping[int, UnsupportedError]) -> Iterator[UnsupportedError]:
    """Yield the errors on some nodes; one that proposes nothing proposes to leave the node out.

    So it is where less than half of the net goes with it. One on an axis that varies proposes to
    fix it.
    """
    flow = Flow.of(graph.net)
    sizes = {value.blob: _fixed(value) for value in graph.inputs if None in value.dims}
    for index, error in refused.items():
        proto = graph.nodes[index].layer.proto
        name = proto.name if proto.type == "Python" else proto.type
        out = {i for i, n in enumerate(graph.nodes) if name in (n.layer.name, n.layer.proto.type)}
        if "inputs" in error.remedies and sizes and not error.changes:
            yield UnsupportedError(error, remedies=error.remedies, changes=[{"inputs": sizes}])
        elif (
            error.changes
            or graph.nodes[index].layer.evaluates
            or 2 * len(flow.below(out)) >= len(graph.nodes)
        ):
            yield error
        else:
            remedies = dict.fromkeys((*error.remedies, "until", "leave_out"))
            yield UnsupportedError(error, remedies=remedies, changes=[{"leave_out": (name,)}])


def _fixed(value: Value) -> Dims:
    """Return an input's shape; with the batch open still, where other axes are."""
    batch = None if None in value.dims[1:] else value.shape[0]
    return (batch if value.dims[0] is None else value.shape[0], *value.shape[1:])


def _outputs(graph: Graph, extra: Sequence[Value]) -> list[Value]:
    """Return the net's outputs and the extra ones; of a net without any, its unnamed losses."""
    outputs = list(graph.outputs)
    if not outputs:
        outputs = [top for node in graph.nodes for top in node.tops if not node.layer.proto.top]
    names = {value.name for value in (*outputs, *graph.inputs)}
    return [*outputs, *(value for value in extra if value.name not in names)]


def _lower(g: Builder, net: Net, index: int, names: dict[Place, str]) -> None:
    node = net.graph.nodes[index]
    fed = node.layer.feeds()
    if node.tops and len(fed) == len(node.tops):
        return
    g.begin(node.layer.name)
    blobs = {}
    for blob, owner in zip(node.blobs, node.owners, strict=True):
        g.parameter(names[owner], net.arrays[owner[0]][owner[1]])
        blobs[blob.name] = g.view(names[owner], blob.shape)
    with node.layer.named():
        outputs = node.layer.lower(g, *(v.name for v in node.bottoms), **blobs)
    tensors = outputs if isinstance(outputs, tuple) else (outputs,)
    tops = {top.name: x for top, x in zip(node.tops, tensors, strict=True) if x is not None}
    g.end([*tops.values()], [*tops], node.inplace)


def parameter_names(net: Net) -> dict[Place, str]:
    """Return every parameter blob's tensor name: layer/blob, unique where layers share a name."""
    names: dict[Place, str] = {}
    unique: set[str] = set()
    for index, node in enumerate(net.graph.nodes):
        for place, blob in enumerate(node.blobs):
            name = f"{node.layer.name}/{blob.name}"
            names[index, place] = f"{name}#{index}" if name in unique else name
            unique.add(name)
    return names


def _silenced(net: Net) -> tuple[str, ...]:
    """Return the blobs that Silence layers end."""
    ends = (n for n in net.graph.nodes if n.layer.type == "Silence")
    return tuple(value.blob for node in ends for value in node.bottoms)


def _model(g: Builder, net: Net, outputs: Sequence[Value]) -> Lowered:
    if not outputs:
        ends = _silenced(net)
        where = f"; Silence ends {', '.join(map(repr, ends))}" if ends else ""
        raise UnsupportedError(
            f"the net has no output, and ONNX needs one{where}; name a blob "
            f"(blobs={list(ends) or '[...]'})",
            remedies=("blobs",),
            changes=[{"blobs": ends}] if ends else (),
        )
    needed = g.finish([value.name for value in outputs])
    axes = _open_axes(net.graph.inputs)
    graph = onnx.helper.make_graph(
        g.nodes,
        net.graph.net.name or "caffe",
        [_info(value, axes) for value in net.graph.inputs],
        [
            _info(value, {key: name for key, name in axes.items() if key[0] == 0})
            for value in outputs
        ],
    )
    model = onnx.helper.make_model(graph, producer_name="caffe_compat")
    stamp(model, g.opset)
    aliases = {blob: tensor for blob, tensor in g.aliases.items() if "/" not in blob}
    props = {ALIASES: aliases, IGNORED: net.graph.ignored}
    onnx.helper.set_model_props(model, {k: json.dumps(v) for k, v in props.items() if v})
    arrays = {name: array for name, array in g.arrays.items() if name in needed}
    params = {name: g.params[name] for name in arrays if name in g.params}
    return Lowered(model, arrays, tuple(dict.fromkeys(g.changed)), params, g.values)


def stamp(model: onnx.ModelProto, opset: int) -> None:
    """Set a model's opset, and the version of the format that came with it."""
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", opset))
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)


def _open_axes(inputs: Sequence[Value]) -> dict[Place, str]:
    """Return a name for each open axis of the inputs by axis and size."""
    names = {0: "batch", 2: "height", 3: "width"}
    axes: dict[Place, str] = {}
    for value in inputs:
        for axis, (size, dim) in enumerate(zip(value.shape, value.dims, strict=True)):
            if dim is None and (axis, size) not in axes:
                name = names.get(axis, f"axis{axis}")
                axes[axis, size] = name if name not in axes.values() else f"{name}_{size}"
    return axes


def _info(value: Value, axes: dict[Place, str]) -> onnx.ValueInfoProto:
    dims = [
        axes.get((axis, size)) if dim is None else dim
        for axis, (size, dim) in enumerate(zip(value.shape, value.dims, strict=True))
    ]
    return onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, dims)
