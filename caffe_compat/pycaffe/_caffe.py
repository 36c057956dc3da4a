"""`caffe._caffe`: the names of pycaffe's compiled module."""

from __future__ import annotations

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
from .layer import Layer
from .layer_types import layer_type_list
from .mode import (
    NCCL,
    Timer,
    has_nccl,
    init_log,
    log,
    set_device,
    set_mode_cpu,
    set_mode_gpu,
    set_multiprocess,
    set_random_seed,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from .net import Net
from .proto.caffe_pb2 import LayerParameter, SolverParameter
from .version import __version__

__all__ = [
    "NCCL",
    "Blob",
    "BlobVec",
    "BoolVec",
    "DtypeVec",
    "IntVec",
    "Layer",
    "LayerParameter",
    "LayerVec",
    "Net",
    "NetVec",
    "RawBlobVec",
    "SolverParameter",
    "StringVec",
    "Timer",
    "__version__",
    "has_nccl",
    "init_log",
    "layer_type_list",
    "log",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
]
