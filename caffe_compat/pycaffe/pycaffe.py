"""`caffe.pycaffe`: the module from which old scripts import Net and the solvers."""

from __future__ import annotations

import sys
from typing import Any

from . import io
from .mode import NCCL, Timer
from .net import Net

__all__ = ["NCCL", "Net", "Timer", "io"]


def __getattr__(name: str) -> Any:
    if name.endswith("Solver"):
        return getattr(sys.modules[__package__], name)
    raise AttributeError(f"module 'caffe.pycaffe' has no attribute {name!r}")
