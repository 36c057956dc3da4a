"""`caffe.pycaffe`: the module from which old scripts import Net."""

from __future__ import annotations

from . import io
from .mode import NCCL, Timer
from .net import Net

__all__ = ["NCCL", "Net", "Timer", "io"]
