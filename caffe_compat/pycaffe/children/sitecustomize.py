"""Run by every Python that a process with an installed caffe starts; kept light."""

from __future__ import annotations

import importlib
import importlib.abc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


class _Waiting(importlib.abc.MetaPathFinder):
    """Installs when `caffe` is first imported, since to install loads numpy."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> Any:
        """Give way to the finder that `install` puts up."""
        if fullname.partition(".")[0] != "caffe" or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        install = importlib.import_module("caffe_compat.pycaffe.install")
        return install.finder().find_spec(fullname, path, target)


def _start() -> None:
    options = os.environ.get("CAFFE_COMPAT_PYCAFFE", "").split()
    sys.meta_path.insert(0, _Waiting())
    if options:
        importlib.import_module("caffe_compat.pycaffe.era").revive(python2="py2" in options)


def _give_way() -> None:
    """Run the sitecustomize that would have been found without this folder."""
    folder = str(Path(__file__).parent)
    own, path = sys.modules.pop("sitecustomize", None), list(sys.path)
    sys.path[:] = [entry for entry in path if entry != folder]
    try:
        importlib.import_module("sitecustomize")
    except ModuleNotFoundError:
        if own is not None:
            sys.modules["sitecustomize"] = own
    finally:
        sys.path[:] = path


_start()
_give_way()
