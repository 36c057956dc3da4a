"""`import caffe` without Caffe: pycaffe's Python interface on this package.

>>> import caffe_compat.pycaffe as caffe
>>> net = caffe.Net("deploy.prototxt", caffe.TEST, weights="net.caffemodel")
>>> net.blobs["data"].data[...] = image
>>> net.forward()["prob"]

`install()` makes `import caffe` mean this package in the process, and
`python -m caffe_compat.pycaffe script.py` runs an unchanged script so.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .layer import Layer
from .layer_types import layer_type_list
from .mode import (
    NCCL,
    TEST,
    TRAIN,
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
    use_fork,
)
from .net import Net
from .version import __version__

if TYPE_CHECKING:
    from . import io, proto
    from .classifier import Classifier
    from .detector import Detector
    from .install import install
    from .net_spec import NetSpec, layers, params, to_proto
    from .solver import (
        AdaDeltaSolver,
        AdaGradSolver,
        AdamSolver,
        NesterovSolver,
        RMSPropSolver,
        SGDSolver,
        get_solver,
    )

__all__ = [
    "NCCL",
    "TEST",
    "TRAIN",
    "AdaDeltaSolver",
    "AdaGradSolver",
    "AdamSolver",
    "Classifier",
    "Detector",
    "Layer",
    "NesterovSolver",
    "Net",
    "NetSpec",
    "RMSPropSolver",
    "SGDSolver",
    "Timer",
    "__version__",
    "get_solver",
    "has_nccl",
    "init_log",
    "install",
    "io",
    "layer_type_list",
    "layers",
    "log",
    "params",
    "proto",
    "set_device",
    "set_mode_cpu",
    "set_mode_gpu",
    "set_multiprocess",
    "set_random_seed",
    "set_solver_count",
    "set_solver_rank",
    "solver_count",
    "solver_rank",
    "to_proto",
    "use_fork",
]

# Imported when first used: the schema's second pool, scikit-image and onnxruntime take their time.
_MODULES = (
    "_caffe", "classifier", "coord_map", "detector", "draw", "io", "net_spec", "proto", "pycaffe",
)  # fmt: skip
_HOMES = {
    "classifier": ("Classifier",),
    "detector": ("Detector",),
    "install": ("install",),
    "net_spec": ("NetSpec", "layers", "params", "to_proto"),
    "solver": (
        "AdaDeltaSolver",
        "AdaGradSolver",
        "AdamSolver",
        "NesterovSolver",
        "RMSPropSolver",
        "SGDSolver",
        "get_solver",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _HOME:
        return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module 'caffe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
