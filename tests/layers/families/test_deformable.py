"""DeformableConvolution beside a loop over its taps; its gradients beside PyTorch's."""

from __future__ import annotations

from math import floor

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import assert_close, check_both, check_gradients, make, one_layer

IMAGE = np.random.default_rng(0).standard_normal((2, 8, 5, 6)).astype(np.float32)


def text(fields, offsets, x=IMAGE.shape):
    filler = '{ type: "gaussian" }'
    body = f"num_output: 4 weight_filler {filler} bias_filler {filler} {fields}"
    kind = f'type: "DeformableConvolution" deformable_convolution_param {{ {body} }}'
    return one_layer(kind, x, offsets)


def pixel(image, row, column):
    """A bilinear sample; 0 beyond the image, and the edge in the outer half of its pixels."""
    height, width = image.shape
    if not (0 <= row < height and 0 <= column < width):
        return 0
    top, left = floor(row), floor(column)
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = row - top, column - left
    upper = (1 - across) * image[top, left] + across * image[top, right]
    lower = (1 - across) * image[below, left] + across * image[below, right]
    return (1 - down) * upper + down * lower


@pytest.mark.parametrize(("pad", "moving", "groups"), [(1, 4, 1), (2, 2, 2)])
def test_loop(pad, moving, groups):
    """A dilation as wide as the pad keeps the size."""
    rng = np.random.default_rng(2)
    offsets = (rng.standard_normal((2, 18 * moving, 5, 6)) * 1.5).astype(np.float32)
    fields = f"kernel_size: 3 pad: {pad} dilation: {pad} deformable_group: {moving} group: {groups}"
    body = text(fields, offsets.shape)
    y = check_both(body, feeds={"a": IMAGE, "b": offsets})["y"]
    params = make(body).params["l"]
    wanted = np.zeros(y.shape)
    for n, o, i, j in np.ndindex(*y.shape):
        for c, k, m in np.ndindex(8 // groups, 3, 3):
            channel = o // (4 // groups) * (8 // groups) + c
            tap = 2 * (9 * (channel // (8 // moving)) + 3 * k + m)
            row = i - pad + k * pad + offsets[n, tap, i, j]
            column = j - pad + m * pad + offsets[n, tap + 1, i, j]
            share = params["weight"][o, c, k, m]
            wanted[n, o, i, j] += share * pixel(IMAGE[n, channel], row, column)
    assert_close(y, wanted + params["bias"][:, None, None], 1e-5)


def test_gradients():
    """Offsets that no step moves across a pixel."""
    rng = np.random.default_rng(3)
    offsets = rng.integers(-2, 2, (2, 18, 5, 6)) + rng.uniform(0.2, 0.8, (2, 18, 5, 6))
    body = text("kernel_size: 3 pad: 1 deformable_group: 1", offsets.shape)
    check_gradients(body, feeds={"a": IMAGE, "b": offsets.astype(np.float32)})


def test_refused():
    with pytest.raises(UnsupportedError, match="its top is of another size than its bottom"):
        make(text("kernel_size: 3 deformable_group: 1", (2, 18, 5, 6)))
    with pytest.raises(ShapeError, match=r"needs offsets of \(2, 72, 5, 6\)"):
        make(text("kernel_size: 3 pad: 1", (2, 18, 5, 6)))
    with pytest.raises(ShapeError, match="deformable_group 3 must divide the 8 channels"):
        make(text("kernel_size: 3 pad: 1 deformable_group: 3", (2, 54, 5, 6)))
