"""All rules together: on a sound net, on xavier in a deep one."""

from __future__ import annotations

import pytest

from .nets import findings, stack


def test_a_sound_net_has_no_findings():
    prelu = 'type: "PReLU" param { decay_mult: 0 }'
    assert findings(stack(12, width=32), trials=2) == {}
    assert findings(stack(12, 'type: "msra" a: 0.25', prelu, width=32), trials=2) == {}
    assert findings(stack(12, act=prelu, width=32), slopes="auto") == {}


def test_xavier_in_a_deep_net():
    found = findings(stack(14, 'type: "xavier"', width=48))
    assert [finding.severity for finding in found.values()] == ["severe"] * 3
    lost = found["forward"]
    depth = int(lost.layers[0].removeprefix("conv"))
    assert 8 <= depth <= 13
    assert lost.number < 1e-3
    assert f"depth {depth} of 15" in lost.message
    assert "gradient vanishing" in found["backward"].message
    assert found["xavier"].layers == (*(f"conv{i}" for i in range(2, 15)), "fc")
    assert found["xavier"].number == pytest.approx(0.5)
    assert {finding.remedy for finding in found.values()} == {'weight_filler { type: "msra" }'}
    assert "xavier" not in findings(stack(5, 'type: "xavier"'))
    assert "xavier" not in findings(stack(14, 'type: "xavier"', 'type: "TanH"'))
