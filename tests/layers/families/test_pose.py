"""ImResize and Nms of the first OpenPose beside loops over their pixels, as the fork's kernels."""

from __future__ import annotations

from math import floor

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import assert_close, check_both, make, one_layer


def cubic(v, d):
    a = -0.5 * v[0] + 1.5 * v[1] - 1.5 * v[2] + 0.5 * v[3]
    b = v[0] - 2.5 * v[1] + 2 * v[2] - 0.5 * v[3]
    return a * d**3 + b * d**2 + (-0.5 * v[0] + 0.5 * v[2]) * d + v[1]


def taps(n, size, pad, i):
    """The four pixels around pixel i of the top along an axis, and its distance from the second."""
    inner = n - 2 * pad
    at = (i - (size / inner / 2 - 0.5)) * (inner / size)
    second = max(int(at + 1e-5), 0)
    third = inner - 1 if second + 1 >= inner else second + 1
    fourth = inner - 1 if third + 1 >= inner else third + 1
    return [pad + k for k in (max(second - 1, 0), second, third, fourth)], at - second


def resized(x, size, start=1.0, gap=0.1):
    y = np.zeros((1, x.shape[1], *size))
    for n, image in enumerate(x):
        down, across = (floor(m // 2 * (1 - start + n * gap)) for m in x.shape[2:])
        for i, j in np.ndindex(*size):
            rows, dy = taps(x.shape[2], size[0], down, i)
            columns, dx = taps(x.shape[3], size[1], across, j)
            lines = [cubic([image[:, r, c] for c in columns], dx) for r in rows]
            y[0, :, i, j] += cubic(lines, dy) / len(x)
    return y


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ("factor: 8", (56, 72)),
        ("target_spatial_height: 5 target_spatial_width: 20", (5, 20)),
        ("factor: 2.5 start_scale: 1 scale_gap: 0.3", (17, 22)),
    ],
)
def test_im_resize(images, fields, size):
    x = np.random.default_rng(0).standard_normal((images, 2, 7, 9)).astype(np.float32)
    body = one_layer(f'type: "ImResize" imresize_param {{ {fields} }}', x.shape)
    y = check_both(body, feeds={"a": x})["y"]
    assert_close(y, resized(x, size, gap=0.3 if "gap" in fields else 0.1), 1e-5, axis=None)


def peaks(x, parts, most, threshold):
    """The fork's kernel, a pixel at a time over the blob's memory."""
    _, _, height, width = x.shape
    memory, y = x.ravel(), np.zeros((1, parts, most + 1, 3))
    for part in range(parts):
        start, found = part * height * width, 0
        for i in range(1, height - 1):
            for j in range(1, width - 1):
                around = x[0, part, i - 1 : i + 2, j - 1 : j + 2].copy()
                value, around[1, 1] = around[1, 1], -np.inf
                if not (value > threshold and value > around.max()):
                    continue
                found += 1
                if found > most:
                    continue
                total = column = row = 0
                for r in range(i - 3, i + 4):
                    for c in range(j - 3, j + 4):
                        if 0 < r < width and 0 < c < width:
                            score = memory[start + r * width + c]
                            if score > 0:
                                total, column, row = (
                                    total + score,
                                    column + c * score,
                                    row + r * score,
                                )
                y[0, part, found] = column / total, row / total, value
        y[0, part, 0, 0] = found
    return y


@pytest.mark.parametrize("size", [(9, 13), (14, 12)])
@pytest.mark.parametrize("most", [3, 20])
def test_nms(size, most):
    """Where the maps are wide, a peak near the last row counts the next map's rows."""
    x = np.random.default_rng(1).standard_normal((1, 5, *size)).astype(np.float32)
    fields = f"threshold: 0.3 num_parts: 4 max_peaks: {most}"
    body = one_layer(f'type: "Nms" nms_param {{ {fields} }}', x.shape)
    y = check_both(body, feeds={"a": x})["y"]
    wanted = peaks(x, 4, most, np.float32(0.3))
    assert wanted[0, :, 0, 0].min() > 3
    assert_close(y, wanted, 1e-5)


def test_refused():
    with pytest.raises(ShapeError, match="more maps than num_parts 15"):
        make(one_layer('type: "Nms"', (1, 15, 8, 8)))
    with pytest.raises(UnsupportedError, match="takes one image, as in the fork"):
        make(one_layer('type: "Nms"', (2, 16, 8, 8)))
    with pytest.raises(ShapeError, match="image 5 of the pyramid has 0 of 8"):
        body = 'type: "ImResize" imresize_param { scale_gap: 0.2 }'
        make(one_layer(body, (7, 1, 8, 8))).forward({"a": np.zeros((7, 1, 8, 8), np.float32)})
