"""What every layer type has from its base, and its registration."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.caffe_pb2 import TEST, TRAIN, LayerParameter, PReLUParameter
from caffe_compat.errors import CaffeCompatError, ShapeError, UnsupportedError
from caffe_compat.layers.layer import Layer, canonical_axis, check_arity, layer, named
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


def test_an_error_names_the_layer_once():
    proto = LayerParameter(name="c", type="T")
    with pytest.raises(ShapeError, match=r"^layer 'c' \(T\): too small$"), named(proto):
        raise ShapeError("too small")
    words = r"^layer 'c' \(T\): not enough memory$"
    with pytest.raises(CaffeCompatError, match=words), named(proto):
        raise MemoryError
    with pytest.raises(KeyError), named(proto):
        raise KeyError


def test_a_type_is_registered_once():
    registry()
    with pytest.raises(ValueError, match="layer type ReLU is registered twice"):

        @layer("ReLU")
        class Another(Layer):
            """Another's."""


@pytest.mark.parametrize(
    ("arity", "count", "words"),
    [
        (1, 2, "takes 1 bottom"),
        ((2, None), 1, "takes at least 2 bottom"),
        ((1, 3), 4, "takes 1 to 3 bottom"),
    ],
)
def test_arity(arity, count, words):
    with pytest.raises(ShapeError, match=rf"{words} blob\(s\), and has {count}"):
        check_arity("bottom", count, arity)
    check_arity("bottom", 2, (1, 3))
    check_arity("bottom", 9, (2, None))


def test_axes_count_from_either_end():
    assert [canonical_axis(axis, 4) for axis in (0, 3, -1, -4)] == [0, 3, 3, 0]
    for axis in (4, -5):
        with pytest.raises(ShapeError, match=f"axis {axis} out of range for a 4-D blob"):
            canonical_axis(axis, 4)
