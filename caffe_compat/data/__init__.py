"""What Caffe's data layers read: databases, lists of images, HDF5, windows, arrays.

>>> for batch in caffe_compat.data.batches("train_val.prototxt", phase="TRAIN", seed=1701):
...     batch["data"]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .features import extract_features
    from .imageset import Converted, ImageOptions, convert_imageset
    from .iterator import Batches
    from .mean import Mean, compute_image_mean, write_mean
    from .reading import batches, shapes
    from .summary import Summary, contact_sheet, summarize

__all__ = [
    "Batches",
    "Converted",
    "ImageOptions",
    "Mean",
    "Summary",
    "batches",
    "compute_image_mean",
    "contact_sheet",
    "convert_imageset",
    "extract_features",
    "shapes",
    "summarize",
    "write_mean",
]

# Names are imported when first used, since some of their modules load onnx.
_HOMES = {
    "features": "extract_features",
    "imageset": "Converted ImageOptions convert_imageset",
    "iterator": "Batches",
    "mean": "Mean compute_image_mean write_mean",
    "reading": "batches shapes",
    "summary": "Summary contact_sheet summarize",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'caffe_compat.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return list(__all__)
