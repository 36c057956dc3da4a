"""Our own functions and classes that a module calls, copied into its source."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any

from ..operators import OPERATORS, SIZE_OPERATORS, sizes

_OURS = __name__.partition(".")[0]
_IMPORTS = {
    "Any": "from typing import Any",
    "Callable": "from collections.abc import Callable",
    "F": "import torch.nn.functional as F",
    "Sequence": "from collections.abc import Sequence",
    "Tensor": "from torch import Tensor, nn",
    "TypeAlias": "from typing import TypeAlias",
    "math": "import math",
    "nn": "from torch import Tensor, nn",
    "operator": "import operator",
    "torch": "import torch",
}


# What a file may contain beside the net's own classes and variables.
RESERVED = {
    *OPERATORS,
    *(f"size_{name.lower()}" for name in SIZE_OPERATORS),
    *("BatchNorm", "LAYERS", "Path", "SampledDropout", "Scan", "load", "load_file"),
}


class Copies:
    """The code of a source file beside the net's own classes.

    Attributes:
        imports: the statements.
        constants: the assignments by their names, in an order in which they can run.
        definitions: the functions and classes, likewise.
    """

    def __init__(self) -> None:
        self.imports: set[str] = set()
        self.constants: dict[str, str] = {}
        self.definitions: dict[str, str] = {}

    def add(self, thing: Callable[..., Any]) -> str:
        """Copy a function or a class of this package with all that it reads; return its name."""
        thing = inspect.unwrap(thing)
        module = sys.modules[thing.__module__]
        name: str = thing.__name__
        own = f"size_{name.lower()}" if module is sizes and not name.startswith("_") else name
        if own not in self.definitions:
            text = textwrap.dedent(inspect.getsource(thing)).removeprefix("@whole\n")
            text = text.replace("UnsupportedError(", "NotImplementedError(")
            self._add_names(text, module, {name})
            text = re.sub(rf"^(def|class) {name}\b", rf"\1 {own}", text)
            self.definitions[own] = text.rstrip()
        return own

    def _add_names(self, text: str, module: ModuleType, known: set[str]) -> None:
        """Copy or import whatever a text reads of its module."""
        nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]
        for name in dict.fromkeys(node.id for node in nodes if node.id not in known):
            value = vars(module).get(name)
            if name in _IMPORTS:
                self.imports.add(_IMPORTS[name])
            elif isinstance(value, FunctionType | type) and value.__module__.startswith(_OURS):
                self.add(value)
            elif name in vars(module):
                self._add_constant(name, module)

    def _add_constant(self, name: str, module: ModuleType) -> None:
        """Copy the assignment of a constant, which another module of ours may have."""
        if name in self.constants:
            return
        text = inspect.getsource(module)
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.ImportFrom) and _binds(statement.names, name):
                origin = f"{'.' * statement.level}{statement.module}"
                self._add_constant(name, import_module(origin, module.__package__))
            elif isinstance(statement, ast.Assign | ast.AnnAssign) and _assigns(statement, name):
                assignment = ast.get_source_segment(text, statement) or ""
                self._add_names(assignment, module, {name})
                self.constants[name] = assignment


def _binds(aliases: list[ast.alias], name: str) -> bool:
    return any((alias.asname or alias.name) == name for alias in aliases)


def _assigns(statement: ast.Assign | ast.AnnAssign, name: str) -> bool:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)
