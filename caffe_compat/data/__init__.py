"""What Caffe's data layers read: databases, lists of images, HDF5, windows, arrays.

>>> for batch in caffe_compat.data.batches("train_val.prototxt", phase="TRAIN", seed=1701):
...     batch["data"]
"""

from __future__ import annotations

from .iterator import Batches
from .reading import batches, shapes

__all__ = ["Batches", "batches", "shapes"]
