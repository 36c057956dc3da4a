"""ROIPooling and PSROIPooling."""

from __future__ import annotations

from math import ceil, floor

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import check_both, check_gradients, feed, make, one_layer, operators
from ..test_regions import BY_POSITION, MAX, PICTURE, regions, run, text


def test_roi_pooling_by_hand():
    """Corners 16.5 and 7.5 of scale 1 / 8 are columns 2 and 1 (halves go up): 4 x 2 cells."""
    param = "roi_pooling_param { pooled_h: 2 pooled_w: 1 spatial_scale: 0.125 }"
    body = text("ROIPooling", param, (1, 1, 4, 5), (2, 5))
    made = run(body, PICTURE[None], [[0, 8, 4, 16.5, 28], [0, 40, 0, 80, 8]])
    # Rows 1 to 4 are 4 cells, the last beyond the picture; two bins of 2. Columns 1 and 2.
    assert made[0, 0].tolist() == [[22], [32]]
    # Columns 5 to 10 lie off the picture: empty bins are 0.
    assert made[1, 0].tolist() == [[0], [0]]


def test_psroi_pooling_by_hand():
    """Corners 0 and 3 (+ 1) of scale 1: two bins of 2 x 2 cells a side, each in its own channel."""
    param = "psroi_pooling_param { output_dim: 1 group_size: 2 spatial_scale: 1 }"
    body = text("PSROIPooling", param, (1, 4, 4, 5), (3, 5))
    x = PICTURE + 100 * np.arange(4)[:, None, None]
    made = run(body, x, [[0, 0, 0, 3, 3], [0, 1.5, 0, 2.4, 0.4], [0, -9, 0, -8, 3]])
    assert made[0, 0].tolist() == [[5.5, 107.5], [225.5, 327.5]]
    # 1.5 goes up to 2 and 2.4 down: 1 x 1 cell, which both bins of a side see.
    assert made[1, 0].tolist() == [[2, 102], [202, 302]]
    assert made[2, 0].tolist() == [[0, 0], [0, 0]]


def away_from_zero(number):
    return floor(abs(number) + 0.5) * (1 if number >= 0 else -1)


def max_by_loops(x, rois, size, scale):
    y = np.zeros((len(rois), x.shape[1], *size), np.float32)
    f = np.float32
    for r, (image, *box) in enumerate(rois):
        x0, y0, x1, y1 = (away_from_zero(float(f(v) * f(scale))) for v in box)
        extent = (max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1))
        step = [f(e) / f(n) for e, n in zip(extent, size, strict=True)]
        for i, j in np.ndindex(*size):
            rows = [floor(f(i) * step[0]) + y0, ceil(f(i + 1) * step[0]) + y0]
            columns = [floor(f(j) * step[1]) + x0, ceil(f(j + 1) * step[1]) + x0]
            h0, h1 = (min(max(v, 0), x.shape[2]) for v in rows)
            w0, w1 = (min(max(v, 0), x.shape[3]) for v in columns)
            part = x[int(image), :, h0:h1, w0:w1]
            y[r, :, i, j] = part.max((1, 2)) if part.size else 0
    return y


@pytest.mark.parametrize("step", [0, 0.5, 1])
def test_roi_pooling_as_its_loops_go(step):
    x = np.random.default_rng(1).standard_normal((2, 18, 9, 11)).astype(np.float32)
    rois = regions(30, 2, 2, step)
    made = check_both(text("ROIPooling", MAX), feeds={"x": x, "rois": rois})["y"]
    np.testing.assert_array_equal(made, max_by_loops(x, rois, (2, 3), 0.0625))


def test_operators():
    """The one operator where ONNX has it; else one matrix product for all bins of all regions."""
    assert operators(text("ROIPooling", MAX, (1, 18, 9, 11))) == ["MaxRoiPool"]
    assert operators(text("PSROIPooling", BY_POSITION, (1, 18, 9, 11))).count("MatMul") == 1


def test_refused():
    with pytest.raises(ShapeError, match="want 18 channels, and the"):
        make(text("PSROIPooling", BY_POSITION, (1, 17, 9, 11)))
    with pytest.raises(UnsupportedError, match="differs among forks"):
        make(text("ROIPooling", MAX.replace("{", "{ pad_ratio: 0.25")))


def test_padded_regions():
    """Regions wider by a quarter on each side, only with the fork named."""
    param = "pooled_h: 3 pooled_w: 2 spatial_scale: 0.5"
    shapes = (2, 3, 9, 11), (4, 5)
    padded = one_layer(
        f'type: "ROIPooling" roi_pooling_param {{ {param} pad_ratio: 0.25 }}', *shapes
    )
    rois = [[0, 3, 2, 10, 13], [1, 0, 0, 21, 17], [1, 8, 8, 8, 8], [0, 4, 1, 19, 6]]
    feeds = feed(make(padded, fork="cascade-rcnn"))
    feeds["b"] = np.array(rois, np.float32)
    pad = (feeds["b"][:, 3:] - feeds["b"][:, 1:3] + 1) / 4
    wide = np.hstack([feeds["b"][:, :1], feeds["b"][:, 1:3] - pad, feeds["b"][:, 3:] + pad])
    plain = make(one_layer(f'type: "ROIPooling" roi_pooling_param {{ {param} }}', *shapes))
    want = plain.forward({"a": feeds["a"], "b": wide})["y"]
    assert np.array_equal(check_both(padded, feeds=feeds, fork="cascade-rcnn")["y"], want)
    with pytest.raises(UnsupportedError, match="cascade-rcnn: ROIPooling of regions wider"):
        make(padded)


@pytest.mark.parametrize(
    ("kind", "param", "channels"),
    [
        ("ROIPooling", "roi_pooling_param { pooled_h: 3 pooled_w: 2 spatial_scale: 0.5 }", 2),
        (
            "PSROIPooling",
            "psroi_pooling_param { output_dim: 2 group_size: 2 spatial_scale: 0.5 }",
            8,
        ),
    ],
)
def test_gradients(kind, param, channels):
    r = np.random.RandomState(1)
    x = r.permutation(2 * channels * 30).reshape(2, channels, 5, 6) / 10  # no two maxima tie
    rois = [[1, 0, 0, 9, 7], [0, 2, 1, 40, 6], [1, 3, 3, 3, 3]]
    feeds = {"x": x.astype(np.float32), "rois": np.array(rois, np.float32)}
    body = text(kind, param, x.shape, (3, 5))
    check_gradients(body, feeds=feeds, blobs=["x"], step=1e-2)
