"""Grad-CAM: the heat lies where the evidence is."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError
from caffe_compat.images.explain import draw_heat, explain
from caffe_compat.net.preprocess import Preprocess

from ..cases import make

NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 12, 16] } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 3 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


@pytest.fixture
def net():
    net = make(NET)
    net.params["conv"]["weight"][:, :, 0, 0] = [[0, 0, 1], [1, 0, 0]]  # red; blue (of BGR)
    net.params["fc"]["weight"][...] = [[1, 0], [0, 1], [-1, -1]]
    return net


@pytest.fixture
def image():
    image = np.zeros((24, 32, 3), np.uint8)
    image[2:8, 4:10, 0] = 255  # a red patch
    image[14:22, 20:30, 2] = 255  # a blue one
    return image


@pytest.mark.parametrize(("target", "inside"), [(0, (4, 6)), (1, (18, 24))])
def test_heat_lies_on_the_evidence(net, image, target, inside):
    found = explain(net, image, target, Preprocess(resize=(12, 16)))
    assert (found.blob, found.scores) == ("conv", "fc")
    y, x = inside
    assert found.heat[y // 2, x // 2] > 0.9
    assert found.heat.mean() < 0.3
    drawn = draw_heat(image, found).astype(int)
    changed = np.abs(drawn - image).sum(axis=2)
    assert changed[y, x] > 0
    assert changed[12, 1] < 30
    assert found.score > 0


def test_evidence_against_a_class_is_cut_off(net, image):
    assert not explain(net, image, 2, Preprocess(resize=(12, 16))).heat.any()


def test_what_cannot_be_explained(net, image):
    with pytest.raises(ShapeError, match="class 3 is not among the 3 of 'fc'"):
        explain(net, image, 3)
    pair = make(NET.replace("dim: [1, 3", "dim: [2, 3"))
    with pytest.raises(ShapeError, match="one image"):
        explain(pair, image, 0)
    plain = make(NET.partition('layer { name: "pool"')[0])
    with pytest.raises(ShapeError, match="no output is a classification"):
        explain(plain, image, 0)
