"""The nodes of a model that onnxruntime would not compute on an NVIDIA GPU.

onnxruntime gives a node to the first provider that has a kernel for its operator, opset and types.
The kernels are in cuda_kernels.json, which docs/make_kernels.py writes from onnxruntime's registry.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from onnx import helper

from ..errors import DeviceError, UnsupportedError
from ..onnx import writer
from ..onnx.lowering import Lowered
from ..onnx.rewriting import attributes

_SHOWN = 3  # nodes named in a line
_TO_GPU = ("ConstantOfShape", "Range")  # kernels that read the CPU's memory and fill the GPU's
_WAITING = ("Compress", "If", "Loop", "NonMaxSuppression", "NonZero", "Scan", "Unique")
"""Operators whose CUDA kernels wait for a number that the GPU computes."""


class Left(NamedTuple):
    """A node that leaves the GPU.

    Attributes:
        node: its name.
        operator: its operator.
        why: the reason.
    """

    node: str
    operator: str
    why: str


@dataclass(frozen=True)
class Placement:
    """The places of a model's nodes in a session on CUDA or TensorRT.

    What TensorRT does not take runs on CUDA, in the same session.

    Attributes:
        onnxruntime: the version whose kernels these are.
        nodes: how many there are, subgraphs' included.
        left: those that run on the CPU for lack of a kernel, with copies before and after them.
        host: those that compute shapes, which onnxruntime keeps on the CPU: none of the GPU's
            numbers are copied for them.
    """

    onnxruntime: str
    nodes: int
    left: tuple[Left, ...]
    host: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the placement in words, a line for each reason."""
        if not self.left:
            head = f"all {self.nodes} nodes"
        else:
            head = f"{self.nodes - len(self.left)} of {self.nodes} nodes"
        lines = [f"on CUDA: {head}, by onnxruntime {self.onnxruntime}'s kernels"]
        groups: dict[tuple[str, str], list[str]] = {}
        for node, operator, why in self.left:
            groups.setdefault((operator, why), []).append(node)
        for (operator, why), names in groups.items():
            shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
            lines.append(f"on the CPU: {len(names)} x {operator} ({shown}): {why}")
        if self.host:
            lines.append(f"on the CPU: {len(self.host)} nodes of shapes, which need no copies")
        return lines


def place(lowered: Lowered) -> Placement:
    """Return where a session on CUDA computes each node of a model."""
    model = infer_types(lowered)
    opset = next((o.version for o in model.opset_import if not o.domain), 1)
    version, kernels = _table()
    left: list[Left] = []
    host: list[str] = []
    count = 0
    for graph in graphs(model.graph):
        types, on_host = types_of(graph), {*(tensor.name for tensor in graph.initializer)}
        constants = set(on_host)
        for node in graph.node:
            count += 1
            why = _fault(node, opset, types, kernels)
            name = node.name or (node.output[0] if node.output else node.op_type)
            if why:
                left.append(Left(name, node.op_type, why))
            elif node.op_type in ("Shape", "Size"):
                on_host.update(node.output)  # computed by CUDA's provider in the CPU's memory
            elif node.op_type not in _TO_GPU and _reads_host(node, on_host, constants, types):
                host.append(name)
                on_host.update(node.output)
    return Placement(version, count, tuple(left), tuple(host))


def check_recordable(lowered: Lowered) -> None:
    """Raise UnsupportedError with the nodes of a model that no CUDA graph can record."""
    waiting = [node for node in lowered.model.graph.node if node.op_type in _WAITING]
    if waiting:
        raise UnsupportedError(
            "a CUDA graph records no node that waits for a number from the GPU, such as the count "
            f"of boxes: {_list(waiting)}; run without cuda_graph"
        )
    if drawing := _drawing(lowered):
        raise UnsupportedError(
            "a CUDA graph would replay the random numbers of its first run: "
            f"{_list(drawing)}; run without cuda_graph"
        )


def check_random(lowered: Lowered) -> None:
    """Raise DeviceError with the nodes of a model that draw in every run, and not in TensorRT."""
    if drawing := _drawing(lowered):
        raise DeviceError(
            f"device 'tensorrt': TensorRT drops nothing at random: {_list(drawing)}; run on cuda"
        )


def _drawing(lowered: Lowered) -> list[onnx.NodeProto]:
    """Return the Dropouts with a training_mode, as Dropout with sample_weights_test is written."""
    nodes = lowered.model.graph.node
    return [node for node in nodes if node.op_type == "Dropout" and len(node.input) > 2]


def _list(nodes: Sequence[onnx.NodeProto]) -> str:
    names = [f"'{node.name}' ({node.op_type})" for node in nodes]
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def infer_types(lowered: Lowered) -> onnx.ModelProto:
    """Return a model with the types and shapes of its tensors, where they can be inferred."""
    model = writer.declare(lowered)
    with suppress(onnx.shape_inference.InferenceError, ValueError, RuntimeError):  # a faulty model
        model = onnx.shape_inference.infer_shapes(model)
    return model


Types = Mapping[str, str]
Kernels = Mapping[str, list[tuple[int, "int | None", dict[str, list[str]]]]]


@cache
def _table() -> tuple[str, Kernels]:
    """Return the version of onnxruntime, and its CUDA kernels by operator."""
    path = Path(__file__).with_name("cuda_kernels.json")
    table = json.loads(path.read_text(encoding="utf-8"))
    return table["onnxruntime"], table["kernels"]


def _fault(node: onnx.NodeProto, opset: int, types: Types, kernels: Kernels) -> str | None:
    """Return why no kernel fits a node, None if one does."""
    if node.domain:
        return f"the domain {node.domain} is not known here"
    if node.op_type not in kernels:
        return "there is no kernel"
    if attributes(node).get("select_last_index"):
        return "there is no kernel with select_last_index"
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return f"ONNX has no such operator in opset {opset}"
    since = schema.since_version
    rows = [row for row in kernels[node.op_type] if _covers(row[0], row[1], since)]
    if not rows:
        ends = [row[0] if row[1] is None else row[1] for row in kernels[node.op_type]]
        return (
            f"its kernels end with opset {max(ends)}'s operator, and opset {opset} has a later one"
        )
    for _, _, constraints in rows:
        wrong = _wrong_type(node, schema, constraints, types)
        if wrong is None:
            return None
    return f"there is no kernel for {wrong}"


def _covers(since: int, until: int | None, version: int) -> bool:
    """Return whether a kernel is for a version of its operator.

    One without an end is for its first version alone: a later one may mean something else.
    """
    return version == since if until is None else since <= version <= until


def _wrong_type(
    node: onnx.NodeProto, schema: Any, constraints: Mapping[str, list[str]], types: Types
) -> str | None:
    """Return a type that a kernel does not take; unknown types are taken for right ones."""
    for names, formals in ((node.input, schema.inputs), (node.output, schema.outputs)):
        for index, name in enumerate(names if formals else ()):
            formal = formals[min(index, len(formals) - 1)]
            allowed = constraints.get(formal.type_str) or constraints.get(formal.name)
            if allowed and name in types and types[name] not in allowed:
                return types[name]
    return None


def _reads_host(
    node: onnx.NodeProto, host: Iterable[str], constants: Iterable[str], types: Types
) -> bool:
    """Return whether a node's inputs are shapes, or computed from shapes, and constants alone."""
    names = {name for name in node.input if name}
    return (
        bool(names)
        and names <= {*host}
        and not names <= {*constants}
        and all("float" not in types.get(name, "") for name in node.output)
    )


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and the subgraphs of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


def types_of(graph: onnx.GraphProto) -> dict[str, str]:
    """Return the tensors' types, such as `float` and `int64`, where they are known."""
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    kinds |= {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    return {
        name: helper.tensor_dtype_to_string(kind).rpartition(".")[2].lower()
        for name, kind in kinds.items()
        if kind
    }
