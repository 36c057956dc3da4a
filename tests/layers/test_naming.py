"""Errors name their layer."""

from __future__ import annotations

import pytest

from caffe_compat.caffe_pb2 import LayerParameter
from caffe_compat.errors import CaffeCompatError, ShapeError
from caffe_compat.layers.naming import named


def test_an_error_names_the_layer_once():
    proto = LayerParameter(name="c", type="T")
    with pytest.raises(ShapeError, match=r"^layer 'c' \(T\): too small$"), named(proto):
        raise ShapeError("too small")
    words = r"^layer 'c' \(T\): not enough memory$"
    with pytest.raises(CaffeCompatError, match=words), named(proto):
        raise MemoryError
    with pytest.raises(KeyError), named(proto):
        raise KeyError
