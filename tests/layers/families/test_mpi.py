"""Gather and Scatter of one process."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError

from ...cases import check_both, feed, make, one_layer

SHAPES = (2, 3), (2,)


@pytest.mark.parametrize("kind", ["Gather", "Scatter"])
def test_each_top_is_its_bottom(kind):
    text = one_layer(f'type: "{kind}"', *SHAPES, top=("y", "z"))
    feeds = feed(make(text))
    outputs = check_both(text)
    assert np.array_equal(outputs["y"], feeds["a"])
    assert np.array_equal(outputs["z"], feeds["b"])


def test_refused():
    with pytest.raises(ShapeError, match="one each"):
        make(one_layer('type: "Gather"', *SHAPES))
