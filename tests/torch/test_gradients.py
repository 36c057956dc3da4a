"""Gradients at every value by autograd, beside numpy's backward pass."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.doctor import signals
from caffe_compat.doctor.variants import with_batch_statistics
from caffe_compat.fillers.rng import make_rng
from caffe_compat.net.params import fill
from caffe_compat.torch.gradients import backpropagate

from ..cases import feed, graph_of
from ..doctor.zoo import densenet, googlenet, resnet, senet, unet


@pytest.mark.parametrize("write", [densenet, googlenet, senet, unet, lambda: resnet(1)])
def test_autograd_measures_what_numpy_does(write, monkeypatch):
    net = fill(with_batch_statistics(graph_of(write())), make_rng("boost-1.64", 3))
    feeds = feed(net)
    by_torch = signals.measure(net, feeds, 1)
    monkeypatch.setattr(signals.importlib.util, "find_spec", lambda name: None)
    by_numpy = signals.measure(net, feeds, 1)
    assert by_torch.dead == by_numpy.dead
    for name in ("moments", "variances", "gradients"):
        ours, other = getattr(by_torch, name), getattr(by_numpy, name)
        assert ours.keys() == other.keys()
        for value, number in ours.items():
            assert number == pytest.approx(other[value], rel=2e-3, abs=1e-9), (name, value)


def test_gradients_of_one_layer():
    text = (
        'input: "x" input_shape { dim: 2 dim: 3 } '
        'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" '
        "inner_product_param { num_output: 4 weight_filler { type: 'xavier' } } }"
        'layer { name: "r" type: "ReLU" bottom: "y" top: "y" }'
    )
    net = fill(graph_of(text), make_rng("boost-1.64", 1))
    feeds, seen = feed(net), {}
    values = [top for node in net.graph.nodes[-2:] for top in node.tops]
    dy = np.ones((2, 4), np.float32)
    backpropagate(net, values, feeds, {"y": dy}, lambda name, g: seen.update({name: g.copy()}))
    weight = net.params["fc"]["weight"]
    inner = (feeds["x"] @ weight.T > 0).astype(np.float32)
    np.testing.assert_allclose(seen["x"], inner @ weight, rtol=1e-5)
    np.testing.assert_allclose(seen["y/fc"], inner)
