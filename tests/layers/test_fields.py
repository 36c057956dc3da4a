"""The fields that configure a layer."""

from __future__ import annotations

import pytest

from caffe_compat.caffe_pb2 import LayerParameter, PoolingParameter
from caffe_compat.errors import ShapeError
from caffe_compat.layers.fields import check_numbers, configuration, is_set


def test_what_is_set():
    """A message that is there, a list with members, a number that is not the default."""
    layer = LayerParameter(bottom=["a"])
    assert is_set(layer, "bottom") and not is_set(layer, "top")
    assert not is_set(layer, "pooling_param")
    layer.pooling_param.SetInParent()
    assert is_set(layer, "pooling_param")
    assert not is_set(layer.pooling_param, "stride")
    layer.pooling_param.stride = 1  # the default
    assert not is_set(layer.pooling_param, "stride")
    layer.pooling_param.stride = 2
    assert is_set(layer.pooling_param, "stride")


def test_where_the_fields_are():
    """In the schema's message; of a caller's own layer in its text, as a message or a mapping."""
    layer = LayerParameter(name="l", custom_param="own_param { stride: 3 pool: AVE }")
    layer.pooling_param.stride = 2
    assert configuration(layer, "pooling_param", None).stride == 2
    assert configuration(layer, "own_param", None) == {"stride": 3, "pool": "AVE"}
    assert configuration(layer, "other_param", None) == {}
    own = configuration(layer, "own_param", PoolingParameter)
    assert (own.stride, own.pool) == (3, PoolingParameter.AVE)


def test_numbers_that_are_none():
    layer = LayerParameter()
    layer.relu_param.negative_slope = float("inf")
    check_numbers(layer, "layer")
    layer.relu_param.negative_slope = float("nan")
    with pytest.raises(ShapeError, match="negative_slope is nan"):
        check_numbers(layer, "layer")
