"""Writes ONNX nodes: `g.Op(...)` adds one and returns the name of what it makes.

A lowering sees names only. The builder keeps what they stand for: the shapes of Caffe's
blobs, the arrays of the parameters, and which tensor ends up carrying a blob's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UnsupportedError
from ..types import AnyArray, Dims
from .names import Names

if TYPE_CHECKING:
    import onnx


# onnx.TensorProto's. Methods here import onnx when they need it, and layers not at all: whoever
# only fills a net or computes in numpy, as a plugin of Caffe's does, goes without it.
FLOAT, INT32, INT64, BOOL, DOUBLE = 1, 6, 7, 9, 11


def int64(*values: int) -> AnyArray:
    """Axes, sizes or places, in the only type in which ONNX's operators take them."""
    return np.array(values, np.int64)


class Builder:
    """Collects the nodes and initializers of one ONNX graph.

    Attributes:
        opset: the version of ONNX's default domain that the nodes are written for.
        nodes: the nodes so far, in order.
        arrays: initializers by name; parameters are added when first used.
        changed: parameters that ONNX needs in another form than Caffe stores them in.
        aliases: tensors that stand for another (a Dropout's top in TEST), by name.
    """

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.arrays: dict[str, AnyArray] = {}
        self.changed: list[str] = []
        self.aliases: dict[str, str] = {}
        self._params: dict[str, AnyArray] = {}
        self._dims: dict[str, Dims] = {}
        self._constants: dict[tuple[Any, ...], str] = {}
        self._names = Names()
        self._readers: Counter[str] = Counter()
        self._layer = ""
        self._begin = 0

    # -- what a lowering calls ---------------------------------------------------------------

    def __getattr__(self, op: str) -> Callable[..., Any]:
        """`g.Conv(x, w, None, strides=[2, 2])`: a node of that ONNX operator.

        Positional arguments are input names (None: absent) or numpy arrays (constants);
        keywords are attributes, left out where None, a tensor where an array; `outputs=n` gives n
        names back.
        """
        if not op[0].isupper():
            raise AttributeError(op)

        def add(*inputs: str | AnyArray | None, outputs: int = 1, **attributes: Any) -> Any:
            return self._add(op, inputs, outputs, attributes)

        return add

    def constant(self, value: Any, dtype: Any = None) -> str:
        """The name of an initializer that holds `value`; equal small ones are shared."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes()) if array.nbytes <= 4096 else None
        if key is not None and key in self._constants:
            return self._constants[key]
        name = self._names.unique(f"{self._layer}/constant")
        self.arrays[name] = array
        if key is not None:
            self._constants[key] = name
        return name

    def data(self, parameter: str) -> AnyArray:
        """The array of a parameter, for a lowering that must compute with it."""
        return self._params[parameter]

    def view(self, parameter: str, shape: Sequence[int]) -> str:
        """The parameter's bytes under another shape, so that they stay where they lie."""
        array = self._params[parameter].reshape(shape)
        if array.shape == self._params[parameter].shape:
            return parameter
        name = f"{parameter}:{'x'.join(map(str, array.shape))}"
        self._params[name] = array
        return name

    def change(self, parameter: str, array: AnyArray) -> str:
        """What ONNX needs in the parameter's place, where its bytes cannot serve as they are."""
        name = self._names.unique(f"{parameter}:changed")
        self.arrays[name] = np.asarray(array, order="C")
        self.changed.append(parameter)
        return name

    def known(self, x: str) -> AnyArray | None:
        """The value of a tensor that is the same in every run; None of one that may change."""
        name = self.resolve(x)
        if name in self.arrays and name not in self._params:
            return self.arrays[name]
        makers = [node for node in self.nodes if name in node.output]
        parts = [self.known(part) for node in makers for part in node.input]
        held = [part for part in parts if part is not None]
        if not makers or len(held) < len(parts):
            return None
        attribute = makers[0].attribute
        if makers[0].op_type == "ConstantOfShape" and attribute:
            from onnx import numpy_helper

            return np.broadcast_to(numpy_helper.to_array(attribute[0].t), held[0])
        if makers[0].op_type == "Concat":
            return np.concatenate(held, axis=attribute[0].i)
        if makers[0].op_type == "Reshape":
            sizes = [n or held[0].shape[i] for i, n in enumerate(held[1].tolist())]
            return held[0].reshape(sizes)
        return None

    def maker(self, x: str) -> onnx.NodeProto | None:
        """The node that made a bottom, where the layer being lowered is its only reader."""
        if self._readers[x] != 1 or x in self.aliases:
            return None
        return next((node for node in reversed(self.nodes) if x in node.output), None)

    def remove(self, node: onnx.NodeProto) -> None:
        """Take out a node of an earlier layer, which `maker` gave, to say its part otherwise."""
        self.nodes.remove(node)
        self._begin -= 1

    def graph(
        self, step: Callable[..., Sequence[str]], inputs: int, ranks: Sequence[int] = ()
    ) -> onnx.GraphProto:
        """A subgraph of float tensors, for an attribute such as Scan's body.

        `step` gets the names of the inputs, adds nodes by `g.Op(...)` and returns the names of
        the outputs, each made by a node. From outside it may read parameters and constants.
        `ranks` are the outputs' where onnxruntime up to 1.23 cannot infer them.
        """
        from onnx import helper

        outer, self.nodes = self.nodes, []
        names = [self._names.unique(f"{self._layer}/in") for _ in range(inputs)]
        try:
            made = step(*names)
            body = self.nodes
        finally:
            self.nodes = outer
        for node in body:
            node.name = self._unique_node(f"{self._layer}/{node.op_type}")

        def infos(ends: Sequence[str], ranks: Sequence[int] = ()) -> list[onnx.ValueInfoProto]:
            shapes: list[list[None] | None] = [[None] * rank for rank in ranks]
            return [
                helper.make_tensor_value_info(name, FLOAT, shape)
                for name, shape in zip(ends, shapes or [None] * len(ends), strict=True)
            ]

        return helper.make_graph(body, f"{self._layer}/body", infos(names), infos(made, ranks))

    def dims(self, x: str) -> Dims:
        """A bottom's shape, None where the size may vary from run to run."""
        return self._dims[x]

    def shape(self, x: str) -> tuple[int, ...]:
        """A bottom's shape, where all of it must be fixed.

        Raises:
            UnsupportedError: an axis of it was asked to vary.
        """
        return tuple(self.fixed(x, axis) for axis in range(len(self._dims[x])))

    def rows(self, x: str) -> str:
        """A bottom as a matrix, with a row for each item of its first axis."""
        return x if len(self._dims[x]) == 2 else str(self.Flatten(x, axis=1))

    def fixed(self, x: str, axis: int) -> int:
        """One dimension of a bottom, which must be fixed.

        Raises:
            UnsupportedError: it was asked to vary.
        """
        size = self._dims[x][axis]
        if size is None:
            raise UnsupportedError(
                f"needs axis {axis} of its bottom at a fixed size; give the inputs fixed shapes"
            )
        return size

    # -- what the walk over the layers calls -------------------------------------------------

    def parameter(self, name: str, array: AnyArray) -> None:
        """Make a parameter known; it becomes an initializer when a node reads it."""
        self._params[name] = array
        self._names.take(name)

    def is_parameter(self, name: str) -> bool:
        """Whether an initializer is a parameter as Caffe stores it, perhaps under another shape."""
        return name in self._params

    def value(self, name: str, dims: Dims) -> None:
        """Make a blob's tensor known, with its shape."""
        self._dims[name] = dims
        self._names.take(name)

    def read_by(self, names: Iterable[str]) -> None:
        """Count readers of blobs: a layer for each bottom, and the caller of the net."""
        self._readers.update(names)

    def begin(self, layer: str) -> None:
        """Start a layer: its nodes will carry its name."""
        self._layer, self._begin = layer, len(self.nodes)

    def end(self, made: Sequence[str], tops: Sequence[str], inplace: bool) -> None:
        """Give the tensors that a layer made the names of its tops, and its nodes their names."""
        own = self.nodes[self._begin :]
        produced = {name for node in own for name in node.output}
        for tensor, top in zip(made, tops, strict=True):
            carrier = self.resolve(tensor)
            if carrier in produced:
                produced.remove(carrier)
                self._rename(own, carrier, top)
            elif inplace and any(carrier in node.output for node in self.nodes):
                self._rename(self.nodes, carrier, top)
            else:
                self.aliases[top] = carrier
        for node in own:
            last = bool(tops) and tops[0] in node.output
            node.name = self._unique_node(self._layer if last else f"{self._layer}/{node.op_type}")

    def resolve(self, name: str) -> str:
        """The tensor that carries a blob's values, behind any alias."""
        while name in self.aliases:
            name = self.aliases[name]
        return name

    def prune(self, outputs: Iterable[str]) -> set[str]:
        """Drop the nodes that nothing needs; the names of every tensor that is still read."""
        needed = set(outputs)
        kept: list[onnx.NodeProto] = []
        for node in reversed(self.nodes):
            if not needed.isdisjoint(node.output):
                kept.append(node)
                needed.update(_reads(node))
        self.nodes = kept[::-1]
        return needed

    # -- inside ------------------------------------------------------------------------------

    def _add(
        self,
        op: str,
        inputs: Sequence[str | AnyArray | None],
        outputs: int,
        attributes: dict[str, Any],
    ) -> Any:
        from onnx import helper, numpy_helper

        names = []
        for x in inputs:
            name = "" if x is None else self.resolve(x) if isinstance(x, str) else self.constant(x)
            if name in self._params:
                self.arrays[name] = self._params[name]
            names.append(name)
        while names and not names[-1]:
            names.pop()
        made = [self._names.unique(f"{self._layer}/{op}") for _ in range(outputs)]
        given: dict[str, Any] = {
            key: numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
            for key, value in attributes.items()
            if value is not None
        }
        self.nodes.append(helper.make_node(op, names, made, **given))
        return made[0] if outputs == 1 else tuple(made)

    def _rename(self, nodes: Sequence[onnx.NodeProto], old: str, new: str) -> None:
        for node in nodes:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    if name == old:
                        names[i] = new
        self.aliases[old] = new

    def _unique_node(self, name: str) -> str:
        return self._names.unique(f"node:{name}").removeprefix("node:")


def _reads(node: onnx.NodeProto) -> set[str]:
    """What a node reads, and the nodes of its subgraphs."""
    inner = (_reads(part) for attribute in node.attribute for part in attribute.g.node)
    return set(node.input).union(*inner)
