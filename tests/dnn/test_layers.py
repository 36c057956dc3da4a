"""Layers by OpenCV's names and numbers."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat import ShapeError, dnn

from ..cases import assert_close
from .nets import FOLDERS, read


@pytest.mark.parametrize("name", FOLDERS)
def test_layers_are_named_and_numbered_as_in_opencv(name, recorded):
    facts, net = recorded[0][name], read(name)
    assert list(net.getLayerNames()) == facts["layers"]
    assert list(net.getUnconnectedOutLayersNames()) == facts["outs"]
    assert net.getUnconnectedOutLayers().tolist() == facts["numbers"]
    assert net.getLayerId(facts["layers"][3]) == 4


def test_layer_queries():
    net = read("det1")
    layer = net.getLayer("conv1")
    assert (layer.name, layer.type, layer.blobs[0].shape) == ("conv1", "Convolution", (10, 3, 3, 3))
    assert net.getLayer(1).name == "conv1"
    assert net.getLayerId("none") == -1
    assert net.getLayersCount("Convolution") == 5
    assert "Softmax" in net.getLayerTypes()
    net.setInput(np.zeros((1, 3, 12, 12), np.float32))
    ((made,),) = net.forwardAndRetrieve(["prob1"])
    np.testing.assert_array_equal(made, net.forward())
    assert net.getPerfProfile()[0] > 0


def test_blobs_that_are_set_change_the_net():
    net = read("det1")
    net.setInput(np.random.default_rng(0).standard_normal((1, 3, 12, 12)).astype(np.float32))
    before, weight = net.forward("conv1"), net.getParam("conv1")
    bias = net.getParam("conv1", 1)[:, None, None]
    net.getLayer(net.getLayerId("conv1")).blobs = [2 * weight.reshape(30, 9)]
    assert net.getParam("conv1").shape == weight.shape
    assert_close(net.forward("conv1"), 2 * (before - bias))
    with pytest.raises(ShapeError, match=r"layer 'conv1' .*bias is \(10,\), and got \(3,\)"):
        net.getLayer("conv1").blobs = [weight, np.zeros(3)]
    with pytest.raises(ShapeError, match="has 2 blobs, and got 3"):
        net.getLayer("conv1").blobs = [weight] * 3


def test_a_layer_name_used_twice_gets_a_number(tmp_path):
    text = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }'
    for top in "ab":
        text += f'layer {{ name: "twice" type: "ReLU" bottom: "x" top: "{top}" }}'
    (tmp_path / "net.prototxt").write_text(text)
    net = dnn.readNetFromCaffe(tmp_path / "net.prototxt")
    assert net.getLayerNames() == ("twice", "twice_1")
