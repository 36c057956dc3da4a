"""The theory: connections, and its predictions beside measurements."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.doctor import examine, theory
from caffe_compat.doctor.ends import find_ends
from caffe_compat.net.fans import connections

from ..cases import feed, graph_of, make
from .nets import RELU, one, stack


@pytest.mark.parametrize(
    "layer",
    [
        "Convolution kernel_size: 3 pad: 1",
        "Convolution kernel_size: 3 stride: 2 pad: 2 dilation: 2",
        "Convolution kernel_h: 4 kernel_w: 1 stride_h: 3 stride_w: 1 group: 2",
        "Deconvolution kernel_size: 4 stride: 2 pad: 1",
        "Deconvolution kernel_size: 3 stride: 2 group: 3",
        "InnerProduct",
        "InnerProduct transpose: true",
    ],
)
def test_connections_are_what_ones_count(layer):
    kind, _, more = layer.partition(" ")
    p = "inner_product_param" if kind == "InnerProduct" else "convolution_param"
    net = make(
        one(
            f'layer {{ name: "l" type: "{kind}" bottom: "data" top: "y" {p} {{ {more} '
            "num_output: 12 bias_term: false weight_filler { value: 1 } } }",
            n=1,
        )
    )
    node, weight = net.graph.nodes[1], net.arrays[1][0]
    x, dy = (np.ones(value.shape, np.float32) for value in (*node.bottoms, *node.tops))
    (y,) = np.atleast_1d(node.layer.forward(x, weight=weight)).reshape(1, -1)
    dx = node.layer.backward(dy, x, weight=weight)[0]
    assert connections(node) == pytest.approx((y.mean(), dx.mean()), rel=1e-6)


@pytest.mark.parametrize(
    "act",
    [
        RELU,
        'type: "ReLU" relu_param { negative_slope: 0.3 }',
        'type: "PReLU" prelu_param { filler { type: "uniform" min: 0 max: 0.8 } }',
        'type: "TanH"',
        'type: "ELU"',
    ],
)
def test_measured_is_predicted(act):
    diagnosis = examine(graph_of(stack(5, act=act, width=96)), trials=4)
    for signal in diagnosis.runs[0].weighted:
        assert signal.forward == pytest.approx(signal.theory_forward, rel=0.4), signal.layer
        assert signal.backward == pytest.approx(signal.theory_backward, rel=0.4), signal.layer


def test_theory_goes_through_branches():
    text = (
        stack(1, 'type: "gaussian" std: 0.2', end=False, width=64)
        + """
layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
layer { name: "k" type: "Concat" bottom: "conv1" bottom: "r" top: "k" }
layer { name: "s" type: "Scale" bottom: "k" top: "s" scale_param { filler { value: 3 } } }
layer { name: "p" type: "Power" bottom: "s" top: "p" power_param { scale: 0.5 } }
layer { name: "n" type: "BatchNorm" bottom: "s" top: "n" }
layer { name: "e" type: "Eltwise" bottom: "n" bottom: "s" top: "e"
  eltwise_param { coeff: 1 coeff: -2 } }"""
    )
    net = make(text, phase="TRAIN")
    values = net.run(feed(net))
    said = theory.predict_forward(net, {"data": 1.0})
    for name in ("k", "s", "p", "n"):
        assert said[name] == pytest.approx(np.mean(values[name] ** 2), rel=0.25), name
    assert said["e"] == pytest.approx(1 + 4 * said["s"])
    back = theory.predict_backward(net, said, find_ends(net.graph))
    through_norm, through_power, straight = 1 / said["s"], 0.25, 4.0
    assert back["s"] == pytest.approx(through_norm + through_power + straight)
    assert back["k"] == pytest.approx(9 * back["s"])
    assert back["r"] == back["k"]
