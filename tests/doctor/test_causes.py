"""Causes in the fillers: what is found, the remedy, and that pasted it does what was measured."""

from __future__ import annotations

import math

import pytest

from caffe_compat.doctor import examine

from ..cases import graph_of
from .nets import findings, one, paste, stack


def lines(finding):
    return [change.line for change in finding.remedy.changes]


def check_pasted(text, finding, **options):
    """Paste the remedy, and compare what is measured then with what was promised."""
    again = examine(graph_of(paste(text, finding.remedy)), **options)
    assert finding.rule not in {other.rule for other in again.findings}
    assert not again.severe
    ahead, back = finding.remedy.effects
    assert again.runs[0].forward == pytest.approx(ahead.after, rel=1e-4)
    assert again.runs[0].backward == pytest.approx(back.after, rel=1e-4)


def test_msra_without_the_slope():
    text = stack(4, act='type: "PReLU" prelu_param { filler { value: 0.5 } }')
    found = findings(text)
    assert found["slope"].layers == ("conv2", "conv3", "conv4", "fc")
    assert found["slope"].number == pytest.approx(1.25)
    assert lines(found["slope"]) == ['weight_filler { type: "msra" a: 0.5 }']
    ahead, back = found["slope"].remedy.effects
    # fc is behind what the signal arrives at; the gradient passes it too.
    assert ahead.before / ahead.after == pytest.approx(1.25**3, rel=1e-3)
    assert back.before / back.after == pytest.approx(1.25**4, rel=1e-3)
    leaky = 'type: "ReLU" relu_param { negative_slope: 0.5 }'
    found = findings(stack(5, 'type: "msra" variance_norm: FAN_OUT', leaky))
    assert lines(found["slope"]) == ['weight_filler { type: "msra" a: 0.5 variance_norm: FAN_OUT }']


def test_gaussian_of_one_std():
    text = stack(9, 'type: "gaussian" std: 0.01')
    found = findings(text)
    assert list(found) == ["gaussian"]
    finding = found["gaussian"]
    assert finding.severity == "severe"
    assert finding.layers == tuple(f"conv{i}" for i in range(1, 10))
    assert "signal vanishing: Var[y] of conv2 is" in finding.message
    assert "gradient vanishing" in finding.message
    assert "gaussian of std 0.01, where conv1 keeps the variance with a std of 0.149" in (
        finding.message
    )
    assert lines(finding) == [
        f'weight_filler {{ type: "gaussian" std: {math.sqrt(1 / 45):.6g} }}',
        'weight_filler { type: "msra" }',
    ]
    check_pasted(text, finding, trials=1)
    assert findings(stack(5, 'type: "gaussian" std: 0.01'))["gaussian"].severity == "warning"
    right = math.sqrt(2 / (9 * 16))
    assert findings(stack(12, f'type: "gaussian" std: {right}', end=False)) == {}


def test_zero_weights():
    text = stack(2, 'type: "constant"')
    found = findings(text)
    assert list(found) == ["zero"]
    assert found["zero"].layers == ("conv1", "conv2")  # the last one is no harm
    assert found["zero"].severity == "severe"
    check_pasted(text, found["zero"], trials=1)


def test_a_last_layer_of_zeros_is_sound():
    sound = stack(12).replace(
        'num_output: 10 weight_filler { type: "msra" }', "num_output: 10 weight_filler { value: 0 }"
    )
    assert findings(sound) == {}


def test_biases_that_outweigh_the_weights():
    text = stack(9).replace("weight_filler", "bias_filler { value: -20 } weight_filler")
    found = findings(text)
    assert list(found) == ["bias"]
    assert lines(found["bias"]) == ["bias_filler { value: 0 }"]
    check_pasted(text, found["bias"], trials=1)


def test_prelu_under_decay():
    found = findings(stack(2, 'type: "msra" a: 0.25', 'type: "PReLU"'))
    assert found["decay"].layers == ("act1", "act2")
    assert found["decay"].severity == "note"
    assert lines(found["decay"]) == ["param { decay_mult: 0 }"]
    half = 'type: "PReLU" param { decay_mult: 0.5 }'
    assert findings(stack(2, 'type: "msra" a: 0.25', half))["decay"].number == 0.5


def test_fans_that_are_not_the_layers():
    up = (
        'layer { name: "up" type: "Deconvolution" bottom: "data" top: "up" convolution_param { '
        'num_output: 2 kernel_size: 4 stride: 4 weight_filler { type: "msra" } } } '
        'layer { name: "c" type: "Convolution" bottom: "up" top: "c" convolution_param { '
        'num_output: 8 kernel_size: 3 weight_filler { type: "msra" a: 1 } } }'
    )
    found = findings(one(up))
    assert found["fan"].number == pytest.approx((2 * 16) / (6 * 16 / 16))
    std = float(lines(found["fan"])[0].split("std: ")[1].split()[0])
    assert std == pytest.approx(math.sqrt(1 / 6), rel=1e-4)
    ahead = found["fan"].remedy.effects[0]
    assert ahead.after / ahead.before == pytest.approx(32 / 6 / 2, rel=1e-3)
    assert "fan" not in findings(one(up.replace('"msra"', '"bilinear"', 1)))


def test_a_transposed_inner_product_gets_a_std():
    """report 12: msra was proposed for what was msra."""
    text = (
        'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { '
        'num_output: 10 transpose: true weight_filler { type: "msra" } } } '
        'layer { name: "r" type: "ReLU" bottom: "ip" top: "ip" } '
        'layer { name: "ip2" type: "InnerProduct" bottom: "ip" top: "ip2" inner_product_param { '
        'num_output: 10 weight_filler { type: "msra" } } }'
    )
    text = one(text, n=2, c=8, h=40, w=40)
    found = findings(text)
    assert list(found) == ["fan"]
    assert "counts n = 10 for ip, an InnerProduct that has 12800" in found["fan"].message
    assert lines(found["fan"]) == [
        f'weight_filler {{ type: "gaussian" std: {math.sqrt(1 / 12800):.6g} }}'
    ]
    assert examine(graph_of(paste(text, found["fan"].remedy)), trials=1).findings == ()
