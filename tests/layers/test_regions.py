"""What all layers that pool regions have in common."""

from __future__ import annotations

import re

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import CaffeCompatError, ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ..cases import assert_close, check_both, inline, make, run_onnx


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


WARP = "roi_warping_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.0625 }"


KINDS = [
    ("ROIPooling", MAX, None),
    ("PSROIPooling", BY_POSITION, None),
    ("ROIAlign", MEAN % 2, None),
    ("ROIAlign", MEAN % 0, None),
    ("ROIAlign", MAX, "cascade-rcnn"),
    ("ROIWarping", WARP, None),
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
    ],
)
def test_refused(body, message):
    with pytest.raises(CaffeCompatError, match=re.escape(message)):
        make(body)


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
