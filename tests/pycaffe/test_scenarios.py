"""Sessions with live nets, beside what a real pycaffe showed."""

from __future__ import annotations

import numpy as np
import pytest

import caffe_compat.pycaffe as caffe
from caffe_compat.pycaffe import engine

from .scenarios import GOLDEN, SCENARIOS

# Gradients that are 0 in exact arithmetic, so that rounding is all there is of them.
ROUNDING = 2e-5


@pytest.mark.parametrize("fast", [False, True], ids=["numpy", "onnxruntime and torch"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda f: f.__name__)
def test_agrees_with_a_real_pycaffe(scenario, fast, monkeypatch):
    monkeypatch.setattr(engine, "SEGMENTS", fast)
    monkeypatch.setattr(engine, "TORCH", fast)
    got = scenario(caffe)
    with np.load(GOLDEN / f"{scenario.__name__}.npz") as recorded:
        assert set(got) == set(recorded.files)
        for key in recorded.files:
            want = recorded[key]
            assert got[key].shape == want.shape, key
            scale = max(float(np.abs(want).max(initial=0)), ROUNDING / 1e-4)
            off = float(np.abs(got[key] - want).max(initial=0)) / scale
            assert off <= (1e-4 if "diff" in key else 1e-5), f"{key}: off by {off:.1e}"
