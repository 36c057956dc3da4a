"""The result as JSON."""

from __future__ import annotations

import math

from caffe_compat.doctor import examine
from caffe_compat.doctor.page import render

from ..cases import graph_of
from .nets import stack


def test_what_overflows_is_infinite():
    diagnosis = examine(graph_of(stack(8, 'type: "gaussian" std: 3e5')), trials=1)
    assert diagnosis.runs[0].weighted[-1].forward == math.inf
    assert '"forward": "inf"' in diagnosis.to_json()
    assert "overflow" in render(diagnosis)
