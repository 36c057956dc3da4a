"""ONNX nodes as the nodes of a torch.fx graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import fx, nn

from ..errors import UnsupportedError
from ..types import AnyArray
from .operators import DEVICE, FLOATS, OPERATORS, SIZE_OPERATORS, SIZES, known_options
from .scan import Scan

# What a tensor's name stands for: a node of the graph, or an array that is the same in every run.
Known: TypeAlias = "fx.Proxy | AnyArray"


class Writer:
    """Writes one graph, node by node.

    Attributes:
        graph: the graph so far.
        root: the modules, parameters and buffers that it reads, by their path.
        values: what the names of the tensors stand for.
    """

    def __init__(self) -> None:
        self.graph = fx.Graph()
        self.root: dict[str, Any] = {}
        self.values: dict[str, Known] = {}
        self._tracer = fx.proxy.GraphAppendingTracer(self.graph)
        self._sizes: set[fx.Node] = set()  # the nodes that are sizes and not tensors
        self._first: fx.Proxy | None = None
        self._buffers: dict[int, tuple[AnyArray, fx.Proxy]] = {}  # by the identity of the array

    def input(self, tensor: str, name: str) -> None:
        """Add an argument to the function that the graph is."""
        proxy = self._proxy(self.graph.placeholder(name))
        self._first = proxy if self._first is None else self._first
        self.values[tensor] = proxy

    def read(self, path: str, tensor: torch.Tensor) -> fx.Proxy:
        """Read a parameter or a buffer of the module."""
        self.root[path] = tensor
        return self._proxy(self.graph.get_attr(path))

    def call(self, path: str, module: nn.Module, inputs: Sequence[fx.Proxy]) -> fx.Proxy:
        """Call a submodule."""
        self.root[path] = module
        return self._proxy(self.graph.call_module(path, tuple(x.node for x in inputs)))

    def tensor(self, name: str) -> fx.Proxy:
        """Return a value as a tensor; an array becomes a buffer of the module, once."""
        value = self.values[name]
        if not isinstance(value, np.ndarray):
            return value
        if id(value) not in self._buffers:
            buffer = self.read(f"constant_{len(self._buffers)}", torch.from_numpy(np.array(value)))
            self._buffers[id(value)] = (value, buffer)
        return self._buffers[id(value)][1]

    def add(self, node: onnx.NodeProto) -> None:
        """Write an ONNX node.

        Raises:
            UnsupportedError: torch has no form of it.
        """
        options = {part.name: option(part) for part in node.attribute}
        if node.op_type == "Scan":
            results: Any = self._scan(node, options)
        else:
            results = self._operator(node, options)
        names = list(node.output)
        if len(names) == 1:
            self.values[names[0]] = results
        else:
            self.values.update({name: results[i] for i, name in enumerate(names) if name})

    def _operator(self, node: onnx.NodeProto, options: dict[str, Any]) -> Any:
        name, sized = node.op_type, self._is_of_sizes(node)
        function = (SIZE_OPERATORS if sized else OPERATORS).get(name)
        if function is None:
            raise UnsupportedError(f"the ONNX operator {name} has no torch form")
        unknown = options.keys() - known_options(function)
        if unknown:
            raise UnsupportedError(f"{name}'s {sorted(unknown)[0]} has no torch form")
        if name == "MaxPool" and len(node.output) > 1:
            options["outputs"] = 2
        arguments = [self._argument(node, i, sized) for i in range(len(node.input))]
        if name == "Div" and not sized and any(_is_whole(part) for part in arguments):
            raise UnsupportedError("Div of integers has no torch form")
        if not any(isinstance(part, fx.Proxy) for part in arguments):
            return _fold(function, arguments, options)
        arguments = [
            self.tensor(name) if isinstance(part, np.ndarray) else part
            for name, part in zip(node.input, arguments, strict=True)
        ]
        if self._first is not None and (name in DEVICE or (sized and name == "Cast")):
            options["device"] = self._first.device
        sizes = (arguments[i] for i in SIZES.get(name, ()) if i < len(arguments))
        if any(isinstance(part, fx.Proxy) for part in sizes):  # known when it runs, not before
            parts, keywords = (
                tuple(map(_node, arguments)),
                {k: _node(v) for k, v in options.items()},
            )
            result = self._proxy(self.graph.call_function(function, parts, keywords))
        else:
            result = function(*arguments, **options)
        if sized and not (name == "Cast" and options["to"] in FLOATS):
            self._sizes.add(result.node)
        return result

    def _scan(self, node: onnx.NodeProto, options: dict[str, Any]) -> fx.Proxy:
        """Write a Scan as a submodule, since a graph has no loops."""
        unknown = options.keys() - {"body", "num_scan_inputs", "scan_input_axes"}
        if unknown:
            raise UnsupportedError(f"Scan's {sorted(unknown)[0]} has no torch form")
        body: onnx.GraphProto = options["body"]
        count: int = options["num_scan_inputs"]
        inner = Writer()
        for name in (value.name for value in body.input):
            inner.input(name, _identifier(name))
        own = {name for part in body.node for name in part.output} | set(inner.values)
        around = []
        for name in dict.fromkeys(name for part in body.node for name in part.input):
            if name and name not in own:
                if isinstance(self.values[name], fx.Proxy):
                    inner.input(name, _identifier(name))
                    around.append(name)
                else:
                    inner.values[name] = self.values[name]
        for part in body.node:
            inner.add(part)
        step = inner.module([value.name for value in body.output], "Step")
        axes = options.get("scan_input_axes") or (0,) * count
        scan = Scan(step, len(node.input) - count, axes)
        path = f"scan_{sum(isinstance(part, Scan) for part in self.root.values())}"
        return self.call(path, scan, [self.tensor(name) for name in (*node.input, *around)])

    @contextmanager
    def scope(self, values: Mapping[str, Known]) -> Iterator[None]:
        """Let names stand for these values, and forget inside what they and others stand for."""
        outer, self.values = self.values, dict(values)
        try:
            yield
        finally:
            self.values = outer

    def module(self, outputs: Sequence[str | None], name: str) -> fx.GraphModule:
        """Return the graph as a module that returns these tensors, a tuple of them if several."""
        nodes = tuple(output and self.tensor(output).node for output in outputs)
        self.graph.output(nodes if len(nodes) != 1 else nodes[0])
        module = fx.GraphModule(hold(self.root), self.graph, name)
        module.graph.eliminate_dead_code()
        module.recompile()
        return module

    def _is_of_sizes(self, node: onnx.NodeProto) -> bool:
        """Return whether a node computes with sizes alone."""
        if node.op_type == "Shape":
            return True
        values = [self.values[name] for name in node.input if name]
        whole = [isinstance(v, np.ndarray) and v.dtype.kind in "iub" and v.ndim < 2 for v in values]
        sized = [isinstance(v, fx.Proxy) and v.node in self._sizes for v in values]
        both = all(w or s for w, s in zip(whole, sized, strict=True))
        return both and any(sized) and node.op_type in SIZE_OPERATORS

    def _argument(self, node: onnx.NodeProto, i: int, sized: bool) -> Any:
        """Return an input as its function takes it: sizes, and a lone number, as Python's."""
        value = self.values[node.input[i]] if node.input[i] else None
        takes_sizes = (sized and node.op_type != "Shape") or i in SIZES.get(node.op_type, ())
        if isinstance(value, fx.Proxy) and takes_sizes and value.node not in self._sizes:
            raise UnsupportedError(f"{node.op_type} has sizes that are computed from data")
        if not isinstance(value, np.ndarray):
            return value
        if not value.ndim:
            return _number(value)
        return tuple(value.tolist()) if takes_sizes else value

    def _proxy(self, node: fx.Node) -> fx.Proxy:
        return fx.Proxy(node, self._tracer)


def hold(root: Mapping[str, Any]) -> nn.Module:
    """Return a module that has what a graph reads, under its paths; constants are not saved."""
    module = nn.Module()
    for path, part in root.items():
        if isinstance(part, nn.Parameter | nn.Module):
            setattr(module, path, part)
        else:
            module.register_buffer(path, part, persistent=not path.startswith("constant_"))
    return module


def _fold(function: Callable[..., Any], arguments: Sequence[Any], options: dict[str, Any]) -> Any:
    """Return the result of constants, an array or several."""
    tensors = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arguments]
    result = function(*tensors, **options)
    return (
        [np.asarray(part) for part in result] if isinstance(result, tuple) else np.asarray(result)
    )


def _is_whole(part: Any) -> bool:
    """Return whether a constant is one of integers."""
    return isinstance(part, int) or (isinstance(part, np.ndarray) and part.dtype.kind in "iu")


def _node(part: Any) -> Any:
    return part.node if isinstance(part, fx.Proxy) else part


def option(attribute: onnx.AttributeProto) -> Any:
    """Return an attribute as Python's: tuples of numbers, text, and a number of a tensor of one."""
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return _number(numpy_helper.to_array(value).reshape(-1)[0])
    if isinstance(value, float):
        return shortest(value)
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, int | onnx.GraphProto) else tuple(value)


def _number(value: Any) -> Any:
    """Return a number as Python's."""
    return shortest(value) if value.dtype == np.float32 else value.item()


def shortest(value: float) -> float:
    """Return the shortest number that is a float32: 0.1 and not 0.10000000149."""
    number = np.float32(value)
    largest = abs(number) == np.finfo(np.float32).max  # whose shortest text is beyond it
    return float(number if largest else str(number))


def _identifier(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name) or "x"
