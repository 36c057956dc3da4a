"""Axes as a prototxt counts them."""

from __future__ import annotations

import pytest

from caffe_compat.errors import ShapeError
from caffe_compat.layers.axes import canonical_axis


def test_axes_count_from_either_end():
    assert [canonical_axis(axis, 4) for axis in (0, 3, -1, -4)] == [0, 3, 3, 0]
    for axis in (4, -5):
        with pytest.raises(ShapeError, match=f"axis {axis} out of range for a 4-D blob"):
            canonical_axis(axis, 4)
