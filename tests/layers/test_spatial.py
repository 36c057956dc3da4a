"""Windows: their numbers from a prototxt, and the sizes that they give."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from caffe_compat.caffe_pb2 import ConvolutionParameter, PoolingParameter
from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.layers.spatial import conv_size, conv_window, deconv_size, pool_size, pool_window
from caffe_compat.layers.window import Window


def conv(text, rank=2):
    return conv_window(text_format.Parse(text, ConvolutionParameter()), rank)


def pool(text, size=(7, 9)):
    return pool_window(text_format.Parse(text, PoolingParameter()), size)


def test_one_number_for_all_axes_one_each_or_a_pair():
    wanted = Window((3, 5), (2, 1), (1, 0), (1, 1))
    each = "kernel_size: 3 kernel_size: 5 stride: 2 stride: 1 pad: 1 pad: 0"
    pair = "kernel_h: 3 kernel_w: 5 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0"
    assert conv(each) == conv(pair) == wanted
    assert conv("kernel_size: 3", 3) == Window((3,) * 3, (1,) * 3, (0,) * 3, (1,) * 3)
    assert pool("kernel_h: 3 kernel_w: 5 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0") == wanted
    assert pool("global_pooling: true").kernel == (7, 9)


def test_a_single_tap_has_no_dilation():
    assert conv("kernel_size: 1 dilation: 0").dilation == (1, 1)
    with pytest.raises(UnsupportedError, match="no dilation of 0"):
        conv("kernel_size: 3 dilation: 0")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kernel_size: 3 kernel_h: 3 kernel_w: 3", "not both"),
        ("stride: 2", "kernel_size must be given once"),
        ("kernel_size: 0", "kernel dimensions must be nonzero"),
        ("kernel_size: 4294967295", "Caffe counts to 2147483647"),
    ],
)
def test_refused(text, words):
    with pytest.raises(ShapeError, match=words):
        conv(text)


def test_sizes_by_hand():
    window = Window((3, 2), (2, 3), (1, 0), (1, 2))
    assert window.extent == (3, 3)
    assert conv_size((7, 9), window) == (4, 3)
    assert deconv_size((4, 3), window) == (7, 9)
    assert window.overhang((7, 9), (4, 3)) == (1, 0)


@given(st.tuples(*[st.integers(1, n) for n in (30, 5, 5, 2, 3)]))
def test_a_deconvolution_undoes_a_convolutions_size(numbers):
    n, k, s, p, d = numbers
    window = Window((k,), (s,), (p,), (d,))
    try:
        (out,) = conv_size((n,), window)
        (back,) = deconv_size((out,), window)
    except ShapeError:
        return
    over = window.extent[0] > n + 2 * p  # one window, which exceeds the padded input
    assert out == 1 if over else n - s < back <= n


def test_pools_round_up_but_start_in_no_far_pad():
    window = Window((2, 2), (2, 2), (1, 1), (1, 1))
    assert pool_size((6, 7), window, ceil=True) == (4, 4)
    assert pool_size((6, 7), window, ceil=False) == (4, 4)
    wide = Window((2,), (3,), (0,), (1,))
    assert pool_size((6,), wide, ceil=True) == (3,)
    assert pool_size((6,), wide, ceil=False) == (2,)
