"""What Caffe's data layers read: databases, lists of images, HDF5, windows, arrays.

>>> for batch in caffe_compat.data.batches("train_val.prototxt", phase="TRAIN", seed=1701):
...     batch["data"]
"""

from __future__ import annotations

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
