"""Python 2 run as Python 3: translated in memory by fissix, `/` and `round` with their old meaning.

A module of the script's own is translated when it is imported; installed packages are not.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib.abc
import importlib.machinery
import re
import runpy
import sys
import sysconfig
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from .. import extras
from ..alias import Alias
from . import meaning, removed, text_keys

_OWN = {
    "cmp": meaning.cmp,
    "__py2_bound__": meaning.bound,
    "__py2_div__": meaning.div,
    "__py2_float__": meaning.float_,
    "__py2_ge__": meaning.ge,
    "__py2_gt__": meaning.gt,
    "__py2_idiv__": meaning.idiv,
    "__py2_int__": meaning.int_,
    "__py2_le__": meaning.le,
    "__py2_lt__": meaning.lt,
    "__py2_open__": meaning.open,
    "__py2_round__": meaning.round,
    "__py2_sort__": meaning.sort,
    "__py2_sorted__": meaning.sorted_,
    "__py2_str__": meaning.str_,
    "__py2_tostring__": meaning.tostring,
}


def hook() -> None:
    """Translate the modules that are imported from now on, except installed packages'."""
    vars(builtins).update(_OWN)
    for name, module in meaning.modules().items():
        sys.modules.setdefault(name, module)
    removed.patch("multiprocessing.spawn", _spawn)
    removed.patch("lmdb", text_keys.patch)
    removed.patch("tempfile", meaning.lenient_tempfile)
    removed.patch("skimage.transform", meaning.old_transforms)
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _spawn(module: Any) -> None:
    """Let a spawned child run its parent's script, which is Python 2 too."""
    module.runpy = _Runpy()


class _Runpy:
    """The functions of runpy that multiprocessing.spawn calls."""

    run_module = staticmethod(runpy.run_module)

    def run_path(self, path: str, run_name: str) -> dict[str, Any]:
        """Return the globals of a script, run under a name."""
        values: dict[str, Any] = {"__name__": run_name, "__file__": path}
        exec(compile_source(Path(path).read_bytes(), path), values)
        return values


def compile_source(data: bytes, name: str, *, in_package: bool = False) -> CodeType:
    """Compile Python 2's source, or Python 3's where it is no Python 2.

    Args:
        data: the source.
        name: the file's.
        in_package: `import x` may mean a module of the same package.

    Raises:
        SyntaxError: it is neither.
    """
    vars(builtins).update(_OWN)
    text = importlib.util.decode_source(_with_coding(data))
    tree = _translated(text, name, in_package=in_package)
    if tree is None:
        return compile(text, name, "exec", dont_inherit=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        meaningful = _OldMeaning(true_division="division" in _future(text)).visit(tree)
        return compile(ast.fix_missing_locations(meaningful), name, "exec", dont_inherit=True)


def _translated(text: str, name: str, *, in_package: bool) -> ast.Module | None:
    """Return the syntax tree of Python 2's source; None where it is Python 3 already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            text3 = _translator(in_package).refactor_string(_untabbed(text) + "\n", name)
            return ast.parse(str(text3), name)
        except Exception:  # fissix's ParseError
            return None


def _with_coding(data: bytes) -> bytes:
    """Source without a coding line is ASCII in Python 2; Latin-1 takes any byte."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        if not re.search(rb"coding[:=]", data[:200]):
            return b"# coding: latin-1\n" + data
    return data


def _untabbed(text: str) -> str:
    """Expand the tabs that indent as Python 2 reads them: up to the next column divisible by 8."""
    lines = text.splitlines(keepends=True)
    return "".join(re.sub(r"^[ \t]*", lambda found: found[0].expandtabs(8), line) for line in lines)


@functools.cache
def _translator(in_package: bool) -> Any:
    package = extras.load("fissix.refactor")
    skip = {"fix_apply", "fix_callable", "fix_sorted"} | (set() if in_package else {"fix_import"})
    imports = extras.load("fissix.fixes.fix_imports").fixes.fix_imports
    for name in meaning.modules():
        imports.MAPPING.pop(name, None)  # these are modules of their own here
    names = package.refactor.get_fixers_from_package("fissix.fixes")
    fixers = [name for name in names if name.rpartition(".")[2] not in skip]
    return package.refactor.RefactoringTool(fixers)


def _future(text: str) -> set[str]:
    found = re.findall(r"^from __future__ import (.+)$", text, re.MULTILINE)
    return {name.strip(" ()") for line in found for name in line.split(",")}


class _OldMeaning(ast.NodeTransformer):
    """Calls in the place of what Python 3 computes otherwise, or refuses to compare."""

    def __init__(self, *, true_division: bool) -> None:
        self._true_division = true_division

    def visit_Import(self, node: ast.Import) -> ast.AST:
        for alias in node.names:
            if alias.name == "pickle":
                alias.name, alias.asname = "cPickle", alias.asname or "pickle"
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.module == "pickle" and not node.level:
            node.module = "cPickle"
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Div) and not self._true_division:
            return _call("div", node, node.left, node.right)
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        name = _ORDERS.get(type(node.ops[0])) if len(node.ops) == 1 else None
        return _call(name, node, node.left, node.comparators[0]) if name else node

    def visit_Slice(self, node: ast.Slice) -> ast.AST:
        self.generic_visit(node)
        for name in ("lower", "upper", "step"):
            value = getattr(node, name)
            if value is not None and not isinstance(value, ast.Constant):
                setattr(node, name, _call("bound", value, value))
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Div) or self._true_division:
            return node
        read = ast.parse(ast.unparse(node.target), mode="eval").body
        value = _call("idiv", node, ast.copy_location(read, node), node.value)
        return ast.copy_location(ast.Assign([node.target], value), node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        func = node.func
        if isinstance(func, ast.Name) and func.id == "round":
            return _call("round", node, *node.args)
        one = len(node.args) == 1 and not node.keywords
        if isinstance(func, ast.Name) and func.id in ("float", "int", "str") and one:
            return _call(func.id, node, *node.args)
        if isinstance(func, ast.Name) and func.id in ("open", "file"):
            node.func = ast.copy_location(ast.Name("__py2_open__", ast.Load()), func)
        if isinstance(func, ast.Name) and func.id == "sorted" and _compares(node, 1):
            node.func = ast.copy_location(ast.Name("__py2_sorted__", ast.Load()), func)
        if isinstance(func, ast.Attribute) and func.attr == "sort" and _compares(node, 0):
            sort = ast.copy_location(ast.Name("__py2_sort__", ast.Load()), func)
            node.func, node.args = sort, [func.value, *node.args]
        if isinstance(func, ast.Attribute) and func.attr == "tostring" and not node.args:
            return _call("tostring", node, func.value)
        return node


def _compares(node: ast.Call, places: int) -> bool:
    """Return whether a call that sorts gives more arguments by place, or a comparison by name."""
    return len(node.args) > places or any(keyword.arg == "cmp" for keyword in node.keywords)


_ORDERS: dict[type[ast.cmpop], str] = {
    ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge",
}  # fmt: skip


def _call(name: str, at: ast.AST, *args: ast.expr) -> ast.Call:
    function = ast.Name(f"__py2_{name}__", ast.Load())
    return ast.copy_location(ast.Call(function, list(args), []), at)


_PILLOW = {"Image", "ImageDraw", "ImageFont", "ImageOps", "ImageFilter", "ImageEnhance"}


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of the script's own, and has them translated."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None and fullname in _PILLOW:
            return importlib.machinery.ModuleSpec(fullname, Alias(f"PIL.{fullname}"))
        if (
            spec is None
            or spec.origin is None
            or not isinstance(spec.loader, importlib.machinery.SourceFileLoader)
        ):
            return None
        if _installed(Path(spec.origin)):
            return None
        spec.loader = _Loader(spec.loader.name, str(spec.loader.path))
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from its translated source; no .pyc is read or written."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        in_package = "." in fullname or self.is_package(fullname)
        return compile_source(self.get_data(path), path, in_package=in_package)


@functools.cache
def _folders() -> tuple[Path, ...]:
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    own = Path(__file__).resolve().parents[2]
    return (*(Path(path).resolve() for path in paths if path), own)


def _installed(path: Path) -> bool:
    path = path.resolve()
    parts = {"site-packages", "dist-packages"}
    return (
        not parts.isdisjoint(path.parts)
        or any(path.is_relative_to(folder) for folder in _folders())
        or any(_has_packages(folder) for folder in path.parents)
    )


@functools.cache
def _has_packages(folder: Path) -> bool:
    """Return whether pip has installed packages into a folder, as `pip install --target` does."""
    return any(folder.glob("*.dist-info"))
