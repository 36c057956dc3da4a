"""Modules that are imported under another name than their own."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
from types import ModuleType


class Alias(importlib.abc.Loader):
    """A loader that hands out a module of another name, as it is.

    Args:
        real: the module's own name.
    """

    def __init__(self, real: str) -> None:
        self._real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Return the module."""
        module = importlib.import_module(self._real)
        spec.loader_state = (module.__spec__, getattr(module, "__loader__", None))
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec back, which the import system has just replaced."""
        spec = module.__spec__
        if spec is not None and spec.loader_state is not None:
            module.__spec__, module.__loader__ = spec.loader_state
