"""Caffe models without Caffe.

>>> net = caffe_compat.load("net.prototxt", "net.caffemodel")
>>> caffe_compat.to_onnx(net, "net.onnx")
>>> outputs = caffe_compat.Session("net.onnx").run({"data": array})
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import (
        CaffeCompatError,
        DeviceError,
        ParseError,
        ShapeError,
        UnsupportedError,
        WeightsError,
    )
    from .layers.layer import Layer
    from .layers.registry import register
    from .net.net import Net
    from .net.preprocess import Preprocess
    from .pipeline import convert, load, read, save, to_onnx
    from .runtime.session import Session
    from .runtime.verification import verify

__version__ = "0.1.0"
__all__ = [
    "CaffeCompatError",
    "DeviceError",
    "Layer",
    "Net",
    "ParseError",
    "Preprocess",
    "Session",
    "ShapeError",
    "UnsupportedError",
    "WeightsError",
    "convert",
    "load",
    "read",
    "register",
    "save",
    "to_onnx",
    "verify",
]
# Names are imported when first used, so that the command line answers at once.
_HOMES = {
    "errors": (
        "CaffeCompatError",
        "DeviceError",
        "ParseError",
        "ShapeError",
        "UnsupportedError",
        "WeightsError",
    ),
    "layers.layer": ("Layer",),
    "layers.registry": ("register",),
    "net.net": ("Net",),
    "net.preprocess": ("Preprocess",),
    "pipeline": ("convert", "load", "read", "save", "to_onnx"),
    "runtime.session": ("Session",),
    "runtime.verification": ("verify",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'caffe_compat' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
