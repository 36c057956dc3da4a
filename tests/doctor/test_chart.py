"""The logarithmic axis."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.doctor import chart


@given(st.lists(st.none() | st.floats(min_value=0), max_size=9), st.integers(2, 12))
@settings(max_examples=50)
def test_axis_holds_every_value(values, ticks):
    axis = chart.decades(values, ticks)
    assert axis.low <= -4 < 4 <= axis.high
    assert axis.low % axis.step == axis.high % axis.step == 0
    assert 0 < (axis.high - axis.low) / axis.step <= ticks + 1
    places = [axis.place(v) for v in sorted(v for v in values if v is not None)]
    assert all(0 <= place <= 1 for place in places)
    assert places == sorted(places)
    assert axis.place(1.0) == pytest.approx(-axis.low / (axis.high - axis.low))
