"""A torch.fx graph as the statements of a function."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from ...errors import UnsupportedError
from .. import operators
from .copies import Copies
from .layout import Binary, Group, Item, lay_out, literal, tuple_of
from .names import Identifiers

_SYMBOLS: dict[Any, str] = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.truediv: "/",
    operator.floordiv: "//",
    operator.pow: "**",
    operator.gt: ">",
    operator.ge: ">=",
    operator.lt: "<",
    operator.le: "<=",
    operator.eq: "==",
}
_IMPORT = {"torch": set(), "F": {"import torch.nn.functional as F"}}
_INDENT = 8


class Code:
    """The body of a `forward`.

    Args:
        graph: what it computes.
        copies: takes the functions that it calls.
        taken: names of the file that its variables must not have.
        reads: what stands for the graph's attributes and arguments, where it is not their name.
        plain: call the arguments x, or x0, x1 and so on, as layers that are alike share a class.

    Attributes:
        arguments: the names of its arguments.
        lines: its statements.
        several: whether it returns a dict or a tuple.
    """

    def __init__(
        self,
        graph: fx.Graph,
        copies: Copies,
        taken: set[str],
        reads: Mapping[str, str],
        *,
        plain: bool = False,
    ) -> None:
        self.arguments: list[str] = []
        self.lines: list[str] = []
        self.several = False
        self._copies, self._reads = copies, reads
        self._names = Identifiers(taken)
        self._text: dict[fx.Node, str] = {}
        inputs = [n for n in graph.nodes if n.op == "placeholder" and n.name not in reads]
        for i, node in enumerate(inputs):
            own = "x" if len(inputs) == 1 else f"x{i}"
            self._text[node] = self._names.make(own if plain else node.name)
            self.arguments.append(self._text[node])
        for node in graph.nodes:
            if node not in self._text:
                self._add(node)

    def _add(self, node: fx.Node) -> None:
        if node.op == "output":
            result = node.args[0]
            self.several = not isinstance(result, fx.Node)
            self.lines += lay_out("return ", self._result(result), indent=_INDENT)
        elif node.op in ("placeholder", "get_attr"):
            self._text[node] = self._reads[str(node.target)]
        else:
            value = self._call(node)
            self._text[node] = name = self._names.make(node.name)
            self.lines += lay_out(f"{name} = ", value, indent=_INDENT)

    def _call(self, node: fx.Node) -> Item:
        """Return the expression of a call."""
        target: Any = node.target
        if node.op == "call_module":
            return self._group(f"{self._reads[target]}(", node.args, node.kwargs)
        if node.op == "call_method":
            owner, *args = node.args
            return self._group(f"{self._value(owner)}.{target}(", args, node.kwargs)
        if target is builtins.getattr:
            owner, attribute = node.args
            return f"{self._value(owner)}.{attribute}"
        if target is operator.getitem:
            owner, index = node.args
            parts = index if isinstance(index, tuple) and index else (index,)
            return Group(f"{self._value(owner)}[", [self._index(each) for each in parts], "]")
        if target is operator.neg:
            return f"-{self._value(node.args[0])}"
        if target in _SYMBOLS:
            return self._binary(_SYMBOLS[target], *node.args)
        return self._group(f"{self._function(target)}(", node.args, node.kwargs)

    def _binary(self, symbol: str, left: Any, right: Any) -> Item:
        first, second = str(self._value(left)), str(self._value(right))
        if symbol == "**" and first.startswith("-"):
            first = f"({first})"
        return Binary(first, symbol, second)

    def _function(self, target: Callable[..., Any]) -> str:
        """Return a function's name: torch's, or one of ours, copied.

        Raises:
            UnsupportedError: it is neither.
        """
        name = target.__name__
        for prefix, module in (("torch", torch), ("F", F)):
            if getattr(module, name, None) is target:
                self._copies.imports |= _IMPORT[prefix]
                return f"{prefix}.{name}"
        if target.__module__.startswith(operators.__name__):
            return self._copies.add(target)
        raise UnsupportedError(f"{target} is no function of torch's")

    def _group(self, opening: str, args: Any, kwargs: Mapping[str, Any]) -> Group:
        parts: list[Item] = [self._value(each) for each in args]
        parts += [f"{key}={self._value(value)}" for key, value in kwargs.items()]
        return Group(opening, parts, ")")

    def _result(self, result: Any) -> Item:
        if isinstance(result, dict):
            entries = [f"{literal(blob)}: {self._value(node)}" for blob, node in result.items()]
            return Group("{", entries, "}")
        return self._value(result)

    def _index(self, index: Any) -> Item:
        if not isinstance(index, slice):
            return self._value(index)
        start, stop, step = (
            "" if part is None else str(self._value(part))
            for part in (index.start, index.stop, index.step)
        )
        return f"{start}:{stop}" + (f":{step}" if step else "")

    def _value(self, value: Any) -> Item:
        """Return an argument's expression.

        Raises:
            UnsupportedError: it has none.
        """
        if isinstance(value, fx.Node):
            return self._text[value]
        if isinstance(value, str):
            return literal(value)
        if isinstance(value, tuple | list):
            parts = [self._value(each) for each in value]
            return tuple_of(parts) if isinstance(value, tuple) else Group("[", parts, "]")
        if isinstance(value, float) and not abs(value) < float("inf"):
            return f'float("{value}")'
        if isinstance(value, float):
            return str(value).replace("e+", "e")  # as formatters write it
        if value is None or isinstance(value, bool | int | torch.dtype):
            return str(value)
        if isinstance(value, torch.device):
            return f'torch.device("{value}")'
        raise UnsupportedError(f"{value!r} has no form in a source file")
