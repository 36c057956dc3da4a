"""Caffe models without Caffe.

>>> net = caffe_compat.load("net.prototxt", "net.caffemodel")
>>> caffe_compat.to_onnx(net, "net.onnx")
>>> outputs = caffe_compat.Session("net.onnx").run({"data": array})
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import caffe_pb2, dnn, doctor, plugin
    from .doctor import Diagnosis, examine
    from .errors import (
        CaffeCompatError,
        DeviceError,
        ParseError,
        ShapeError,
        UnsupportedError,
        WeightsError,
    )
    from .images.drawing import draw
    from .images.features import Features
    from .images.predictor import Predictor
    from .images.triton import export as export_triton
    from .layers.builder import Builder
    from .layers.layer import Blob, Layer, layer
    from .layers.registry import register
    from .net.fold import fold_batchnorm
    from .net.graph import Graph
    from .net.net import Net
    from .net.preprocess import PRESETS, Preprocess
    from .net.preprocess import from_prototxt as read_preprocess
    from .net.preprocess import mean_array as read_mean
    from .net.slopes import decayed as decayed_slopes
    from .net.slopes import resolve as resolve_slopes
    from .net.stock import save_stock
    from .onnx.lowering import Lowered
    from .onnx.passes.bake import bake
    from .pipeline import convert, fill, load, lower, read, save, to_onnx, upgrade
    from .runtime.session import Session
    from .runtime.verification import verify
    from .types import Array, Shape
    from .weights import read as read_weights
    from .weights.trained import Weights

__version__ = "0.1.0"
__all__ = [
    "PRESETS",
    "Array",
    "Blob",
    "Builder",
    "CaffeCompatError",
    "DeviceError",
    "Diagnosis",
    "Features",
    "Graph",
    "Layer",
    "Lowered",
    "Net",
    "ParseError",
    "Predictor",
    "Preprocess",
    "Session",
    "Shape",
    "ShapeError",
    "UnsupportedError",
    "Weights",
    "WeightsError",
    "bake",
    "caffe_pb2",
    "convert",
    "decayed_slopes",
    "dnn",
    "doctor",
    "draw",
    "examine",
    "export_triton",
    "fill",
    "fold_batchnorm",
    "layer",
    "load",
    "lower",
    "plugin",
    "read",
    "read_mean",
    "read_preprocess",
    "read_weights",
    "register",
    "resolve_slopes",
    "save",
    "save_stock",
    "to_onnx",
    "upgrade",
    "verify",
]

# Names are imported when first used, so that the command line answers at once: the homes of each
# (`public=name` where the home calls it by another name), and the public modules.
_HOMES = {
    "doctor": "Diagnosis examine",
    "errors": "CaffeCompatError DeviceError ParseError ShapeError UnsupportedError WeightsError",
    "images.drawing": "draw",
    "images.features": "Features",
    "images.predictor": "Predictor",
    "images.triton": "export_triton=export",
    "layers.builder": "Builder",
    "layers.layer": "Blob Layer layer",
    "layers.registry": "register",
    "net.fold": "fold_batchnorm",
    "net.graph": "Graph",
    "net.net": "Net",
    "net.preprocess": "PRESETS Preprocess read_mean=mean_array read_preprocess=from_prototxt",
    "net.slopes": "decayed_slopes=decayed resolve_slopes=resolve",
    "net.stock": "save_stock",
    "onnx.lowering": "Lowered",
    "onnx.passes.bake": "bake",
    "pipeline": "convert fill load lower read save to_onnx upgrade",
    "runtime.session": "Session",
    "runtime.verification": "verify",
    "types": "Array Shape",
    "weights": "read_weights=read",
    "weights.trained": "Weights",
}
_MODULES = ("caffe_pb2", "dnn", "doctor", "plugin")
_HOME = {
    public: (home, name or public)
    for home, words in _HOMES.items()
    for public, _, name in (word.partition("=") for word in words.split())
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module 'caffe_compat' has no attribute {name!r}")
    home, own = _HOME[name]
    return getattr(importlib.import_module(f".{home}", __name__), own)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
