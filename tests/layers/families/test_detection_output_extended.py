"""DetectionOutputExtended, beside a loop over cells and anchors, and beside DetectionOutput."""

from __future__ import annotations

import math

import numpy as np
import pytest

from caffe_compat.errors import ShapeError

from ...cases import assert_close, feed, make, one_layer, run_onnx

BODY = (
    'type: "DetectionOutputExtended" detection_output_param {{ num_classes: 2 '
    "background_label_id: -1 code_type: CENTER_SIZE confidence_threshold: 0.3 {} "
    "nms_param {{ nms_threshold: 0.4 top_k: 15 }} }}"
)
HEIGHT, WIDTH, ANCHORS = 3, 4, 2
PRIORS = HEIGHT * WIDTH * ANCHORS
SHAPES = (2, HEIGHT, WIDTH, 4 * ANCHORS), (2, HEIGHT, WIDTH, 2 * ANCHORS), (1, 2, 4 * PRIORS)


def fed(net):
    rng = np.random.default_rng(6)
    centre, size = rng.random((PRIORS, 2)), 0.1 + rng.random((PRIORS, 2)) / 2
    boxes = np.hstack([centre - size / 2, centre + size / 2]).astype(np.float32)
    variances = np.tile(np.float32([0.1, 0.1, 0.2, 0.2]), PRIORS)
    scores = rng.random(SHAPES[1]).astype(np.float32)
    return {**feed(net), "b": scores, "c": np.stack([boxes.ravel(), variances])[None]}


def overlap(a, b):
    sides = [max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0) for i in (0, 1)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1])


def by_loops(loc, conf, prior, keep):
    rows = []
    for image in range(len(loc)):
        boxes = []
        for row in range(HEIGHT):
            for column in range(WIDTH):
                for anchor in range(ANCHORS):
                    start = 4 * (anchor + ANCHORS * (column + WIDTH * row))
                    left, top, right, bottom = map(float, prior[0, 0, start : start + 4])
                    dx, dy, dw, dh = map(
                        float, loc[image, row, column, 4 * anchor : 4 * anchor + 4]
                    )
                    width, height = right - left, bottom - top
                    x = (left + right) / 2 + 0.1 * dx * width
                    y = (top + bottom) / 2 + 0.1 * dy * height
                    half = math.exp(0.2 * dw) * width / 2, math.exp(0.2 * dh) * height / 2
                    box = [x - half[0], y - half[1], x + half[0], y + half[1]]
                    score = float(conf[image, row, column, 2 * anchor + 1])
                    boxes.append((score, box, [anchor, column, row]))
        candidates = sorted((one for one in boxes if one[0] > 0.3), key=lambda one: -one[0])[:15]
        best = []
        for score, box, cell in candidates:
            if all(overlap(box, other[1]) <= 0.4 for other in best):
                best.append((score, box, cell))
        rows += [[image, 1, score, *box, *cell] for score, box, cell in best[:keep]]
    return np.array(rows)


@pytest.mark.parametrize(("keep", "body"), [(None, ""), (3, "keep_top_k: 3"), (None, "clip: true")])
def test_by_loops(keep, body):
    net = make(one_layer(BODY.format(body), *SHAPES))
    feeds = fed(net)
    want = by_loops(feeds["a"], feeds["b"], feeds["c"], keep)
    assert len(want) >= 6
    assert len(np.unique(want[:, 7:], axis=0)) > 3
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert_close(outputs["y"][0, 0], want, 1e-5)


def test_no_detection():
    net = make(one_layer(BODY.format(""), *SHAPES))
    feeds = {**fed(net), "b": np.zeros(SHAPES[1], np.float32)}
    want = [[0, *[-1] * 9], [1, *[-1] * 9]]
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert outputs["y"][0, 0].tolist() == want


@pytest.mark.parametrize(
    ("body", "shapes", "words"),
    [
        (BODY.format("share_location: false"), SHAPES, "share_location: true"),
        (BODY.format("").replace("classes: 2", "classes: 3"), SHAPES, "num_classes 2"),
        (BODY.format(""), ((2, 8 * 12), *SHAPES[1:]), "locations"),
    ],
)
def test_refused(body, shapes, words):
    with pytest.raises(ShapeError, match=words):
        make(one_layer(body, *shapes))
