"""A net's modules as Python classes and the calls that make them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx, nn

from ...errors import UnsupportedError
from ..batch_norm import BatchNorm
from ..layers import CaffeLayer, Dropout, SampledDropout
from ..scan import Scan
from .code import Code
from .copies import RESERVED, Copies
from .layout import Group, Item, lay_out, literal, tuple_of
from .names import Identifiers

_ATTRIBUTES = {*dir(nn.Module()), "forward", "in_test", "in_train"}


@dataclass
class Instance:
    """A module's place in a class.

    Attributes:
        call: the expression that makes it.
        tensors: its parameters and buffers by their keys in it.
    """

    call: Item
    tensors: dict[str, Tensor] = field(default_factory=dict)


class Classes:
    """The classes of one source file.

    Attributes:
        texts: their lines, by name, each behind those that it uses.
        copies: what they call beside torch.
    """

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.copies = Copies()
        self.taken = set(RESERVED)
        self._names = Identifiers(self.taken)
        self._bodies: dict[tuple[str, ...], str] = {}

    def name(self, wish: str) -> str:
        """Return a class's name that nothing else in the file has."""
        name = self._names.make(wish)
        self.taken.add(name)
        return name

    def instance(self, module: nn.Module, *, called: bool = True) -> Instance:
        """Return the call that makes a module, and write its class if it is not torch's.

        Args:
            module: the module.
            called: whether anything calls it; else its parameters are all that is used.

        Raises:
            UnsupportedError: it is neither of torch's modules nor a graph.
        """
        tensors = dict(module.state_dict(keep_vars=True))
        if isinstance(module, Dropout) and module.samples:
            self.copies.add(SampledDropout)
            return Instance(_call(SampledDropout(module.p)))
        if isinstance(module, Dropout):
            return Instance(_call(nn.Dropout(module.p), "nn."))
        if isinstance(module, BatchNorm):
            self.copies.add(BatchNorm)
            return Instance(_call(module), tensors)
        if isinstance(module, Scan):
            return self._scan(module)
        if isinstance(module, CaffeLayer):
            return self._layer(module)
        if isinstance(module, fx.GraphModule):
            return self._graph(module, type(module).__name__, {}, called=called)
        if getattr(nn, type(module).__name__, None) is type(module):
            return Instance(_call(module, "nn."), tensors)
        raise UnsupportedError(f"{type(module).__name__} is no module of torch's")

    def _scan(self, scan: Scan) -> Instance:
        self.copies.add(Scan)
        step = self.instance(scan.step)
        axes = tuple_of([str(axis) for axis in scan.axes])
        return Instance(
            Group("Scan(", [step.call, str(scan.states), axes], ")"),
            {f"step.{key}": tensor for key, tensor in step.tensors.items()},
        )

    def _layer(self, layer: CaffeLayer) -> Instance:
        """Write a layer's TEST form, whose last arguments are the layer's blobs."""
        form = layer.in_test
        assert isinstance(form, fx.GraphModule)
        own = layer.blobs()
        arguments = [node.name for node in form.graph.nodes if node.op == "placeholder"]
        places = dict(zip(arguments[len(arguments) - len(own) :], own.items(), strict=True))
        return self._graph(form, layer.extra_repr(), places, test_only=layer.differs)

    def _graph(
        self,
        module: fx.GraphModule,
        kind: str,
        blobs: Mapping[str, tuple[str, Tensor]],
        *,
        test_only: bool = False,
        called: bool = True,
    ) -> Instance:
        """Write a class for a graph, or find one that is the same except for the shapes.

        Args:
            module: the graph.
            kind: what the class is called after.
            blobs: of the arguments that are parameters or buffers instead, their names and values.
            test_only: whether the layer is another one in training.
            called: as for `instance`.
        """
        names = Identifiers(_ATTRIBUTES)
        reads: dict[str, str] = {}
        init: list[str] = []
        tensors: dict[str, Tensor] = {}
        shapes: dict[str, Item] = {}
        own = {**blobs, **{path: (path, tensor) for path, tensor in _tensors(module).items()}}
        for read, (path, tensor) in own.items():
            name = names.make(path)
            reads[read], tensors[name], shapes[name] = f"self.{name}", tensor, shape_of(tensor)
            init += declare(name, tensor, name)
        for path, child in module.named_children():
            name, inner = names.make(path), self.instance(child)
            reads[path] = f"self.{name}"
            init += lay_out(f"self.{name} = ", inner.call, indent=8)
            tensors |= {f"{name}.{key}": tensor for key, tensor in inner.tensors.items()}
        body = _init(list(shapes), init)
        if called:
            code = Code(module.graph, self.copies, self.taken, reads, plain=True)
            body += [""] * bool(body) + forward(code, _IN_TEST if test_only else ())
        key = (kind, *body)
        if key not in self._bodies:
            self._bodies[key] = name = self.name(f"{kind[:20]}Layer")
            self.texts[name] = [f"class {name}(nn.Module):", *body]
        call = Group(f"{self._bodies[key]}(", [f"{n}={s}" for n, s in shapes.items()], ")")
        return Instance(call, tensors)


_IN_TEST = (
    "        if self.training:",
    '            raise NotImplementedError("train this layer with caffe_compat.to_torch")',
)


def _init(shapes: Sequence[str], statements: Sequence[str]) -> list[str]:
    """Return the lines of an `__init__`, none where it has nothing to do."""
    if not statements:
        return []
    arguments = ["self", *(f"{name}: tuple[int, ...]" for name in shapes)]
    head = lay_out("def __init__", Group("(", arguments, ")"), " -> None:", 4)
    return [*head, "        super().__init__()", *statements]


def forward(code: Code, first: Sequence[str] = ()) -> list[str]:
    """Return the lines of a `forward`."""
    arguments = ["self", *(f"{name}: Tensor" for name in code.arguments)]
    result = code.lines[-1].lstrip().removeprefix("return ")
    kind = "Tensor" if not code.several else "tuple[Tensor, ...]"
    kind = "dict[str, Tensor]" if code.several and result.startswith(("{", "}")) else kind
    head = lay_out("def forward", Group("(", arguments, ")"), f" -> {kind}:", 4)
    return [*head, *first, *code.lines]


def _tensors(module: fx.GraphModule) -> dict[str, Tensor]:
    """Return the parameters and buffers of a graph itself, constants included."""
    parameters = dict(module.named_parameters(recurse=False, remove_duplicate=False))
    return {**parameters, **dict(module.named_buffers(recurse=False))}


def declare(name: str, tensor: Tensor, shape: Item) -> list[str]:
    """Return the statement that makes a parameter or a buffer of zeros."""
    kind = "" if tensor.is_floating_point() else f", dtype={tensor.dtype}"
    zeros = f"torch.zeros({shape}{kind})"
    if isinstance(tensor, nn.Parameter):
        return lay_out(f"self.{name} = ", Group("nn.Parameter(", [zeros], ")"), indent=8)
    return lay_out("", Group("self.register_buffer(", [literal(name), zeros], ")"), indent=8)


def shape_of(tensor: Tensor) -> Item:
    """Return a tensor's shape as a tuple."""
    return tuple_of([str(n) for n in tensor.shape])


def _call(module: nn.Module, prefix: str = "") -> Group:
    """Return the call of a module's class, without what is its default."""
    parts: list[Item] = []
    for name, parameter in inspect.signature(type(module)).parameters.items():
        if name in ("device", "dtype", "args", "kwargs"):  # the last two of modules without any
            continue
        value: Any = getattr(module, name)
        value = value is not None if name == "bias" else _one(value)
        if parameter.default is parameter.empty:
            parts.append(str(value))
        elif value != _one(parameter.default):
            parts.append(f"{name}={literal(value) if isinstance(value, str) else value}")
    return Group(f"{prefix}{type(module).__name__}(", parts, ")")


def _one(value: Any) -> Any:
    """Return one number where all are the same, as people write it."""
    same = isinstance(value, tuple) and len(set(value)) == 1
    return value[0] if same else value
