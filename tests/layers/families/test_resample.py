"""Resample, Downsample and ChannelNorm beside loops over their pixels."""

from __future__ import annotations

from math import ceil, copysign, floor

import numpy as np
import pytest

from caffe_compat.errors import UnsupportedError

from ...cases import check_both, check_gradients, make, one_layer, run_onnx

IMAGE = np.random.default_rng(0).standard_normal((2, 3, 9, 11)).astype(np.float32)


def rounded(x):
    return int(copysign(floor(abs(x) + 0.5), x))


def triangle(x):
    return max(0, 1 - abs(x))


def cubic(x):
    x = abs(x)
    if x <= 1:
        return x * x * (1.5 * x - 2.5) + 1
    return x * (x * (-0.5 * x + 2.5) - 4) + 2 if x < 2 else 0


def resampled(x, size, kind, antialias):
    """A loop over the pixels of the top, and for each over the near ones of the bottom."""
    height, width = x.shape[2:]
    fy, fx = (np.float32(n) / np.float32(m) for n, m in zip((height, width), size, strict=True))
    wide = antialias and max(fx, fy) > 1
    ax, ay = (1 / f if wide else 1.0 for f in (fx, fy))
    kernel, reach = (cubic, 4) if kind == "CUBIC" else (triangle, 2)
    rx, ry = (2 if f < 1 else ceil(reach / a) for f, a in ((fx, ax), (fy, ay)))
    y = np.zeros((*x.shape[:2], *size))
    for i, j in np.ndindex(*size):
        row, column = i * fy + fx / 2 - np.float32(0.5), j * fx + fy / 2 - np.float32(0.5)
        if kind == "NEAREST":
            y[:, :, i, j] = x[:, :, rounded(row), rounded(column)]
            continue
        total = weight = 0
        for r in range(max(rounded(row) - ry, 0), min(rounded(row) + ry + 1, height)):
            for c in range(max(rounded(column) - rx, 0), min(rounded(column) + rx + 1, width)):
                share = ax * kernel(ax * (column - c)) * ay * kernel(ay * (row - r))
                total, weight = total + share * x[:, :, r, c], weight + share
        y[:, :, i, j] = total / weight if weight else 0
    return y


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("kind", ["NEAREST", "LINEAR", "CUBIC"])
@pytest.mark.parametrize("size", [(18, 22), (4, 5), (9, 11), (7, 16)])
def test_resample(size, kind, antialias):
    fields = f"height: {size[0]} width: {size[1]} type: {kind} antialias: {antialias}".lower()
    fields = fields.replace(kind.lower(), kind)
    body = one_layer(f'type: "Resample" resample_param {{ {fields} }}', IMAGE.shape)
    y = check_both(body, feeds={"a": IMAGE})["y"]
    np.testing.assert_allclose(y, resampled(IMAGE, size, kind, antialias), atol=3e-5)


def test_resample_like():
    """The size of the second bottom, whatever it shows."""
    feeds = {"a": IMAGE, "b": np.full((1, 1, 6, 5), np.nan, np.float32)}
    y = check_both(one_layer('type: "Resample"', IMAGE.shape, (1, 1, 6, 5)), feeds=feeds)["y"]
    np.testing.assert_allclose(y, resampled(IMAGE, (6, 5), "LINEAR", antialias=True), atol=3e-5)


def test_refused():
    def resample(fields):
        make(one_layer(f'type: "Resample" resample_param {{ {fields} }}', IMAGE.shape))

    with pytest.raises(UnsupportedError, match="type AREA is not implemented, as in the fork"):
        resample("height: 2 width: 2 type: AREA")
    body = 'type: "Resample" resample_param { height: 13 width: 6 type: NEAREST }'
    with pytest.raises(UnsupportedError, match=r"from \(9, 11\) to \(13, 6\) reads beyond"):
        make(one_layer(body, IMAGE.shape)).forward({"a": IMAGE})
    with pytest.raises(UnsupportedError, match=r"a size of \(1, 5\) divides by 0"):
        make(one_layer('type: "Downsample"', IMAGE.shape, (1, 1, 1, 5)))


def downsampled(x, size):
    """A loop over the pixels of the top, and for each over the near ones of the bottom."""
    height, width = x.shape[2:]
    sy, sx = ((n - 1) / (m - 1) for n, m in zip((height, width), size, strict=True))
    y = np.zeros((*x.shape[:2], *size))
    for n, k, i, j in np.ndindex(y.shape):
        row, column = i * sy, j * sx
        total = weight = lost = 0
        for r in range(rounded(row) - ceil(sy), rounded(row) + ceil(sy) + 1):
            for c in range(rounded(column) - ceil(sx), rounded(column) + ceil(sx) + 1):
                if not (0 <= r < height and 0 <= c < width):
                    continue
                share = triangle((r - row) / sy) * triangle((c - column) / sx)
                if np.isnan(x[n, k, r, c]):
                    lost += share
                else:
                    total, weight = total + share * x[n, k, r, c], weight + share
        y[n, k, i, j] = np.nan if not weight or lost / weight > 0.5 else total / weight
    return y


def test_downsample():
    body = one_layer(
        'type: "Downsample" downsample_param { top_height: 4 top_width: 5 }', (2, 3, 9, 11)
    )
    y = check_both(body, feeds={"a": IMAGE})["y"]
    np.testing.assert_allclose(y, downsampled(IMAGE, (4, 5)), atol=1e-5)


def test_downsample_of_nan():
    """A flow that is unknown in places."""
    x = IMAGE.copy()
    x[np.random.default_rng(5).random(x.shape) < 0.2] = np.nan
    net = make(one_layer('type: "Downsample"', x.shape, (2, 3, 4, 5)))
    feeds = {"a": x, "b": np.zeros((2, 3, 4, 5), np.float32)}
    wanted = downsampled(x, (4, 5))
    assert 0.02 < np.isnan(wanted).mean() < 0.8
    for y in (net.forward(feeds)["y"], run_onnx(net, feeds)["y"]):
        np.testing.assert_allclose(y, wanted, atol=1e-5)


def test_downsample_to_the_same_size():
    body = one_layer('type: "Downsample"', IMAGE.shape, (1, 1, 9, 11))
    y = make(body).forward({"a": IMAGE, "b": IMAGE[:1, :1]})["y"]
    np.testing.assert_array_equal(y, IMAGE)


def test_channel_norm():
    body = one_layer('type: "ChannelNorm"', IMAGE.shape)
    y = check_both(body, feeds={"a": IMAGE})["y"]
    np.testing.assert_allclose(y[:, 0], np.linalg.norm(IMAGE, axis=1), rtol=1e-5)
    check_gradients(body)


def test_bilinear_interpolation_is_refused_where_the_fork_divides_by_0():
    with pytest.raises(UnsupportedError, match=r"a size of \(1, 5\) divides by 0"):
        make(one_layer('type: "BilinearInterpolation"', IMAGE.shape, (1, 1, 1, 5)))
