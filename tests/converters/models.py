"""Models for the tests of the command line, and how to read its error."""

from __future__ import annotations

import numpy as np

from caffe_compat.images import reader
from caffe_compat.net.preprocess import Preprocess

from ..cases import GOLDEN

NET = """
name: "small"
input: "data" input_shape { dim: 2 dim: 3 dim: 8 dim: 9 }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 5 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "relu1" type: "PReLU" bottom: "conv1" top: "conv1" param { decay_mult: 0 } }
layer { name: "fc" type: "InnerProduct" bottom: "conv1" top: "fc"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "fc" top: "fc" include { phase: TRAIN } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""

CIFAR = GOLDEN / "models" / "cifar10_quick"
LABELS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
MODEL = (CIFAR / "net.prototxt", "--weights", CIFAR / "weights.caffemodel.h5")
CONVERT = (CIFAR / "net.prototxt", CIFAR / "weights.caffemodel.h5")
PREP = Preprocess(mean=(125, 123, 114))


def error(result):
    status, out, err = result
    assert status == 1
    assert out == ""
    beside = ("note:", "warning:", "try:")
    lines = [line for line in err.splitlines() if not line.startswith(beside)]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]


def blobs(session, path):
    outputs = session.run({"data": PREP(reader.read(path), (1, 3, 32, 32))[np.newaxis]})
    return {name: array[0] for name, array in outputs.items()}
