"""What is measured: variances, gradients, ends."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.doctor.ends import find_ends
from caffe_compat.doctor.signals import list_signals, measure

from ..cases import feed, graph_of, make
from .nets import one, stack


def test_a_linear_map_gives_its_frobenius_norm():
    text = one(
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" '
        "inner_product_param { num_output: 300 "
        "weight_filler { type: 'gaussian' std: 0.1 } } }",
        n=40,
    )
    net = make(text)
    (signal,) = list_signals(net, measure(net, feed(net)))
    norm = np.square(net.arrays[1][0], dtype=np.float64).sum()
    assert signal.forward == pytest.approx(norm / 300, rel=0.05)
    assert signal.gradient == pytest.approx(norm / 300, rel=0.05)


def test_gradients_are_the_backward_passes():
    text = one(
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" '
        "inner_product_param { num_output: 7 weight_filler { type: 'xavier' } } }"
        'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" '
        'top: "loss" }'
    )
    net = make(text)
    assert [end.name for end in find_ends(net.graph)] == ["fc"]
    feeds = feed(net, integers={"label": 7})
    signals = {signal.layer: signal for signal in list_signals(net, measure(net, feeds, seed=5))}
    dy = np.random.default_rng(5).standard_normal((2, 7), np.float32)
    weight = net.arrays[1][0]
    assert signals["fc"].backward == pytest.approx(np.mean((dy @ weight) ** 2), rel=1e-5)
    assert signals["loss"].backward == pytest.approx(np.mean(dy**2), rel=1e-5)
    assert signals["fc"].moment == pytest.approx(np.mean(feeds["data"] ** 2), rel=1e-5)


def test_ends_are_before_what_has_no_gradient():
    graph = graph_of(
        stack(1, end=False)
        + """
layer { name: "best" type: "ArgMax" bottom: "conv1" top: "best" }
layer { name: "side" type: "TanH" bottom: "data" top: "side" }
layer { name: "one" type: "DummyData" top: "one" dummy_data_param { shape { dim: 3 } } }
layer { name: "double" type: "Power" bottom: "one" top: "double" power_param { scale: 2 } }"""
    )
    assert {end.name for end in find_ends(graph)} == {"conv1", "side"}
