"""Proposal."""

from __future__ import annotations

import re

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import CaffeCompatError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, check_both, inline, make, run_onnx

ANCHORS = "ratio: 0.5 ratio: 1.5 scale: 1 scale: 2"


def blob(name, shape):
    sizes = " ".join(f"dim: {n}" for n in shape)
    return (
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param '
        f"{{ shape {{ {sizes} }} }} }}\n"
    )


def text(param, images=1, count=4, size=(3, 5), info=(1, 3), tops=2):
    names = " ".join(f'top: "{name}"' for name in ("rois", "scores")[:tops])
    return (
        blob("score", (images, 2 * count, *size))
        + blob("delta", (images, 4 * count, *size))
        + blob("info", info)
        + f'layer {{ name: "l" type: "Proposal" bottom: "score" bottom: "delta" bottom: "info" '
        f"{names} proposal_param {{ {param} }} }}"
    )


def random_feeds(net, seed=1, spread=0.4):
    rng = np.random.default_rng(seed)
    shapes = {v.blob: v.shape for v in net.graph.inputs}
    height, width = (16 * n - 3 for n in shapes["score"][2:])
    return {
        "score": rng.random(shapes["score"]).astype(np.float32),
        "delta": (spread * rng.standard_normal(shapes["delta"])).astype(np.float32),
        "info": np.array([[height, width, 1.25, 1.5, 7, 8][: shapes["info"][1]]], np.float32),
    }


def overlap(a, b):
    """Over union, pixels counted with their whole width."""
    sides = [max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + 1) for i in (0, 1)]
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1])


def by_loops(feeds, anchors, stride, least, before, after, limit):
    """Proposals one by one, as the layer's description has them."""
    rows, scores = [], []
    score, delta, info = feeds["score"], feeds["delta"], feeds["info"].ravel()
    half = score.shape[1] // 2
    limits = (info[3 if info.size > 3 else 2] * least, info[2] * least)
    for image in range(len(score)):
        found = []
        for i, j in np.ndindex(*score.shape[2:]):
            for k, anchor in enumerate(anchors.astype(np.float64)):
                box = anchor + np.array([j, i, j, i]) * stride
                size = box[2:] - box[:2] + 1
                dx, dy, dw, dh = delta[image, 4 * k : 4 * k + 4, i, j].astype(np.float64)
                centre = box[:2] + size / 2 + size * (dx, dy)
                size = size * np.exp((dw, dh))
                box = np.concatenate([centre - size / 2, centre + size / 2])
                box = np.clip(box, 0, info[[1, 0, 1, 0]].astype(np.float64) - 1)
                large = all(box[2:] - box[:2] + 1 >= limits)
                found.append((score[image, half + k, i, j] * large, box))
        found = sorted(found, key=lambda one: -one[0])[:before]
        kept = []
        for one in found:
            if len(kept) < after and all(overlap(one[1], other[1]) <= limit for other in kept):
                kept.append(one)
        rows += [[image, *box] for _, box in kept]
        scores += [value for value, _ in kept]
    return np.array(rows, np.float32), np.array(scores, np.float32)


def test_anchors_by_hand():
    """The nine of Faster R-CNN, by the numbers that its own generate_anchors.py prints."""
    param = "ratio: 0.5 ratio: 1 ratio: 2 scale: 8 scale: 16 scale: 32"
    layer = make(text(param, count=9), fork="pvanet").graph.nodes[-1].layer
    assert layer.anchors().tolist() == [
        [-84, -40, 99, 55],
        [-176, -88, 191, 103],
        [-360, -184, 375, 199],
        [-56, -56, 71, 71],
        [-120, -120, 135, 135],
        [-248, -248, 263, 263],
        [-36, -80, 51, 95],
        [-80, -168, 95, 183],
        [-168, -344, 183, 359],
    ]
    # caffe-windows: sides of sqrt(256 / 4) * 64 / 16 = 32 and 4 * 32 pixels, less one, halved.
    layer = make(text("ratio: 4 scale: 64", count=1), fork="caffe-windows").graph.nodes[-1].layer
    assert layer.anchors().tolist() == [[-8, -56, 23, 71]]


def test_proposals_by_hand():
    """One anchor (0, 0, 15, 15) at three places 16 apart, in a picture of 16 x 40."""
    net = make(text("ratio: 1 scale: 1 min_size: 9", count=1, size=(1, 3)), fork="pvanet")
    delta = np.zeros((1, 4, 1, 3), np.float32)
    delta[0, 0, 0, 1] = -0.9375  # the second moves left by 15 of its 16 pixels: to 1 .. 17
    score = np.array([0, 0, 0, 0.5, 0.75, 0.25], np.float32).reshape(1, 2, 1, 3)
    feeds = {"score": score, "delta": delta, "info": np.array([[16, 40, 1]], np.float32)}
    for made in (net.forward(feeds), run_onnx(net, feeds)):
        # The first overlaps the second by 15 columns of 18. The third is cut at column 39 to 8
        # pixels, fewer than 9: its score is 0. Decoded boxes end a pixel later than anchors.
        assert made["rois"].tolist() == [[0, 1, 0, 17, 15], [0, 32, 0, 39, 15]]
        assert made["scores"].tolist() == [0.75, 0]


CASES = [
    ("", 1, (1, 3), "pvanet"),
    ("min_size: 24 nms_thresh: 0.5", 2, (1, 3), "pvanet"),
    ("min_size: 20 pre_nms_topn: 20 post_nms_topn: 7", 2, (1, 4), "pvanet"),
    ("min_size: 3 feat_stride: 12 base_size: 20", 1, (1, 3, 1, 1), "pvanet"),
    ("min_size: 20", 1, (1, 6), "pvanet"),
    ("scale: 40 scale: 20 min_size: 10", 1, (1, 3), "caffe-windows"),
]


@pytest.mark.parametrize(("param", "images", "info", "fork"), CASES)
def test_proposals_as_described(param, images, info, fork):
    anchors = "ratio: 0.5 ratio: 1.5 " + ("" if "scale" in param else "scale: 1 scale: 2")
    net = make(text(f"{anchors} {param}", images, info=info), fork=fork)
    layer = net.graph.nodes[-1].layer
    feeds = (
        random_feeds(net)
        if len(info) == 2
        else {
            **random_feeds(make(text(ANCHORS), fork="pvanet")),
            "info": np.array([45, 77, 1.25], np.float32).reshape(info),
        }
    )
    made, lowered = net.forward(feeds), run_onnx(net, feeds)
    p = layer.p
    rows, scores = by_loops(
        feeds,
        layer.anchors(),
        p.feat_stride,
        p.min_size,
        p.pre_nms_topn,
        p.post_nms_topn,
        p.nms_thresh,
    )
    assert len(rows) < images * 60
    for got in (made, lowered):
        assert_close(got["rois"], rows)
        assert_close(got["scores"], scores)


def test_one_top_and_any_size():
    body = text(f"{ANCHORS} pre_nms_topn: 40", tops=1)
    opened = {"score": (None, 8, None, None), "delta": (None, 16, None, None)}
    model = lower(make(body, fork="pvanet", inputs=opened))
    session = ort.InferenceSession(inline(model).SerializeToString())
    for images, size in ((1, (3, 5)), (2, (2, 3)), (1, (1, 7))):
        net = make(text(f"{ANCHORS} pre_nms_topn: 40", images, size=size, tops=1), fork="pvanet")
        feeds = random_feeds(net)
        (made,) = session.run(None, feeds)
        assert_close(made, net.forward(feeds)["rois"])


def test_regions_go_on_to_pooling():
    """How many rows there are only the data say: what follows takes any number."""
    body = (
        text(ANCHORS, tops=1)
        + blob("map", (1, 2, 3, 5))
        + """
        layer { name: "pool" type: "ROIPooling" bottom: "map" bottom: "rois" top: "y"
                roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.0625 } }"""
    )
    net = make(body, fork="pvanet")
    feeds = {
        **random_feeds(make(text(ANCHORS), fork="pvanet")),
        "map": np.random.default_rng(3).random((1, 2, 3, 5)).astype(np.float32),
    }
    made = check_both(body, feeds=feeds, fork="pvanet")["y"]
    assert 1 < len(made) < 60
    assert net.graph.blob("y").dims == (None, 2, 2, 2)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (text("ratio: 1"), "has no ratio or no scale"),
        (text(f"{ANCHORS} nms_thresh: 1.5"), "is not between 0 and 1"),
        (text(f"{ANCHORS} post_nms_topn: 0"), "post_nms_topn must be positive, and is 0"),
        (text(ANCHORS, count=3), "4 anchors want scores and corrections of 8 and 16 channels"),
        (text(ANCHORS, info=(1, 2)), "im_info must have 3 numbers an image or more, and is (1, 2)"),
        (text(ANCHORS, images=2, info=(2, 3)), "im_info (2, 3) of several images"),
    ],
)
def test_errors(body, message):
    with pytest.raises(CaffeCompatError, match=re.escape(message)):
        make(body, fork="pvanet")


def test_the_fork_must_be_named():
    with pytest.raises(UnsupportedError, match=r"name the fork.*pvanet: .*; caffe-windows: "):
        make(text(ANCHORS))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.integers(0, 999),
    st.integers(1, 3),
    st.sampled_from([4, 20, 6000]),
    st.sampled_from([2, 300]),
    st.sampled_from([0.3, 0.7, 1]),
    st.sampled_from(["pvanet", "caffe-windows"]),
)
def test_any_numbers(seed, images, before, after, limit, fork):
    scale = 1 if fork == "pvanet" else 16
    param = (
        f"ratio: 0.7 ratio: 2 scale: {scale} scale: {3 * scale} min_size: 14 "
        f"pre_nms_topn: {before} post_nms_topn: {after} nms_thresh: {limit}"
    )
    net = make(text(param, images, size=(2, 4)), fork=fork)
    check_both(text(param, images, size=(2, 4)), feeds=random_feeds(net, seed), fork=fork)
