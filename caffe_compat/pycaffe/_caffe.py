"""`caffe._caffe`: the names of pycaffe's compiled module.

Those that the package has too are the package's; here are the others.
"""

from __future__ import annotations

import sys
from typing import Any

from .blob import (
    Blob,
    BlobVec,
    BoolVec,
    DtypeVec,
    IntVec,
    LayerVec,
    NetVec,
    RawBlobVec,
    StringVec,
)
from .proto.caffe_pb2 import LayerParameter, SolverParameter

__all__ = [
    "Blob",
    "BlobVec",
    "BoolVec",
    "DtypeVec",
    "IntVec",
    "LayerParameter",
    "LayerVec",
    "NetVec",
    "RawBlobVec",
    "SolverParameter",
    "StringVec",
]


def __getattr__(name: str) -> Any:
    if name == "Solver":
        from .solver import Solver

        return Solver
    return getattr(sys.modules[__package__], name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(sys.modules[__package__])})
