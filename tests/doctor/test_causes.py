"""Rules about fillers and settings."""

from __future__ import annotations

import math

import pytest

from caffe_compat.doctor import examine

from ..cases import graph_of
from .nets import findings, one, stack


def test_msra_without_the_slope():
    found = findings(stack(4, act='type: "PReLU" prelu_param { filler { value: 0.5 } }'))
    assert found["slope"].layers == ("conv2", "conv3", "conv4", "fc")
    assert found["slope"].number == pytest.approx(1.25)
    assert found["slope"].remedy == 'weight_filler { type: "msra" a: 0.5 }'
    leaky = 'type: "ReLU" relu_param { negative_slope: 0.5 }'
    found = findings(stack(3, 'type: "msra" variance_norm: FAN_OUT', leaky, end=False))
    assert found["slope"].layers == ("conv1", "conv2", "conv3")
    assert found["slope"].remedy == 'weight_filler { type: "msra" a: 0.5 variance_norm: FAN_OUT }'


def test_gaussian_of_one_std():
    every = examine(graph_of(stack(9, 'type: "gaussian" std: 0.01')), trials=1).findings
    first, inner, last = (finding for finding in every if finding.rule == "gaussian")
    assert (first.layers, last.layers) == (("conv1",), ("fc",))
    assert first.number == pytest.approx(0.01**2 * 5 * 9)
    assert inner.number == pytest.approx(0.01**2 * 16 * 9 / 2)
    assert "std 0.01, where 0.118 preserves the variance" in inner.message
    assert "gaussian" not in findings(stack(5, 'type: "gaussian" std: 0.01'))
    right = math.sqrt(2 / (9 * 16))
    sound = findings(stack(12, f'type: "gaussian" std: {right}', end=False))
    assert sound["gaussian"].layers == ("conv1",)


def test_zero_weights():
    found = findings(stack(2, 'type: "constant"'))
    assert found["zero"].layers == ("conv1", "conv2", "fc")
    assert found["zero"].severity == "severe"
    assert found["dead"].number == 1
    assert found["forward"].layers == ("conv1",)


def test_prelu_under_decay():
    found = findings(stack(2, 'type: "msra" a: 0.25', 'type: "PReLU"'))
    assert found["decay"].layers == ("act1", "act2")
    assert found["decay"].remedy == "param { decay_mult: 0 }"
    half = 'type: "PReLU" param { decay_mult: 0.5 }'
    assert findings(stack(2, 'type: "msra" a: 0.25', half))["decay"].number == 0.5


def test_fans_that_are_not_the_layers():
    up = (
        'layer { name: "up" type: "Deconvolution" bottom: "data" top: "up" convolution_param { '
        'num_output: 2 kernel_size: 4 stride: 4 weight_filler { type: "msra" } } }'
    )
    found = findings(one(up))
    assert found["fan"].number == pytest.approx((2 * 16) / (6 * 16 / 16))
    std = float(found["fan"].remedy.split("std: ")[1].split()[0])
    assert std == pytest.approx(math.sqrt(1 / 6), rel=1e-4)
    assert "fan" not in findings(one(up.replace('"msra"', '"bilinear"')))
    grouped = (
        'layer { name: "g" type: "Convolution" bottom: "data" top: "g" convolution_param { '
        "num_output: 8 group: 2 kernel_size: 3 "
        'weight_filler { type: "xavier" variance_norm: FAN_OUT } } }'
    )
    assert findings(one(grouped))["fan"].number == pytest.approx(2)
    assert "fan" not in findings(one(grouped.replace("FAN_OUT", "FAN_IN")))
    swapped = (
        'layer { name: "t" type: "InnerProduct" bottom: "data" top: "t" '
        "inner_product_param { num_output: 8 transpose: true "
        'weight_filler { type: "xavier" } } }'
    )
    assert findings(one(swapped))["fan"].number == pytest.approx(8 / (6 * 9 * 8))
