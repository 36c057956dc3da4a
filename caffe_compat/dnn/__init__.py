"""cv2.dnn for Caffe models, which OpenCV 5 no longer reads: the same names, run by onnxruntime.

>>> from caffe_compat import dnn            # was: from cv2 import dnn
>>> net = dnn.readNetFromCaffe("deploy.prototxt", "net.caffemodel")
>>> net.setInput(dnn.blobFromImage(image, 1.0, (300, 300), (104, 177, 123)))
>>> detections = net.forward()

Everything here behaves as in OpenCV 4.14: its layer names and numbers, its blobs bit for bit, its
shapes; the numbers are Caffe's. Errors are this package's.
"""

from __future__ import annotations

from ..images.blob_images import NMSBoxes, blobFromImage, blobFromImages
from .constants import *  # noqa: F403  OpenCV has its constants beside its functions
from .layers import Layer
from .net import Net
from .reader import readNet, readNetFromCaffe

__all__ = [
    "Layer",
    "NMSBoxes",
    "Net",
    "blobFromImage",
    "blobFromImages",
    "readNet",
    "readNetFromCaffe",
]
