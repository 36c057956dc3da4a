"""ROIPooling, PSROIPooling, ROIAlign."""

from __future__ import annotations

import re
from math import ceil, floor

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import CaffeCompatError, ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, check_both, inline, make, run_onnx


def blob(name, shape):
    sizes = " ".join(f"dim: {n}" for n in shape)
    return (
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param '
        f"{{ shape {{ {sizes} }} }} }}\n"
    )


def text(kind, param, shape=(2, 18, 9, 11), rois=(30, 5)):
    return (
        blob("x", shape)
        + blob("rois", rois)
        + (f'layer {{ name: "l" type: "{kind}" bottom: "x" bottom: "rois" top: "y" {param} }}')
    )


MAX = "roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.0625 }"
BY_POSITION = "psroi_pooling_param { output_dim: 2 group_size: 3 spatial_scale: 0.0625 }"
MEAN = "roi_align_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.0625 sampling_ratio: %d }"
KINDS = [
    ("ROIPooling", MAX, None),
    ("PSROIPooling", BY_POSITION, None),
    ("ROIAlign", MEAN % 2, None),
    ("ROIAlign", MEAN % 0, None),
    ("ROIAlign", MAX, "cascade-rcnn"),
    ("ROIAlign", MAX.replace("{", "{ pad_ratio: 0.25"), "cascade-rcnn"),
]


def regions(count, images, seed, step=0.0):
    """Boxes in a picture of about 144 by 176 and over its edges, some of them inside out."""
    rng = np.random.default_rng(seed)
    start = rng.uniform(-30, 180, (count, 2))
    boxes = np.concatenate([start, start + rng.uniform(-20, 120, (count, 2))], axis=1)
    if step:
        boxes = np.round(boxes / step) * step
    image = rng.integers(0, images, (count, 1))
    return np.concatenate([image, boxes], axis=1).astype(np.float32)


def run(body, x, rois, fork=None):
    net = make(body, fork=fork)
    feeds = {"x": np.array(x, np.float32)[None], "rois": np.array(rois, np.float32)}
    made = net.forward(feeds)["y"]
    assert_close(run_onnx(net, feeds)["y"], made)
    return made


# Column w of row h holds 10 h + w.
PICTURE = np.add.outer(10 * np.arange(4), np.arange(5)).astype(np.float32)


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


def test_roi_align_by_hand():
    """A region of 2 x 2 cells: a point in each bin's middle, or the mean of four."""
    param = "roi_align_param { pooled_h: 1 pooled_w: 2 spatial_scale: 0.5 sampling_ratio: %d }"
    for points in (1, 2, 0):
        body = text("ROIAlign", param % points, (1, 1, 4, 5), (2, 5))
        made = run(body, PICTURE[None], [[0, 2, 2, 6, 6], [0, 2, 2, 2, 2]])
        # Columns 1.5 and 2.5 of row 2; in a plane four points' mean is their middle.
        np.testing.assert_allclose(made[0, 0], [[21.5, 22.5]], 1e-6)
        # An empty region counts as one cell.
        np.testing.assert_allclose(made[1, 0], [[16.25, 16.75]], 1e-6)


def test_roi_align_of_cascade_rcnn_by_hand():
    """The corners of two bins, half a cell before what spatial_scale says; 0 beyond the picture."""
    param = "roi_pooling_param { pooled_h: 1 pooled_w: 2 spatial_scale: 0.5 }"
    body = text("ROIAlign", param, (1, 1, 4, 5), (3, 5))
    made = run(
        body, PICTURE[None], [[0, 3, 3, 7, 5], [0, 9, 1, 17, 3], [0, 4, 3, 4, 5]], "cascade-rcnn"
    )
    np.testing.assert_allclose(made[0, 0], [[11, 12, 13], [21, 22, 23]], 1e-6)
    np.testing.assert_allclose(made[1, 0], [[4, 0, 0], [14, 0, 0]], 1e-6)
    assert not made[2].any()


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


@pytest.mark.parametrize(("kind", "param", "fork"), KINDS)
@pytest.mark.parametrize("step", [0, 0.5, 1, 16])
def test_numpy_and_onnxruntime_agree(kind, param, fork, step):
    for images in (1, 2):
        x = np.random.default_rng(1).standard_normal((images, 18, 9, 11)).astype(np.float32)
        feeds = {"x": x, "rois": regions(30, images, 2, step)}
        check_both(text(kind, param, x.shape), feeds=feeds, fork=fork)
        feeds["rois"] = feeds["rois"].reshape(30, 5, 1, 1)
        check_both(text(kind, param, x.shape, (30, 5, 1, 1)), feeds=feeds, fork=fork)


@pytest.mark.parametrize(("kind", "param", "fork"), KINDS)
def test_any_number_of_images_and_regions(kind, param, fork):
    net = make(text(kind, param), fork=fork, inputs={"x": (None, 18, 9, 11), "rois": (None, 5)})
    session = ort.InferenceSession(inline(lower(net)).SerializeToString())
    for images, count in ((2, 30), (3, 1), (1, 0), (1, 7)):
        x = np.random.default_rng(1).standard_normal((images, 18, 9, 11)).astype(np.float32)
        feeds = {"x": x, "rois": regions(count, images, 4)}
        (made,) = session.run(None, feeds)
        if count:
            wanted = make(text(kind, param, x.shape, (count, 5)), fork=fork).forward(feeds)["y"]
            assert_close(made, wanted)
        else:
            assert made.shape[0] == 0


def test_operators():
    nets = [make(text(kind, param, (1, 18, 9, 11)), fork=fork) for kind, param, fork in KINDS[:4]]
    ops = [[node.op_type for node in lower(net).model.graph.node] for net in nets]
    assert ops[0] == ["MaxRoiPool"]
    assert ops[2] == ops[3] == ["Split", "Squeeze", "Cast", "RoiAlign"]
    assert ops[1].count("MatMul") == 1


@pytest.mark.parametrize(("kind", "param", "fork"), KINDS)
def test_opsets(kind, param, fork):
    net = make(text(kind, param, (1, 18, 9, 11)), fork=fork)
    x = np.random.default_rng(1).standard_normal((1, 18, 9, 11)).astype(np.float32)
    feeds = {"x": x, "rois": regions(30, 1, 2)}
    for opset in (21, 23):
        if opset == 23 and kind != "PSROIPooling":
            with pytest.raises(UnsupportedError, match=r"onnxruntime has .* up to opset 21"):
                lower(net, opset=opset)
        else:
            assert_close(run_onnx(net, feeds, opset=opset)["y"], net.forward(feeds)["y"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (text("ROIPooling", MAX, rois=(30, 4)), "the regions must have 5 numbers each"),
        (text("ROIPooling", MAX, (9, 11)), "needs a bottom of 4 axes"),
        (text("ROIPooling", "roi_pooling_param { pooled_h: 2 }"), "positive, and is (18, 2, 0)"),
        (text("PSROIPooling", BY_POSITION, (1, 17, 9, 11)), "want 18 channels, and the"),
        (text("ROIPooling", MAX.replace("{", "{ pad_ratio: 0.25")), "forks round it differently"),
    ],
)
def test_errors(body, message):
    with pytest.raises(CaffeCompatError, match=re.escape(message)):
        make(body)


def test_forks():
    for param in (MAX, "roi_align_param { pooled_h: 2 pooled_w: 2 }"):
        with pytest.raises(UnsupportedError, match="name the fork"):
            make(text("ROIAlign", param))
    with pytest.raises(UnsupportedError, match="bi_type is of makefile/frcnn"):
        make(text("ROIAlign", MAX.replace("{", "{ bi_type: 0")), fork="cascade-rcnn")
    adaptive = "roi_align_param { pooled_h: 2 pooled_w: 2 }"
    x = np.random.default_rng(1).standard_normal((1, 18, 9, 11)).astype(np.float32)
    feeds = {"x": x, "rois": regions(30, 1, 5)}
    check_both(text("ROIAlign", adaptive, x.shape), fork="caffe2", feeds=feeds)


def test_a_region_of_no_image():
    with pytest.raises(ShapeError, match="region 1 is of image 1, and there are 1"):
        run(text("ROIPooling", MAX, (1, 1, 4, 5), (2, 5)), PICTURE[None], [[0] * 5, [1] * 5])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_any_region(data):
    sizes = [data.draw(st.integers(1, 4)) for _ in range(3)]
    scale = data.draw(st.sampled_from([1, 0.5, 0.0625, 0.3]))
    images, height, width, seed = (data.draw(st.integers(1, n)) for n in (3, 12, 12, 99))
    group, out = sizes[:2]
    shape = (images, group * group * out, height, width)
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    feeds = {"x": x, "rois": regions(9, images, seed, data.draw(st.sampled_from([0, 0.5, 1])))}
    bins = f"pooled_h: {sizes[1]} pooled_w: {sizes[2]} spatial_scale: {scale}"
    groups = f"output_dim: {out} group_size: {group} spatial_scale: {scale}"
    for kind, param, fork in (
        ("ROIPooling", f"roi_pooling_param {{ {bins} }}", None),
        ("ROIAlign", f"roi_align_param {{ {bins} sampling_ratio: {sizes[0] - 1} }}", None),
        ("ROIAlign", f"roi_pooling_param {{ {bins} }}", "cascade-rcnn"),
        ("PSROIPooling", f"psroi_pooling_param {{ {groups} }}", None),
    ):
        check_both(text(kind, param, shape, (9, 5)), feeds=feeds, fork=fork)


def test_a_region_of_no_place_reads_inside():
    """Places of NaN must not become indices, of which int64 has the lowest."""
    net = make(text("ROIAlign", MEAN % 2, (1, 2, 4, 5), (1, 5)))
    rois = np.array([[0, np.nan, 0, np.nan, 9]], np.float32)
    made = net.forward({"x": np.ones((1, 2, 4, 5), np.float32), "rois": rois})["y"]
    assert made.shape == (1, 2, 2, 3)
