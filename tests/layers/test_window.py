"""A window's taps, its size within an input, and its ONNX attributes."""

from __future__ import annotations

import numpy as np

from caffe_compat.layers.spatial import conv_size
from caffe_compat.layers.window import Window


def test_taps_see_what_a_convolution_does():
    window = Window((2, 3), (2, 1), (0, 0), (1, 2))
    x = np.arange(5 * 7).reshape(5, 7)
    out = conv_size((5, 7), window)
    taps = [x[tap] for tap in window.taps(out)]
    assert len(taps) == 6
    assert all(tap.shape == out for tap in taps)
    assert [tap[1, 0] for tap in taps] == [x[2 + i, 2 * j] for i in range(2) for j in range(3)]


def test_numbers_beyond_an_input_change_nothing():
    huge = Window((2**31 - 1, 2), (2**30, 3), (0, 0), (1, 1))
    assert huge.within((7, 9)) == Window((7, 2), (8, 3), (0, 0), (1, 1))


def test_attributes_leave_out_onnxs_defaults():
    assert {k: v for k, v in Window((3,), (1,), (0,), (1,)).attributes().items() if v} == {
        "kernel_shape": [3]
    }
    assert Window((3, 2), (2, 1), (1, 0), (1, 3)).attributes(ends=[0, 4]) == {
        "kernel_shape": [3, 2],
        "strides": [2, 1],
        "pads": [1, 0, 0, 4],
        "dilations": [1, 3],
    }
