"""`import caffe` for scripts that were written for a real one."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from ..errors import CaffeCompatError

OPTIONS = "CAFFE_COMPAT_PYCAFFE"  # the variable that tells children what the parent revived
_REAL = __package__ or "caffe_compat.pycaffe"
_CHILDREN = str(Path(__file__).parent / "children")


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `caffe` and `caffe.X` as the modules of this package."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for a name under `caffe` that this package has."""
        if fullname.partition(".")[0] != "caffe":
            return None
        try:
            found = importlib.util.find_spec(_real(fullname))
        except ModuleNotFoundError:
            return None
        if found is None:
            return None
        package = found.submodule_search_locations is not None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=package)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Return the package's own module."""
        module = importlib.import_module(_real(spec.name))
        spec.loader_state = (module.__spec__, getattr(module, "__loader__", None))
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec back, which the import system has just replaced."""
        spec = module.__spec__
        if spec is not None and spec.loader_state is not None:
            module.__spec__, module.__loader__ = spec.loader_state


def _real(name: str) -> str:
    return _REAL + name.removeprefix("caffe")


def finder() -> Finder:
    """Return the finder, put up before all others."""
    for present in sys.meta_path:
        if isinstance(present, Finder):
            return present
    own = Finder()
    sys.meta_path.insert(0, own)
    return own


def install() -> None:
    """Make `import caffe` mean this package, here and in the Pythons that this process starts.

    Raises:
        CaffeCompatError: a real caffe was imported before.
    """
    present = sys.modules.get("caffe")
    if present is not None and present is not sys.modules[_REAL]:
        where = getattr(present, "__file__", None) or "this process"
        raise CaffeCompatError(
            f"a caffe is imported already, from {where}; call install() before `import caffe`"
        )
    finder()
    importlib.import_module("caffe")
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if _CHILDREN not in entries:
        os.environ["PYTHONPATH"] = os.pathsep.join([_CHILDREN, *entries])
