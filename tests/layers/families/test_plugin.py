"""The Python layers of this package, as a net that names them has them."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ParseError

from ...cases import check_both, check_gradients, feed, make, off_kinks, one_layer


def plugin(param_str):
    return f"""type: "Python" python_param {{ module: "caffe_compat.plugin" layer: "PReLULayer"
        param_str: "{param_str}" }}"""


@pytest.mark.parametrize(
    ("param_str", "prelu"),
    [
        ("", ""),
        ("channel_shared: true", "channel_shared: true"),
        ("filler: {type: constant, value: 0.5}", "filler { value: 0.5 }"),
    ],
)
def test_it_is_prelu(param_str, prelu):
    shape = (2, 3, 5, 4)
    text = one_layer(plugin(param_str), shape)
    native = make(one_layer(f'type: "PReLU" prelu_param {{ {prelu} }}', shape))
    made = check_both(text)["y"]
    np.testing.assert_array_equal(made, native.forward(feed(native))["y"])
    check_gradients(text, feeds={"a": off_kinks(shape)})


def test_what_it_cannot_read():
    with pytest.raises(ParseError, match=r"layer 'l' \(Python\): .*slope"):
        make(one_layer(plugin("slope: 3"), (2, 3)))
