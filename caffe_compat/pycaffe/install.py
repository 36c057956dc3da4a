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
from .alias import Alias

OPTIONS = "CAFFE_COMPAT_PYCAFFE"  # the variable that tells children what the parent revived
_REAL = __package__ or "caffe_compat.pycaffe"
_CHILDREN = str(Path(__file__).parent / "children")


class Finder(importlib.abc.MetaPathFinder):
    """Finds `caffe` and `caffe.X` as the modules of this package.

    A module that only a fork has, as SSD's `caffe.model_libs`, is the one in the script's own
    checkout: the folder above it is on the script's path, as it had to be for that fork.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for a name under `caffe`."""
        if fullname.partition(".")[0] != "caffe":
            return None
        try:
            found = importlib.util.find_spec(_real(fullname))
        except ModuleNotFoundError:
            return None
        if found is None:
            return self._of_fork(fullname)
        package = found.submodule_search_locations is not None
        return importlib.machinery.ModuleSpec(fullname, Alias(found.name), is_package=package)

    def _of_fork(self, fullname: str) -> importlib.machinery.ModuleSpec | None:
        folders = [str(Path(entry, "caffe")) for entry in sys.path]
        specs = (
            finder.find_spec(fullname, folders) for finder in sys.meta_path if finder is not self
        )
        return next((spec for spec in specs if spec is not None), None)


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
