"""All rules together: on sound nets, on xavier in a deep one, and where nothing helps."""

from __future__ import annotations

import pytest

from .nets import findings, one, stack


def test_a_sound_net_has_no_findings():
    prelu = 'type: "PReLU" param { decay_mult: 0 }'
    assert findings(stack(12, width=32), trials=2) == {}
    assert findings(stack(12, 'type: "msra" a: 0.25', prelu, width=32), trials=2) == {}
    assert findings(stack(12, act=prelu, width=32), slopes="auto") == {}


def test_xavier_in_a_deep_net_is_one_finding():
    found = findings(stack(14, 'type: "xavier"', width=48))
    assert list(found) == ["xavier"]
    finding = found["xavier"]
    assert finding.severity == "severe"
    assert "signal vanishing" in finding.message
    assert "gradient vanishing" in finding.message
    assert "of 15; xavier before a rectifier: each layer keeps 0.5 of the variance" in (
        finding.message
    )
    assert finding.layers == tuple(f"conv{i}" for i in range(2, 15))
    assert finding.number == pytest.approx(0.5)
    (change,) = finding.remedy.changes
    assert change.line == 'weight_filler { type: "msra" }'
    assert change.layers == finding.layers
    assert findings(stack(5, 'type: "xavier"')) == {}


def test_what_nothing_mends_is_explained():
    """The scale between the layers outgrows any filler that the prototxt's bilinear ones leave."""
    text, below = "", "data"
    for i in range(10):
        text += (
            f'layer {{ name: "p{i}" type: "Power" bottom: "{below}" top: "p{i}" '
            "power_param { scale: 100 } } "
            f'layer {{ name: "c{i}" type: "Convolution" bottom: "p{i}" top: "c{i}" '
            "convolution_param { num_output: 6 kernel_size: 1 "
            'weight_filler { type: "bilinear" } } } '
        )
        below = f"c{i}"
    (finding,) = findings(one(text)).values()
    assert finding.rule in ("forward", "backward")
    assert finding.severity == "severe"
    assert "signal exploding" in finding.message
    assert finding.remedy is None
    assert "no remedy mends it: BatchNorm behind every layer gives" in finding.message
