"""Write ONNX nodes: `g.Op(...)` adds one and returns the names of its outputs.

A lowering sees names only. The builder knows what they stand for: the shapes of Caffe's blobs, the
arrays of the parameters, and the tensor that carries each blob.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, overload

import numpy as np

from ..errors import UnsupportedError
from ..types import AnyArray, Dims, Shape
from .names import Names

if TYPE_CHECKING:
    import onnx

# onnx.TensorProto's. onnx is imported where it is used and not by the layers: filling a net and
# running it in numpy, as a live Caffe's plugin does, need no onnx.
FLOAT, INT32, INT64, BOOL, DOUBLE = 1, 6, 7, 9, 11

Operand: TypeAlias = "str | AnyArray | np.generic | None"
"""An operator's input: a tensor's name, a constant, or None for one that is absent."""

Tensors: TypeAlias = "str | tuple[str, ...]"
"""The name of one tensor, or the names of several."""

_SHARED = 4096  # bytes up to which equal constants are one


class Operator(Protocol):
    """Add a node of one ONNX operator and return its output's name, or `outputs` names."""

    @overload
    def __call__(self, *inputs: Operand, outputs: None = None, **attributes: Any) -> str: ...
    @overload
    def __call__(self, *inputs: Operand, outputs: int, **attributes: Any) -> tuple[str, ...]: ...


class Parameter(NamedTuple):
    """A parameter blob behind an initializer, which may have its bytes under another shape.

    Attributes:
        name: layer/blob.
        shape: Caffe's.
    """

    name: str
    shape: Shape


def int64(*values: int) -> AnyArray:
    """Return axes, sizes or indices in the only type in which ONNX's operators take them."""
    return np.array(values, np.int64)


class Builder:
    """The nodes and initializers of one ONNX graph.

    Attributes:
        opset: the version of ONNX's default domain that the nodes are written for.
        keeps_params: whether the nodes must read every parameter as Caffe stores it, since its
            numbers will change; `data` and `change` are then not for use.
        nodes: the nodes so far, in order.
        arrays: the initializers by name; a parameter is added when it is first read.
        params: the parameters by initializer name, read or not.
        values: the shapes of the blobs' tensors, with None where a size may vary.
        changed: the parameters that ONNX needs in another form than Caffe stores them in.
        aliases: the tensors that stand for another (a Dropout's top in TEST), by name.
    """

    def __init__(self, opset: int, keeps_params: bool = False) -> None:
        self.opset, self.keeps_params = opset, keeps_params
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, AnyArray] = {}
        self.params: dict[str, Parameter] = {}
        self.values: dict[str, Dims] = {}
        self.changed: list[str] = []
        self.aliases: dict[str, str] = {}
        self._data: dict[str, AnyArray] = {}  # the parameters' arrays
        self._constants: dict[tuple[object, ...], str] = {}
        self._names = Names()
        self._node_names = Names()
        self._layer = ""
        self._begin = 0

    # -- for a lowering ----------------------------------------------------------------------

    def __getattr__(self, op: str) -> Operator:
        """Return the operator of that name: `g.Conv(x, w, None, strides=[2, 2])`.

        Positional arguments are input names (None: absent) or constants; keywords are attributes,
        left out where None; `outputs=n` returns n names.
        """
        if not op[0].isupper():
            raise AttributeError(op)

        def add(*inputs: Operand, outputs: int | None = None, **attributes: Any) -> Any:
            names = self._add(op, inputs, outputs or 1, attributes)
            return names[0] if outputs is None else names

        return add

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Return the name of an initializer of that value; equal small ones are shared."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.nbytes <= _SHARED else None
        if key is not None and key in self._constants:
            return self._constants[key]
        name = self._names.unique(f"{self._layer}/constant")
        self.arrays[name] = array
        if key is not None:
            self._constants[key] = name
        return name

    def data(self, parameter: str) -> AnyArray:
        """Return a parameter's array, for a lowering that must compute with it."""
        return self._data[parameter]

    def view(self, initializer: str, shape: Sequence[int]) -> str:
        """Return the name of a parameter or constant under another shape; no byte is copied."""
        if initializer not in self.params:
            return self.constant(self.arrays[initializer].reshape(shape))
        array, (owner, original) = self._data[initializer].reshape(shape), self.params[initializer]
        if array.shape == self._data[initializer].shape:
            return initializer
        name = owner if array.shape == original else f"{owner}:{'x'.join(map(str, array.shape))}"
        self.params[name], self._data[name] = Parameter(owner, original), array
        return name

    def change(self, parameter: str, array: AnyArray) -> str:
        """Return the name of an array that stands in for a parameter that ONNX cannot read."""
        name = self._names.unique(f"{parameter}:changed")
        self.arrays[name] = np.asarray(array, order="C")
        self.changed.append(parameter)
        return name

    def known(self, x: str) -> AnyArray | None:
        """Return the value of a tensor that is the same in every run, None of any other."""
        from .folding import evaluate

        name = self.resolve(x)
        if name in self.params:
            return None
        if name in self.arrays:
            return self.arrays[name]
        node = self.producer(name)
        if node is None:
            return None
        values = [self.known(part) for part in node.input]
        outputs = evaluate(node, [value for value in values if value is not None])
        return None if outputs is None else outputs[list(node.output).index(name)]

    def producer(self, x: str) -> onnx.NodeProto | None:
        """Return the node that has a tensor among its outputs."""
        return next((node for node in reversed(self.nodes) if x in node.output), None)

    def graph(
        self, step: Callable[..., Sequence[str]], inputs: int, ranks: Sequence[int] = ()
    ) -> onnx.GraphProto:
        """Return a subgraph of float tensors, for an attribute such as Scan's body.

        Args:
            step: takes the names of the inputs, adds nodes by `g.Op(...)` and returns the names of
                the outputs, each of a node. It may read parameters and constants from outside.
            inputs: how many there are.
            ranks: the outputs', where onnxruntime up to 1.23 cannot infer them.
        """
        from onnx import helper

        outer, self.nodes = self.nodes, []
        names = [self._names.unique(f"{self._layer}/in") for _ in range(inputs)]
        try:
            outputs = step(*names)
            body = self.nodes
        finally:
            self.nodes = outer
        for node in body:
            node.name = self._node_names.unique(f"{self._layer}/{node.op_type}")

        def infos(ends: Sequence[str], ranks: Sequence[int] = ()) -> list[onnx.ValueInfoProto]:
            shapes: list[list[None] | None] = [[None] * rank for rank in ranks]
            return [
                helper.make_tensor_value_info(name, FLOAT, shape)
                for name, shape in zip(ends, shapes or [None] * len(ends), strict=True)
            ]

        return helper.make_graph(body, f"{self._layer}/body", infos(names), infos(outputs, ranks))

    def dims(self, x: str) -> Dims:
        """Return a bottom's shape, with None where the size may vary from run to run."""
        return self.values[x]

    def shape(self, x: str) -> Shape:
        """Return a bottom's shape.

        Raises:
            UnsupportedError: a size of it may vary.
        """
        return tuple(self.fixed(x, axis) for axis in range(len(self.values[x])))

    def fixed(self, x: str, axis: int) -> int:
        """Return one size of a bottom.

        Raises:
            UnsupportedError: it may vary.
        """
        size = self.values[x][axis]
        if size is None:
            raise UnsupportedError(
                f"needs axis {axis} of its bottom at a fixed size; give the inputs fixed shapes",
                remedies=("inputs",),
            )
        return size

    def rows(self, x: str) -> str:
        """Return a bottom as a matrix, with a row for each item of its first axis."""
        return x if len(self.values[x]) == 2 else self.Flatten(x, axis=1)

    # -- for the walk over the layers, and for passes ----------------------------------------

    def parameter(self, name: str, array: AnyArray) -> None:
        """Add a parameter; it becomes an initializer when a node reads it."""
        self.params[name], self._data[name] = Parameter(name, array.shape), array
        self._names.take(name)

    def value(self, name: str, dims: Dims) -> None:
        """Add a blob's tensor with its shape."""
        self.values[name] = dims
        self._names.take(name)

    def unique(self, name: str) -> str:
        """Take a name for a tensor, with a number behind it where it is taken, and return it."""
        return self._names.unique(name)

    def begin(self, layer: str) -> None:
        """Start a layer, whose name its nodes will carry."""
        self._layer, self._begin = layer, len(self.nodes)

    def end(self, outputs: Sequence[str], tops: Sequence[str], inplace: bool = False) -> None:
        """Rename a layer's output tensors to its tops, and name its nodes."""
        own = self.nodes[self._begin :]
        produced = {name for node in own for name in node.output}
        for tensor, top in zip(outputs, tops, strict=True):
            carrier = self.resolve(tensor)
            if carrier in produced:
                produced.remove(carrier)
                self._rename(own, carrier, top)
            elif inplace and self.producer(carrier):
                self._rename(self.nodes, carrier, top)
            else:
                self.aliases[top] = carrier
        for node in own:
            last = bool(tops) and tops[0] in node.output
            name = self._layer if last else f"{self._layer}/{node.op_type}"
            node.name = self._node_names.unique(name)

    def resolve(self, name: str) -> str:
        """Return the tensor that carries a blob's values, behind any alias."""
        while name in self.aliases:
            name = self.aliases[name]
        return name

    def finish(self, outputs: Iterable[str]) -> set[str]:
        """Make every output a node's and drop the nodes that none needs; return what is read."""
        needed = set(outputs)
        for name in outputs:
            carrier = self.resolve(name)
            if carrier != name:
                del self.aliases[name]
                self.begin(name)
                self.end([self.Identity(carrier)], [name])
        nodes: list[onnx.NodeProto] = []
        for node in reversed(self.nodes):
            if not needed.isdisjoint(node.output):
                nodes.append(node)
                needed.update(reads(node))
        self.nodes = nodes[::-1]
        return needed

    # -- inside ------------------------------------------------------------------------------

    def _add(
        self, op: str, inputs: Sequence[Operand], outputs: int, attributes: dict[str, Any]
    ) -> tuple[str, ...]:
        from onnx import helper, numpy_helper

        names = []
        for x in inputs:
            name = "" if x is None else self.resolve(x) if isinstance(x, str) else self.constant(x)
            if name in self.params:
                self.arrays[name] = self._data[name]
            names.append(name)
        while names and not names[-1]:
            names.pop()
        tensors = tuple(self._names.unique(f"{self._layer}/{op}") for _ in range(outputs))
        values: dict[str, Any] = {
            key: numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
            for key, value in attributes.items()
            if value is not None
        }
        self.nodes.append(helper.make_node(op, names, tensors, **values))
        return tensors

    def _rename(self, nodes: Sequence[onnx.NodeProto], old: str, new: str) -> None:
        for node in nodes:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    if name == old:
                        names[i] = new
        self.aliases[old] = new


def reads(node: onnx.NodeProto) -> set[str]:
    """Return the tensors that a node and the nodes of its subgraphs read."""
    inner = (reads(part) for attribute in node.attribute for part in attribute.g.node)
    return set(node.input).union(*inner)
