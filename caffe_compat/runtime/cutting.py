"""Cut a net or its ONNX model at the blobs, so that each layer computes from given bottoms."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import onnx
from onnx import TensorProto, helper

from ..caffe_pb2 import LayerParameter
from ..layers.families.ends import Input
from ..net.graph import Node
from ..net.net import Net
from ..onnx.lowering import Lowered
from ..types import Shape

REFERENCE = "@reference"
"""The end of the name of an input that replaces a tensor for the nodes that read it."""

ROUNDED = "@rounded"
"""The end of the name of an output that an int8 model quantizes."""


def cut(lowered: Lowered, shapes: Mapping[str, Shape], fed: Collection[str] = ()) -> Lowered:
    """Return a model in which every node reads blobs from inputs, and all blobs are outputs.

    One run of it computes every layer from the values that are fed, not from those of the layers
    before it.

    Args:
        lowered: the model.
        shapes: the shapes of the net's blobs by tensor; a tensor that is not in the model counts
            for nothing.
        fed: those of them that the net is fed, and that no output is for; a model with
            preprocessing computes them.
    """
    types = _element_types(lowered)
    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    graph = model.graph
    computed = {name for node in graph.node for name in node.output}
    names = [name for name in shapes if name in computed]
    rounding = _rounding(list(graph.node), names)
    for node in graph.node:
        _read_references(node, set(names))
    inputs = [
        *graph.input,
        *(
            helper.make_tensor_value_info(
                name + REFERENCE, types.get(name, TensorProto.FLOAT), shapes[name]
            )
            for name in names
        ),
    ]
    graph.node.extend(node for pair in rounding.values() for node in pair)
    outputs = [name + ROUNDED * (name in rounding) for name in names if name not in fed]
    nodes, used = _needed(list(graph.node), outputs)
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.input.extend(each for each in inputs if each.name in used)
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    arrays = {name: array for name, array in lowered.arrays.items() if name in used}
    return replace(lowered, model=model, arrays=arrays)


def cut_net(net: Net) -> Net:
    """Return a net of the same layers in which each reads its bottoms from inputs of its own.

    They are called as the values, with REFERENCE behind.
    """
    read = {value.name: value for node in net.graph.nodes for value in node.bottoms}
    references = {
        name: replace(value, name=name + REFERENCE, blob=name + REFERENCE)
        for name, value in read.items()
    }
    fed = tuple(references.values())
    proto = LayerParameter(name=REFERENCE, type="Input", top=[value.blob for value in fed])
    nodes = [
        replace(node, bottoms=tuple(references[value.name] for value in node.bottoms))
        for node in net.graph.nodes
    ]
    nodes.append(Node(Input(proto), (), fed, (), (), (0.0,) * len(fed)))
    graph = replace(net.graph, nodes=tuple(nodes), inputs=(*net.graph.inputs, *fed))
    return replace(net, graph=graph, arrays=(*net.arrays, ()))


def number_type(lowered: Lowered) -> str:
    """Return what a model computes in: `float32`, `float16` or `int8`."""
    if any(node.op_type == "QuantizeLinear" for node in lowered.model.graph.node):
        return "int8"
    half = TensorProto.FLOAT16 in _element_types(lowered).values()
    return "float16" if half else "float32"


def _element_types(lowered: Lowered) -> dict[str, int]:
    """Return the element type of each tensor that ONNX's shape inference knows."""
    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    model.graph.input.extend(
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in lowered.arrays.items()
    )
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.value_info, *graph.output, *graph.input)
    return {value.name: value.type.tensor_type.elem_type for value in values}


def _read_references(node: onnx.NodeProto, names: Collection[str]) -> None:
    for i, name in enumerate(node.input):
        if name in names:
            node.input[i] = name + REFERENCE
    for attribute in node.attribute:
        for inner in attribute.g.node:
            _read_references(inner, names)


def _rounding(
    nodes: Sequence[onnx.NodeProto], names: Collection[str]
) -> dict[str, tuple[onnx.NodeProto, onnx.NodeProto]]:
    """Return copies of the two nodes that quantize each of these tensors, which end in its output.

    The tensor itself is not what the next layer reads: a ReLU may be in the range alone.
    """
    ends = {node.input[0]: node for node in nodes if node.op_type == "DequantizeLinear"}
    copies = {}
    for node in nodes:
        end = ends.get(node.output[0]) if node.op_type == "QuantizeLinear" else None
        if end is not None and node.input[0] in names:
            name = node.input[0]
            whole, back = onnx.NodeProto(), onnx.NodeProto()
            whole.CopyFrom(node)
            back.CopyFrom(end)
            whole.name, back.name = f"{name}@quantize", f"{name}@dequantize"
            whole.output[0] = back.input[0] = f"{name}@quantized"
            back.output[0] = name + ROUNDED
            copies[name] = whole, back
    return copies


def _needed(
    nodes: list[onnx.NodeProto], outputs: Collection[str]
) -> tuple[list[onnx.NodeProto], set[str]]:
    """Return the nodes that the outputs depend on, and the tensors that these read.

    The nodes may be in any order: float16's converter appends its casts.
    """
    producers = {name: node for node in nodes for name in node.output}
    used = set(outputs)
    stack = list(outputs)
    while stack:
        node = producers.get(stack.pop())
        new = reads(node) - used if node is not None else set()
        used |= new
        stack += new
    return [node for node in nodes if used.intersection(node.output)], used


def reads(node: onnx.NodeProto) -> set[str]:
    """Return what a node and the graphs within it read."""
    inner = (reads(each) for attribute in node.attribute for each in attribute.g.node)
    return {*node.input}.union(*inner)
