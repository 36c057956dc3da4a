"""Dropout, whole and by channels."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import check_both, check_gradients, feed, make, one_layer, operators

LAYERS = [
    'type: "Dropout" dropout_param { dropout_ratio: 0.25 }',
    'type: "SpatialDropout" dropout_param { dropout_ratio: 0.25 }',
    'type: "SpatialDropout" spatial_dropout_param { dropout_ratio: 0.25 }',
]


@pytest.mark.parametrize("top", ["y", "a"])
@pytest.mark.parametrize("body", LAYERS)
def test_in_test_it_is_the_bottom(body, top):
    text = one_layer(body, (2, 3, 5, 4), top=top)
    made = check_both(text)[top]
    np.testing.assert_array_equal(made, feed(make(text))["a"])
    check_gradients(one_layer(body, (2, 3, 5, 4)))


@pytest.mark.parametrize("body", LAYERS)
def test_in_onnx_it_vanishes(body):
    relu = 'layer { name: "r" type: "ReLU" bottom: "y" top: "z" }'
    assert operators(one_layer(body, (2, 3)) + relu) == ["Relu"]


@pytest.mark.parametrize("body", LAYERS)
def test_refused_in_train(body):
    net = make(one_layer(body, (2, 3)), phase="TRAIN")
    with pytest.raises(UnsupportedError, match=r"'l' \(\w*Dropout\): drops at random in TRAIN"):
        net.forward(feed(net))
    with pytest.raises(UnsupportedError, match="random in TRAIN"):
        lower(net)


def test_enets_spatial_dropout():
    """Its Python layer divides by 1 - p in TEST too; its param_str names the phase."""
    body = """type: "Python" python_param { module: "spatial_dropout" layer: "SpatialDropoutLayer"
        param_str: "{\\\\'phase\\\\': \\\\'%s\\\\', \\\\'p\\\\': \\\\'%s\\\\'}" }"""
    shape = (2, 3, 4, 5)
    net = make(one_layer(body % ("TEST", "0.2"), shape), phase="TRAIN")
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(net.forward({"a": x})["y"], x / 0.8, rtol=1e-6)
    check_both(one_layer(body % ("TEST", "0.01"), shape))
    with pytest.raises(UnsupportedError, match="its param_str names phase TRAIN"):
        make(one_layer(body % ("TRAIN", "0.2"), shape)).forward({"a": x})
    with pytest.raises(ShapeError, match="p must be between 0 and 1"):
        make(one_layer(body % ("TEST", "1.5"), shape))
