"""Rules about measured signals."""

from __future__ import annotations

import numpy as np

from .nets import findings, paste, stack


def test_exploding():
    found = findings(stack(10, 'type: "gaussian" std: 0.5'))
    assert "signal exploding" in found["gaussian"].message
    assert "gradient exploding" in found["gaussian"].message
    assert found["gaussian"].severity == "severe"
    assert found["gaussian"].number > 5


def test_a_shallow_net_trains_from_nearly_any_variance():
    shallow, deep = (findings(stack(n, 'type: "gaussian" std: 0.001')) for n in (5, 9))
    assert (shallow["gaussian"].severity, deep["gaussian"].severity) == ("warning", "severe")


def test_saturated_softmax():
    data = (
        'layer { name: "d" type: "MemoryData" top: "data" top: "label" memory_data_param { '
        "batch_size: 4 channels: 5 height: 12 width: 11 } %s }"
    )
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "l" }'
    layers = stack(3).split("layer {")[2:-1]
    net = "layer {".join([data, *layers]) + loss
    found = findings(net % "")
    assert found["saturated"].layers == ("d",)
    assert 0.8 < found["saturated"].number <= 1
    (change,) = found["saturated"].remedy.changes
    assert change.line == "transform_param { mean_value: 127.5 scale: 0.0078125 }"
    (effect,) = found["saturated"].remedy.effects
    assert effect.before == found["saturated"].number
    assert effect.after < 0.8
    assert "saturated" not in findings(net % "transform_param { scale: 0.00390625 }")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 12, 11)).astype(np.float32)
    found = findings(stack(3), data=pixels)
    assert found["saturated"].layers == ("data",)
    assert "mean square of 2.2" in found["saturated"].message
    assert "saturated" not in findings(stack(3), data=pixels / 128 - 1)


def test_dead_rectifiers():
    text = stack(2, end=False).replace(
        'conv2" convolution_param {', 'conv2" convolution_param { bias_filler { value: -4 }'
    )
    found = findings(text)
    assert found["dead"].layers == ("act2",)
    assert 0.6 < found["dead"].number <= 1
    (change,) = found["dead"].remedy.changes
    assert (change.layers, change.line) == (("conv2",), "bias_filler { value: 0 }")
    (effect,) = found["dead"].remedy.effects
    assert effect.before == found["dead"].number
    assert effect.after < 0.6
    assert "dead" not in findings(paste(text, found["dead"].remedy))
