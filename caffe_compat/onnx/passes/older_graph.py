"""A lowered graph written again in an older opset: what its nodes and their sizes are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeAlias

import onnx
from onnx import helper

from ...errors import UnsupportedError
from ...layers.builder import Operand
from ...types import Dims
from .. import writer
from ..lowering import Lowered
from ..opsets import LOWERED
from ..rewriting import Rewriter, attributes

Outputs: TypeAlias = "str | tuple[str, ...] | None"
Rule: TypeAlias = Callable[["Older", onnx.NodeProto], Outputs]


class Older(Rewriter):
    """The graph in an older opset.

    Args:
        lowered: the model, of the opset that layers write.
        opset: the older one.
        rule: adds a node in its older form, and returns its outputs; None: it stays as it is.

    Attributes:
        opset: the older one.
        refused: an error for each node that has no form there.
    """

    def __init__(self, lowered: Lowered, opset: int, rule: Rule) -> None:
        super().__init__(lowered)
        self.opset, self._rule = opset, rule
        self.refused: list[UnsupportedError] = []
        graph = onnx.shape_inference.infer_shapes(typed(lowered)).graph
        infos = (*graph.input, *graph.value_info, *graph.output)
        self._types = {each.name: each.type.tensor_type for each in infos}

    def write(self, node: onnx.NodeProto) -> None:
        """Add a node in its older form."""
        try:
            self.rewrite(node, self._rule)  # type: ignore[arg-type]  # a rule of this class's own
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
        versions = versions_of(node.op_type)
        then, now = (version_in(versions, opset) for opset in (self.opset, LOWERED[0]))
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


@cache
def versions_of(operator: str) -> dict[int, Any]:
    """Return an operator's schemas by the opset that brought them."""
    return {
        each.since_version: each
        for each in onnx.defs.get_all_schemas_with_history()
        if each.name == operator and not each.domain
    }


def version_in(versions: Mapping[int, Any], opset: int) -> int:
    """Return which version of an operator an opset has."""
    return max(version for version in versions if version <= opset)


def typed(lowered: Lowered) -> onnx.ModelProto:
    """Return the model with the types of its weights and without their bytes."""
    return onnx.load_from_string(writer.shell(lowered)[0])
