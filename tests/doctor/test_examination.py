"""Examinations: other fillers, BatchNorm, and arguments that are refused."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.doctor import examine, variant
from caffe_compat.errors import ShapeError

from ..cases import graph_of
from .nets import stack


def test_compared_with_other_fillers():
    others = [variant(text) for text in ("msra", "msra:auto", "gaussian:0.01")]
    diagnosis = examine(graph_of(stack(6, 'type: "xavier"')), compare=others, trials=2)
    assert [r.label for r in diagnosis.runs] == ["as written", "msra", "msra:auto", "gaussian:0.01"]
    last = {r.label: r.weighted[-1].forward for r in diagnosis.runs}
    assert last["gaussian:0.01"] < last["as written"] < last["msra:auto"] < last["msra"]
    written = examine(graph_of(stack(6, 'type: "msra"')), trials=2).runs[0].signals
    assert diagnosis.runs[1].signals == written


def test_batchnorm_goes_by_the_batch():
    norm = 'layer { name: "n" type: "BatchNorm" bottom: "conv6" top: "n" }'
    text = stack(2, 'type: "gaussian" std: 0.05', end=False) + norm.replace("conv6", "conv2")
    *_, last = examine(graph_of(text), trials=1).runs[0].signals
    assert last.moment < 0.1
    assert last.forward == pytest.approx(1, rel=0.02)


def test_errors():
    with pytest.raises(ShapeError, match="trials must be positive, and is 0"):
        examine(graph_of(stack(1)), trials=0)
    data = np.zeros((3, 5, 12, 11), np.float32)
    with pytest.raises(ShapeError, match=r"input 'data' is \(2, 5, 12, 11\), the data are \(3, 5"):
        examine(graph_of(stack(1)), data=data)
