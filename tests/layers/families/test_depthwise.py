"""DepthwiseConvolution and ConvolutionDepthwise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import UnsupportedError

from ...cases import (
    check_both,
    check_gradients,
    make,
    one_layer,
    operators,
)

SHAPE = (2, 3, 5, 4)


def outcome(body, *arrays):
    """What a layer makes of arrays; onnxruntime agrees."""
    arrays = [np.float32(array) for array in arrays]
    text = one_layer(body, *(array.shape for array in arrays))
    return check_both(text, feeds=dict(zip("abc", arrays, strict=False)))["y"]


WINDOW = 'kernel_size: 3 pad: 1 weight_filler { type: "gaussian" } bias_filler { type: "gaussian" }'


DEPTHWISE = [
    ("DepthwiseConvolution", "num_output: 3 group: 3"),
    ("ConvolutionDepthwise", "num_output: 3"),
    ("ConvolutionDepthwise", "num_output: 3 group: 3 stride: 2 dilation: 2"),
]


@pytest.mark.parametrize(("name", "param"), DEPTHWISE)
def test_depthwise_convolution_is_convolution_by_groups(name, param):
    body = f'type: "{name}" convolution_param {{ {param} {WINDOW} }}'
    made = check_both(one_layer(body, SHAPE))["y"]
    plain = param if "group" in param else f"{param} group: 3"
    want = check_both(
        one_layer(f'type: "Convolution" convolution_param {{ {plain} {WINDOW} }}', SHAPE)
    )["y"]
    assert (made == want).all()
    net = make(one_layer(body, SHAPE))
    assert net.arrays[1][0].shape == (3, 1, 3, 3)
    assert operators(net) == ["Conv"]  # of groups, not one for each channel
    check_gradients(one_layer(body, SHAPE))


def test_depthwise_convolution_by_hand():
    """A filter of ones for each of two channels: sums of two neighbours."""
    body = """type: "ConvolutionDepthwise" convolution_param { num_output: 2 kernel_h: 1 kernel_w: 2
              bias_term: false weight_filler { type: "constant" value: 1 } }"""
    made = outcome(body, [[[[1, 2, 3]], [[10, 20, 30]]]])
    assert made.tolist() == [[[[3, 5]], [[30, 50]]]]


@pytest.mark.parametrize(
    ("name", "param", "words"),
    [
        ("DepthwiseConvolution", "num_output: 3", "no group and num_output 3 for 3 channels"),
        ("DepthwiseConvolution", "num_output: 6 group: 3", "num_output 6 for 3 channels"),
        ("ConvolutionDepthwise", "num_output: 6", "num_output 6 for 3 channels"),
        ("ConvolutionDepthwise", "num_output: 3 group: 1", "num_output 3 and group 1 for 3"),
    ],
)
def test_what_forks_take_differently_is_refused(name, param, words):
    with pytest.raises(UnsupportedError, match=words):
        make(one_layer(f'type: "{name}" convolution_param {{ {param} {WINDOW} }}', SHAPE))


def test_the_message_stays_as_it_was():
    net = make(
        one_layer(
            f'type: "ConvolutionDepthwise" convolution_param {{ num_output: 3 {WINDOW} }}', SHAPE
        )
    )
    assert not net.graph.net.layer[1].convolution_param.HasField("group")


@given(
    shape=st.tuples(*[st.integers(1, 5)] * 4),
    window=st.tuples(st.integers(1, 3), st.integers(1, 3)),
)
@settings(max_examples=15)
def test_any_window(shape, window):
    kernel, stride = window
    param = f"kernel_size: {kernel} stride: {stride} pad: {kernel // 2} num_output: {shape[1]}"
    drawn = 'weight_filler { type: "gaussian" } bias_filler { type: "gaussian" }'
    for name in ("DepthwiseConvolution", "ConvolutionDepthwise"):
        body = f'type: "{name}" convolution_param {{ {param} group: {shape[1]} {drawn} }}'
        check_both(one_layer(body, shape))
