"""Rewrite a lowered graph node by node: the base of every pass."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import onnx
from onnx import helper, numpy_helper

from ..layers.builder import Builder, Operand, reads
from ..types import AnyArray
from .lowering import ALIASES, Lowered

Rule: TypeAlias = "Callable[[Rewriter, onnx.NodeProto], str | tuple[str, ...] | None]"
"""Write other nodes in a node's place and return its outputs; None leaves the node as it is."""


def rewrite(lowered: Lowered, rules: Mapping[str, Rule]) -> Lowered:
    """Return the model with each node rewritten by the rule for its operator.

    Args:
        lowered: stays as it is.
        rules: by operators of the default domain.
    """
    g = Rewriter(lowered)
    for node in lowered.model.graph.node:
        g.rewrite(node, None if node.domain else rules.get(node.op_type))
    return g.lowered()


class Rewriter(Builder):
    """A Builder whose graph is another form of a lowered one.

    Args:
        lowered: the graph so far; it stays as it is.
    """

    def __init__(self, lowered: Lowered) -> None:
        graph = lowered.model.graph
        opsets = {imported.domain: imported.version for imported in lowered.model.opset_import}
        super().__init__(opsets.get("", 0))
        self.arrays, self.values = dict(lowered.arrays), dict(lowered.dims)
        self.params = dict(lowered.params)
        self._data = {name: self.arrays[name] for name in self.params}
        self._before = lowered
        self._inputs = {value.name for value in graph.input}
        self._outputs = [value.name for value in graph.output]
        self._inline = {tensor.name: tensor for tensor in graph.initializer}
        self._readers = Counter(name for node in graph.node for name in reads(node))
        self._readers.update(self._outputs)
        self._producers: dict[str, onnx.NodeProto] = {}
        for name in (*self._inputs, *self.arrays, *self._inline, *self._readers):
            self._names.take(name)
        for node in graph.node:
            self._node_names.take(node.name)
            for name in node.output:
                self._names.take(name)

    # -- for a rule --------------------------------------------------------------------------

    def initializer(self, x: str) -> AnyArray | None:
        """Return the array of an initializer, None of any other tensor."""
        name = self.resolve(x)
        if name in self._inputs:  # an initializer that is an input too is only its default
            return None
        tensor = self._inline.get(name)
        if tensor is not None and tensor.data_location != onnx.TensorProto.EXTERNAL:
            return numpy_helper.to_array(tensor)
        return self.arrays.get(name)

    def known(self, x: str) -> AnyArray | None:
        """Return the array of an initializer that is no parameter, None of any other tensor."""
        return None if self.resolve(x) in self.params else self.initializer(x)

    def producer(self, x: str) -> onnx.NodeProto | None:
        """Return the node of a tensor, in the new graph."""
        return self._producers.get(self.resolve(x))

    def sole(self, x: str) -> onnx.NodeProto | None:
        """Return the node of a tensor that only one node reads."""
        return self.producer(x) if self._readers[x] == 1 else None

    def again(self, node: onnx.NodeProto, *inputs: Operand, **changes: Any) -> str:
        """Add a node again with these inputs and changes of its attributes."""
        (output,) = self._add(node.op_type, inputs, 1, {**attributes(node), **changes})
        return output

    def copy(self, node: onnx.NodeProto, inputs: Collection[Operand]) -> tuple[str, ...]:
        """Add a node again with other inputs, and return all its outputs."""
        return self._add(node.op_type, [*inputs], len(node.output), attributes(node))

    # -- for a pass --------------------------------------------------------------------------

    def rewrite(self, node: onnx.NodeProto, rule: Rule | None = None) -> None:
        """Add a node, or the nodes of a rule in its place."""
        node = self._resolved(node)
        self.begin(node.name or node.output[0])
        outputs = rule(self, node) if rule else None
        if outputs is None:
            self.nodes.append(node)
        else:
            self._node_names.free(node.name)
            self.end(outputs if isinstance(outputs, tuple) else (outputs,), node.output)
            for name in self.aliases.keys() & set(node.output):
                self._readers[self.resolve(name)] += self._readers[name]
        for own in self.nodes[self._begin :]:
            self._producers.update(dict.fromkeys(own.output, own))

    def lowered(self) -> Lowered:
        """Return the graph without nodes and initializers that none needs."""
        needed = self.finish(self._outputs)
        arrays = {name: array for name, array in self.arrays.items() if name in needed}
        tensors = self._inputs.union(arrays, *(node.output for node in self.nodes))
        model = onnx.ModelProto()
        model.CopyFrom(self._before.model)
        del model.graph.node[:]
        model.graph.node.extend(self.nodes)
        _forget_blobs(model, tensors)
        return replace(
            self._before,
            model=model,
            arrays=arrays,
            params={name: self.params[name] for name in arrays if name in self.params},
            dims={name: dims for name, dims in self.values.items() if name in tensors},
        )

    def _resolved(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """Return a node with its inputs behind any alias."""
        if self.aliases.keys().isdisjoint(reads(node)):
            return node
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        self._resolve_inputs(copy)
        return copy

    def _resolve_inputs(self, node: onnx.NodeProto) -> None:
        for i, name in enumerate(node.input):
            node.input[i] = self.resolve(name)
        for attribute in node.attribute:
            for part in attribute.g.node:
                self._resolve_inputs(part)


def _forget_blobs(model: onnx.ModelProto, tensors: Collection[str]) -> None:
    """Remove blobs whose tensors are gone from a model's metadata."""
    for prop in model.metadata_props:
        if prop.key == ALIASES:
            aliases: dict[str, str] = json.loads(prop.value)
            aliases = {blob: x for blob, x in aliases.items() if x in tensors or x in aliases}
            if aliases:
                prop.value = json.dumps(aliases)
            else:
                model.metadata_props.remove(prop)
            return


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes by name."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}
