"""Blocks of channels as squares, there and back."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError
from caffe_compat.layers.blocks import gather, spread, spread_shape


@pytest.mark.parametrize("first", [True, False])
def test_there_and_back(first):
    x = np.arange(2 * 12 * 3 * 5, dtype=np.float32).reshape(2, 12, 3, 5)
    y = spread(x, 2, channels_first=first)
    assert y.shape == spread_shape(x.shape, 2) == (2, 3, 6, 10)
    assert y[0, 0, 0, :2].tolist() == [x[0, 0, 0, 0], x[0, 1 if first else 3, 0, 0]]
    assert np.array_equal(gather(y, 2, channels_first=first), x)


@pytest.mark.parametrize(("shape", "side"), [((2, 6, 3, 5), 2), ((2, 4, 3), 2), ((2, 4, 3, 5), 0)])
def test_refused(shape, side):
    with pytest.raises(ShapeError, match="needs 4 axes"):
        spread_shape(shape, side)
