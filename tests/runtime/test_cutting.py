"""A model cut at the blobs of a net."""

from __future__ import annotations

import numpy as np

from caffe_compat.onnx.lowering import lower
from caffe_compat.runtime.cutting import REFERENCE, cut, number_type
from caffe_compat.runtime.float16 import to_float16
from caffe_compat.runtime.session import Session

from ..cases import feed


def shapes_of(net):
    return {value.name: value.shape for value in net.graph.values}


def test_every_layer_reads_what_is_fed(net):
    parts = Session(cut(lower(net), shapes_of(net), ["data"]), "cpu")
    zeros = {name: np.zeros(shape, np.float32) for name, shape in parts.inputs.items()}
    values = net.run(feed(net))
    feeds = {**zeros, "data": values["data"], f"conv1{REFERENCE}": values["conv1"]}
    outputs = parts.run(feeds)
    np.testing.assert_allclose(outputs["fc"], values["fc"], atol=1e-5)
    assert outputs["prob"].std() == 0  # of the zeros that stand for fc, not of fc


def test_float16_computes_in_float16(net):
    half = to_float16(lower(net))
    assert number_type(half) == "float16"
    assert number_type(lower(net)) == "float32"
    parts = Session(cut(half, shapes_of(net), ["data"]), "cpu")
    assert parts.dtypes[f"conv1{REFERENCE}"] == np.float16
