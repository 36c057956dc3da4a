"""The number of bottoms and tops."""

from __future__ import annotations

import pytest

from caffe_compat.errors import ShapeError
from caffe_compat.layers.arity import check_arity


@pytest.mark.parametrize(
    ("arity", "count", "words"),
    [
        (1, 2, "takes 1 bottom"),
        ((2, None), 1, "takes at least 2 bottom"),
        ((1, 3), 4, "takes 1 to 3 bottom"),
    ],
)
def test_arity(arity, count, words):
    with pytest.raises(ShapeError, match=rf"{words} blob\(s\), and has {count}"):
        check_arity("bottom", count, arity)
    check_arity("bottom", 2, (1, 3))
    check_arity("bottom", 9, (2, None))
