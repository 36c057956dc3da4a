"""Write docs/layers.md from the registry: `python docs/make_layers.py`.

Fields and operators are taken from the source, so that the page cannot drift from the code.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf import text_format

from caffe_compat.caffe_pb2 import TEST, LayerParameter, NetParameter
from caffe_compat.layers.builder import Builder
from caffe_compat.layers.layer import Layer
from caffe_compat.layers.registry import built_in, registry
from caffe_compat.net.build import create
from caffe_compat.onnx.opsets import OPSETS
from caffe_compat.prototxt.phase import select

PAGE = Path(__file__).with_name("layers.md")
GOLDEN = PAGE.parents[1] / "tests" / "golden"
HEAD = f"""# Layers

<!-- Written by `python docs/make_layers.py`; a test compares it with the code. -->

All layer types of caffe_compat: formula and source, the fields that configure them, the ONNX
operators that the lowering may use (one case needs only some of them), and the cases that are
refused. All operators are of the default domain, in opsets {OPSETS[0]} to {OPSETS[-1]}; passes over
the lowered graph may merge them. "-" under ONNX: the layer vanishes, is an input of the net, or
becomes a constant; a loss or an evaluation without a form is left out of a file where nothing reads
its tops. "backward": numpy computes the gradients too. "in place" is Caffe's gradient
where the layer has overwritten its bottom: `import caffe` and the training in numpy follow it
where they can, and refuse it otherwise; `Net.backward` and PyTorch return the derivative. "NaN" is
said where Caffe's comparisons with NaN give a number. "selected by": the fields of one fork alone,
which select its definition. "recorded": a test compares all engines with numbers that this
repository's own source of the layer computed; what differs is said with the case, in
tests/golden/README.md. "by reading alone": no build of the fork and no recorded answer was
compared. Any other type is refused by name.

"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")


def page() -> str:
    """Return the page's text."""
    every = {cls: None for known in registry().values() for cls in known}
    every.update(dict.fromkeys(built_in.values()))
    classes = [cls for cls in every if cls.__module__.startswith("caffe_compat.")]
    bvlc = sorted((c for c in classes if not _origins(c)), key=lambda c: c.type)
    forks = sorted((c for c in classes if _origins(c)), key=lambda c: (c.type, c.fork or ""))
    recorded = _recordings()
    entries = {cls: _entry(cls, sorted(recorded.get(cls, ()))) for cls in [*bvlc, *forks]}
    parts = [HEAD, "## BVLC Caffe\n\n", *(entries[cls] for cls in bvlc)]
    parts += ["## Forks\n\n", *(entries[cls] for cls in forks)]
    return "".join(parts).rstrip() + "\n"


def _recordings() -> dict[type[Layer], set[str]]:
    """Return the repositories whose own source computed a recorded case of each class."""
    recorded: dict[type[Layer], set[str]] = {}
    for line in (GOLDEN / "fork_cases.txt").read_text("utf-8").splitlines():
        name, repository = line.split()
        folder = GOLDEN / "layers_forks" / name
        fork = folder / "fork.txt"
        net = text_format.Parse((folder / "net.prototxt").read_text("utf-8"), NetParameter())
        layers = create(select(net, TEST), fork.read_text().strip() if fork.exists() else None)
        for one in layers:
            recorded.setdefault(type(one), set()).add(repository)
    return recorded


def _origins(cls: type[Layer]) -> list[str]:
    """Return the forks that a type comes from; none for BVLC's own."""
    return _lines(cls, "From")


def _summary(cls: type[Layer]) -> str:
    text = inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0]
    return " ".join(text.split())


def _entry(cls: type[Layer], recorded: list[str]) -> str:
    lines = [f"### {', '.join(cls.types)}{f' ({cls.fork})' if cls.fork else ''}", "", _summary(cls)]
    lines.append("")
    lines += [f"- from: {text}" for text in _origins(cls)]
    if recorded and cls.type != "Input":
        fields = "" if _origins(cls) else "fields of "
        lines.append(f"- recorded: {fields}{', '.join(recorded)}")
    if cls.fields:
        lines.append(f"- selected by: {', '.join(f'`{field}`' for field in cls.fields)}")
    lines.append(f"- parameters: {', '.join(_parameters(cls)) or 'none'}")
    operators = sorted(set(_operators(cls)))
    none = "none; a file goes without it" if cls.evaluates else "none" if cls.prepares else "-"
    lines.append(f"- ONNX: {', '.join(operators) or none}")
    if cls.backward is not Layer.backward:
        lines.append("- backward")
    lines += [f"- NaN: {text}" for text in _lines(cls, "NaN")]
    lines += [f"- in place: {text}" for text in _lines(cls, "In place")]
    lines += [f"- refused: {text}" for text in _lines(cls, "Refused")]
    lines += [f"- not exact: {text}" for text in _lines(cls, "Not exact")]
    return "\n".join(lines) + "\n\n"


def _lines(cls: type[Layer], key: str) -> list[str]:
    """Return the texts behind `key: ` in the docstring, each with its indented further lines."""
    doc = inspect.cleandoc(cls.__doc__ or "")
    texts = re.finditer(rf"^{key}: (.*(?:\n[ \t]+.*)*)", doc, re.MULTILINE)
    return [" ".join(one[1].split()) for one in texts]


def _parameters(cls: type[Layer]) -> Iterator[str]:
    """Yield its parameter messages, each with the fields that its source names."""
    trees = list(_reached(cls, [name for name in dir(cls) if callable(getattr(cls, name))]))
    fields = LayerParameter.DESCRIPTOR.fields_by_name
    named = {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("proto")
    }
    for param in dict.fromkeys([cls.param, *sorted(named)]):
        if param in fields and fields[param].message_type:
            known = set(fields[param].message_type.fields_by_name)
            names = sorted({name for tree in trees for name in _fields(tree, known)})
            yield f"`{param}` {{ {', '.join(names)} }}" if names else f"`{param}`"


def _fields(tree: ast.AST, known: set[str]) -> Iterator[str]:
    """Yield the fields that a source names, also as f"{field}_h"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in known:
            yield node.attr
        elif isinstance(node, ast.Constant) and node.value in known:
            yield str(node.value)
        elif isinstance(node, ast.JoinedStr) and isinstance(node.values[-1], ast.Constant):
            end = str(node.values[-1].value)
            stems = known | {name.removesuffix("_size") for name in known}
            yield from (name for name in known if name.removesuffix(end) in stems - {name})


def _operators(cls: type[Layer]) -> Iterator[str]:
    """Yield the ONNX operators that a class's lowering may add, by its source."""
    for tree in _reached(cls, ["lower"]):
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "g":
                yield from [node.attr] if node.attr[0].isupper() else _of_builder(node.attr)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
                yield from _named(cls, node.args[1])


def _of_builder(method: str) -> Iterator[str]:
    """Yield the operators that a method of the Builder adds."""
    function = vars(Builder).get(method)
    source = inspect.getsource(function) if inspect.isfunction(function) else ""
    yield from re.findall(r"\bself\.([A-Z]\w*)\(", source)


def _named(cls: type[Layer], expression: ast.expr) -> Iterator[str]:
    """Yield the operators of getattr(g, ...): a class attribute, or the texts in the expression."""
    if isinstance(expression, ast.Attribute):
        yield str(getattr(cls, expression.attr))
    for node in ast.walk(expression):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and text[:1].isupper():
            yield text


def _reached(cls: type[Layer], methods: list[str]) -> Iterator[ast.AST]:
    """Yield the source of those methods and of all in layers/ that they call, each once."""
    todo = [(cls, getattr(cls, name)) for name in methods]
    seen: set[object] = set()
    while todo:
        owner, function = todo.pop()
        function = inspect.unwrap(function)
        module = inspect.getmodule(function)
        if not inspect.isfunction(function) or module is None or (owner, function) in seen:
            continue
        if not module.__name__.startswith("caffe_compat.layers"):
            continue
        seen.add((owner, function))
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        yield tree
        todo += _called(owner, module, tree)


def _called(
    cls: type[Layer], module: ModuleType, tree: ast.AST
) -> Iterator[tuple[type[Layer], Any]]:
    """Yield the functions that a method calls, and the same methods of layers that it builds."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            value = getattr(module, node.id, None)
            if inspect.isclass(value) and issubclass(value, Layer) and value is not Layer:
                yield from ((value, getattr(value, name)) for name in ("shapes", "lower"))
            yield cls, value
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "super()":
            yield from ((cls, vars(base).get(node.attr)) for base in cls.__mro__)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self":
            value = inspect.getattr_static(cls, node.attr, None)
            yield cls, value.fget if isinstance(value, property) else value
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            home = getattr(module, node.value.id, None)
            if inspect.ismodule(home):
                yield cls, getattr(home, node.attr, None)


if __name__ == "__main__":
    main()
