"""Caffe models without Caffe.

>>> net = caffe_compat.load("net.prototxt", "net.caffemodel")
>>> caffe_compat.to_onnx(net, "net.onnx")
>>> outputs = caffe_compat.Session("net.onnx").run({"data": array})
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import caffe_pb2, data, dnn, doctor, plugin, training
    from .doctor import Diagnosis, diagnose, examine
    from .errors import (
        CaffeCompatError,
        DeviceError,
        ParseError,
        ShapeError,
        UnsupportedError,
        WeightsError,
    )
    from .images.answers import Answer, answer
    from .images.decode import read_labels
    from .images.drawing import Drawings, draw
    from .images.explain import Explanation, draw_heat, explain
    from .images.features import Features
    from .images.prediction import predict
    from .images.predictor import Predictor
    from .images.preprocessing import choose as choose_preprocess
    from .images.reader import find as find_images
    from .images.reader import read as read_image
    from .images.recipe import Recipe
    from .images.tiles import show_filters, show_maps, show_slopes
    from .images.triton import export as export_triton
    from .images.web import export as export_web
    from .layers.builder import Builder
    from .layers.layer import Blob, Layer
    from .layers.registry import layer, register
    from .net.filler_summary import summarize_fillers
    from .net.fold import fold_batchnorm
    from .net.graph import Graph
    from .net.net import Net
    from .net.preprocess import PRESETS, Preprocess
    from .net.preprocess import from_prototxt as read_preprocess
    from .net.preprocess import mean_array as read_mean
    from .net.slopes import decayed as decayed_slopes
    from .net.slopes import resolve as resolve_slopes
    from .net.stock import save_stock
    from .net.summary import summarize
    from .onnx.costs import Costs, costs
    from .onnx.lowering import Lowered
    from .onnx.passes.bake import bake
    from .options import Filling, Onnx, Reading
    from .pages.net_page import net_page
    from .pipeline import convert, fill, load, lower, read, save, to_onnx
    from .runtime.calibration import calibrate
    from .runtime.float16 import to_float16
    from .runtime.int8 import coordinate_layers, to_int8
    from .runtime.parity import Parity, measure_parity
    from .runtime.session import Session
    from .runtime.verification import verify
    from .torch import to_torch
    from .training.feeding import Rows
    from .training.solver import Solver
    from .types import Array, Shape
    from .upgrading import upgrade
    from .weights import read as read_weights
    from .weights.trained import Weights

__version__ = "0.1.0"
__all__ = [
    "PRESETS",
    "Answer",
    "Array",
    "Blob",
    "Builder",
    "CaffeCompatError",
    "Costs",
    "DeviceError",
    "Diagnosis",
    "Drawings",
    "Explanation",
    "Features",
    "Filling",
    "Graph",
    "Layer",
    "Lowered",
    "Net",
    "Onnx",
    "Parity",
    "ParseError",
    "Predictor",
    "Preprocess",
    "Reading",
    "Recipe",
    "Rows",
    "Session",
    "Shape",
    "ShapeError",
    "Solver",
    "UnsupportedError",
    "Weights",
    "WeightsError",
    "answer",
    "bake",
    "caffe_pb2",
    "calibrate",
    "choose_preprocess",
    "convert",
    "coordinate_layers",
    "costs",
    "data",
    "decayed_slopes",
    "diagnose",
    "dnn",
    "doctor",
    "draw",
    "draw_heat",
    "examine",
    "explain",
    "export_triton",
    "export_web",
    "fill",
    "find_images",
    "fold_batchnorm",
    "layer",
    "load",
    "lower",
    "measure_parity",
    "net_page",
    "plugin",
    "predict",
    "read",
    "read_image",
    "read_labels",
    "read_mean",
    "read_preprocess",
    "read_weights",
    "register",
    "resolve_slopes",
    "save",
    "save_stock",
    "show_filters",
    "show_maps",
    "show_slopes",
    "summarize",
    "summarize_fillers",
    "to_float16",
    "to_int8",
    "to_onnx",
    "to_torch",
    "training",
    "upgrade",
    "verify",
]

# Names are imported when first used, so that the command line answers at once: the homes of each
# (`public=name` where the home calls it by another name), and the public modules.
_HOMES = {
    "doctor": "Diagnosis diagnose examine",
    "errors": "CaffeCompatError DeviceError ParseError ShapeError UnsupportedError WeightsError",
    "images.answers": "Answer answer",
    "images.decode": "read_labels",
    "images.drawing": "Drawings draw",
    "images.explain": "Explanation draw_heat explain",
    "images.features": "Features",
    "images.prediction": "predict",
    "images.predictor": "Predictor",
    "images.preprocessing": "choose_preprocess=choose",
    "images.reader": "find_images=find read_image=read",
    "images.recipe": "Recipe",
    "images.triton": "export_triton=export",
    "images.web": "export_web=export",
    "layers.builder": "Builder",
    "layers.layer": "Blob Layer",
    "layers.registry": "layer register",
    "net.fold": "fold_batchnorm",
    "net.graph": "Graph",
    "net.net": "Net",
    "net.preprocess": "PRESETS Preprocess read_mean=mean_array read_preprocess=from_prototxt",
    "net.slopes": "decayed_slopes=decayed resolve_slopes=resolve",
    "net.stock": "save_stock",
    "net.filler_summary": "summarize_fillers",
    "net.summary": "summarize",
    "images.tiles": "show_filters show_maps show_slopes",
    "onnx.costs": "Costs costs",
    "onnx.lowering": "Lowered",
    "onnx.passes.bake": "bake",
    "options": "Filling Onnx Reading",
    "pages.net_page": "net_page",
    "pipeline": "convert fill load lower read save to_onnx",
    "runtime.calibration": "calibrate",
    "runtime.float16": "to_float16",
    "runtime.int8": "coordinate_layers to_int8",
    "runtime.parity": "Parity measure_parity",
    "runtime.session": "Session",
    "runtime.verification": "verify",
    "training.feeding": "Rows",
    "training.solver": "Solver",
    "torch": "to_torch",
    "types": "Array Shape",
    "upgrading": "upgrade",
    "weights": "read_weights=read",
    "weights.trained": "Weights",
}
_MODULES = ("caffe_pb2", "data", "dnn", "doctor", "plugin", "training")
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
