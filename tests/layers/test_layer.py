"""What every layer type has from its base."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.caffe_pb2 import TEST, TRAIN, LayerParameter, PReLUParameter
from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.layers.layer import Layer
from caffe_compat.layers.registry import registry


def test_a_layer_reads_its_own_message_and_phase():
    registry()
    (cls,) = registry()["PReLU"]
    param = PReLUParameter(channel_shared=True)
    made = cls(LayerParameter(name="p", type="PReLU", phase=TRAIN, prelu_param=param))
    assert (made.name, made.train, made.p.channel_shared) == ("p", True, True)
    assert not cls(LayerParameter(phase=TEST)).train


def test_what_a_type_leaves_out():
    bare = Layer(LayerParameter())
    assert bare.shapes((2, 3)) == [(2, 3)]
    assert bare.blobs((2, 3)) == []
    assert bare.feeds() == ()
    for method, words in (
        (bare.forward, "no numpy forward pass"),
        (bare.backward, "no backward pass"),
        (bare.lower, "no ONNX form"),
    ):
        with pytest.raises(UnsupportedError, match=words):
            method(np.zeros(1))


def test_nan_is_refused_wherever_it_stands():
    (cls,) = registry()["PReLU"]
    proto = LayerParameter(type="PReLU")
    proto.prelu_param.filler.value = float("nan")
    with pytest.raises(ShapeError, match=r"prelu_param\.filler\.value is nan"):
        cls(proto)
