"""CompactBilinear and SignedSqrt, whose numbers are recorded in golden/layers_forks."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.layers.families.bilinear_pooling import _rand

from ...cases import check_both, check_gradients, make, one_layer


def text(fields, first=(2, 3, 4, 5), second=(2, 6, 4, 5)):
    body = f'type: "CompactBilinear" compact_bilinear_param {{ {fields} }}'
    return one_layer(body, first, second)


def test_rand_is_glibcs():
    """What every C program on Linux prints first."""
    assert _rand(4) == [1804289383, 846930886, 1681692777, 1714636915]


def test_more_sums_than_products():
    """Some sums are empty."""
    y = check_both(text("num_output: 40"))["y"]
    assert 0 < (y == 0).mean() < 1
    check_gradients(text("num_output: 40"))


def test_refused():
    with pytest.raises(ShapeError, match="num_output 7 must be even and positive"):
        make(text("num_output: 7"))
    with pytest.raises(UnsupportedError, match="sum_pool: false is not supported"):
        make(text("num_output: 8 sum_pool: false"))
    with pytest.raises(ShapeError, match="alike but for the channels"):
        make(text("num_output: 8", second=(2, 6, 4, 4)))


def test_signed_sqrt():
    y = check_both(one_layer('type: "SignedSqrt"', (2, 3, 4)))["y"]
    assert (y < 0).any()
    np.testing.assert_allclose(np.sign(y) * y * y, y * np.abs(y), rtol=1e-6)
