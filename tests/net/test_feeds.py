"""What a caller may feed, and the one error for what not."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError

from ..cases import make
from ..slope_nets import layer

X = 'input: "x" input_shape { dim: 1 dim: 2 }' + layer("ReLU", "x", "y")
TWO = 'input: "a" input: "b" input_shape { dim: 2 } input_shape { dim: 2 }' + layer(
    "Eltwise", "a b", "y"
)


@pytest.mark.parametrize(
    "feeds", [np.float32([[-1, 2]]), [[-1, 2]], {"x": [[-1, 2]]}, {"x": np.array([[-1, 2]])}]
)
def test_the_only_input_takes_a_bare_array_and_lists_are_arrays(feeds):
    np.testing.assert_array_equal(make(X).forward(feeds)["y"], [[0, 2]])


@pytest.mark.parametrize(
    ("text", "feeds", "says"),
    [
        (X, "x", "input 'x' takes real numbers, and was fed <U1"),
        (X, {"x": None}, "input 'x' takes real numbers, and was fed object"),
        (X, {"x": np.zeros((1, 2), complex)}, "input 'x' takes real numbers, and was fed complex"),
        (X, {"x": [[1], [2, 3]]}, "input 'x' was not fed an array: "),
        (X, [[1, 2, 3]], r"input 'x' is \(1, 2\), and was fed \(1, 3\)"),
        (X, {"y": 1}, "the net has no input 'y'; its inputs: x"),
        (TWO, np.zeros(2), r'was fed a ndarray; it takes arrays by name, as \{"a": array\}'),
    ],
)
def test_what_is_no_feed(text, feeds, says):
    with pytest.raises(ShapeError, match=f"^{says}"):
        make(text).forward(feeds)


def test_an_overflow_is_no_warning():
    net = make('input: "x" input_shape { dim: 1 }' + layer("Exp", "x", "y"))
    assert net.forward([1000])["y"] == np.inf
