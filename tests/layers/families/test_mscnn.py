"""MS-CNN's and Cascade R-CNN's boxes, beside the forks' description by loops."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import assert_close, feed, make, one_layer, run_onnx

REGRESSION = (
    "bbox_reg_param { bbox_mean: 0.1 bbox_mean: 0 bbox_mean: -0.1 bbox_mean: 0 "
    "bbox_std: 0.1 bbox_std: 0.2 bbox_std: 0.3 bbox_std: 0.2 %s }"
)
STD, MEAN = np.array([0.1, 0.2, 0.3, 0.2]), np.array([0.1, 0, -0.1, 0])


def overlap(a, b, pixel):
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + pixel for i in (0, 1)]
    areas = [(box[2] - box[0] + pixel) * (box[3] - box[1] + pixel) for box in (a, b)]
    common = sides[0] * sides[1] if min(sides) > pixel else 0
    return common / (sum(areas) - common)


def best(found, before, after, limit, pixel):
    """The candidates (score, box) that remain."""
    rows = []
    for score, box in sorted(found, key=lambda one: -one[0])[: before or None]:
        if all(overlap(box, other, pixel) <= limit for _, other in rows):
            rows.append((score, box))
    return rows[: after or None]


def decoded(deltas, field, place, stride):
    """The left upper corner and the sides of a field's box at a position."""
    deltas = np.asarray(deltas, np.float64) * STD + MEAN
    moves = np.clip(deltas[:2], -0.5, 0.5)
    sides = np.exp(np.clip(deltas[2:], -np.log(2), np.log(2))) * field
    centre = moves * field + np.add(place, 0.5) * stride
    return centre - sides / 2, sides


def single(x, p, image):
    """MS-CNN: maps of classes and 4 corrections."""
    found = []
    for i, map_ in enumerate(x):
        height, width = map_.shape[2:]
        rate, field = p.downsample_rate[i], (p.field_w[i], p.field_h[i])
        for row, column in np.ndindex(height, width):
            numbers = map_[image, :, row, column].astype(np.float64)
            score = max(numbers[1:-4]) - numbers[0]
            low, sides = decoded(numbers[-4:], field, (column, row), rate)
            low = np.maximum(low, 0)
            sides = np.minimum(sides, np.array([width, height]) * rate - low)
            if score >= p.fg_thr and min(sides) >= p.min_size:
                found.append((score, [*low, *(low + sides)]))
    return best(found, p.max_nms_num, p.max_post_nms_num, p.iou_thr, 0)


def grouped(x, p, image):
    """Cascade R-CNN: pairs of scores and corrections, a field an item."""
    found = []
    for score, delta, group in zip(x[::2], x[1::2], p.box_group_param, strict=True):
        height, width = score.shape[2:]
        for k, field in enumerate(zip(group.field_w, group.field_h, strict=True)):
            item = image * len(group.field_w) + k
            for row, column in np.ndindex(height, width):
                low, sides = decoded(
                    delta[item, :, row, column], field, (column, row), group.stride
                )
                high = np.minimum(low + sides - 1, np.array([width, height]) * group.stride)
                low = np.maximum(low, 0)
                value = 1 - score[item, 0, row, column]
                if value >= p.fg_thr and min(high - low + 1) >= p.min_size:
                    found.append((value, [*low, *high]))
    return best(found, p.max_nms_num, p.max_post_nms_num, p.iou_thr, 1)


SINGLE = (
    'type: "BoxOutput" box_output_param { fg_thr: %s iou_thr: 0.5 field_w: 40 field_w: 60 '
    "field_h: 40 field_h: 80 downsample_rate: 8 downsample_rate: 16 %s } " + REGRESSION % ""
)
GROUPED = (
    'type: "BoxGroupOutput" box_group_output_param { fg_thr: %s iou_thr: 0.6 '
    "box_group_param { field_w: 40 field_w: 60 field_w: 30 field_h: 40 field_h: 80 field_h: 50 "
    "stride: 8 } box_group_param { field_w: 90 field_h: 70 stride: 16 } %s } " + REGRESSION % ""
)
MAPS = [(2, 7, 5, 9), (2, 7, 3, 4)]
PAIRS = [(6, 2, 5, 7), (6, 4, 5, 7), (2, 2, 3, 4), (2, 4, 3, 4)]


@pytest.mark.parametrize(
    ("body", "shapes", "one"),
    [
        (SINGLE % ("-1", ""), MAPS, single),
        (SINGLE % ("-9", "max_nms_num: 30 max_post_nms_num: 6 min_size: 30"), MAPS, single),
        (GROUPED % ("-1", ""), PAIRS, grouped),
        (GROUPED % ("0", "max_nms_num: 30 max_post_nms_num: 6 min_size: 30"), PAIRS, grouped),
    ],
)
def test_proposals_by_loops(body, shapes, one):
    net = make(one_layer(body, *shapes, top=["rois", "scored"]))
    feeds = feed(net)
    p = net.graph.nodes[-1].layer.p
    found = [(n, one(list(feeds.values()), p, n)) for n in range(2)]
    rows = np.array([[n, *box, score] for n, each in found for score, box in each])
    assert {0, 1} == set(rows[:, 0])
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert_close(outputs["scored"], rows[:, :, None, None], 1e-4)
        assert np.array_equal(outputs["rois"], outputs["scored"][:, :5])


@pytest.mark.parametrize(("body", "shapes"), [(SINGLE, MAPS), (GROUPED, PAIRS)])
def test_no_proposal(body, shapes):
    net = make(one_layer(body % ("90", ""), *shapes, top=["rois", "scored"]))
    feeds = feed(net)
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert outputs["rois"].reshape(-1).tolist() == [0, 1, 1, 10, 10]
        assert outputs["scored"].shape == (1, 6, 1, 1)
        assert not outputs["scored"].any()


def test_equal_scores_in_the_forks_order():
    """BoxOutput sorts pairs of score and index downwards, so that the last of equal is first."""
    net = make(one_layer(SINGLE % ("0", "min_size: 1"), (1, 7, 1, 9), (1, 7, 1, 1)))
    feeds = {v.blob: np.zeros(v.shape, np.float32) for v in net.graph.inputs}
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        starts = outputs["y"][:, 1, 0, 0]
        assert starts[0] == 0  # the only place of the second map
        assert starts[1] > starts[2]


@pytest.mark.parametrize(
    ("body", "shapes", "error", "words"),
    [
        (SINGLE % ("0", ""), MAPS[:1], ShapeError, "1 maps"),
        (SINGLE % ("0", ""), [(2, 5, 5, 9), (2, 5, 3, 4)], ShapeError, "6 channels"),
        (SINGLE % ("0", 'nms_type: "IOMU"'), MAPS, UnsupportedError, "IOMU"),
        (GROUPED % ("0", ""), PAIRS[:2], ShapeError, "2 bottoms and 2"),
        (GROUPED % ("0", ""), [(5, 2, 5, 7), *PAIRS[1:]], ShapeError, "3 field_h"),
    ],
)
def test_refused(body, shapes, error, words):
    with pytest.raises(error, match=words):
        make(one_layer(body, *shapes, top=["y"]))
