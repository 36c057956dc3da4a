"""CenterGridOutput and CenternetDetectionOutput, beside loops over cells and pairs of boxes."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, feed, make, one_layer, run_onnx

GRID = 'type: "CenterGridOutput" detection_output_param { num_classes: %d %s bias_scale: 9 '
GRID += "bias_scale: 12 bias_scale: 20 nms_thresh: 0.3 net_width: 40 net_height: 40 }"
NET = 'type: "CenternetDetectionOutput" detection_output_param { num_classes: 3 %s }'


def picked(rows, areas, threshold):
    """Rows image, label, score, corners, ...; an image's best first, those near better ones out."""
    kept = []
    for image in sorted({row[0] for row in rows}):
        own = sorted((i for i, r in enumerate(rows) if r[0] == image), key=lambda i: -rows[i][2])
        best = []
        for i in own:
            a = rows[i]
            for j in best:
                b = rows[j]
                width = max(min(a[5], b[5]) - max(a[3], b[3]) + 1, 0)
                height = max(min(a[6], b[6]) - max(a[4], b[4]) + 1, 0)
                if width * height / (areas[i] + areas[j] - width * height) > threshold:
                    break
            else:
                best.append(i)
        kept += [rows[i] for i in best]
    return np.array(kept)


@pytest.mark.parametrize("kind", ["SIGMOID", "SOFTMAX", "has_lm"])
def test_center_grid(kind):
    marks = 10 if kind == "has_lm" else 0
    classes = 1 if kind == "SIGMOID" else 2
    channels = 4 + marks + classes
    body = "class_type: SIGMOID" if classes == 1 else "class_type: SOFTMAX"
    body += " confidence_threshold: 0.6" + (" has_lm: true" if marks else "")
    net = make(one_layer(GRID % (classes, body), *[(2, channels, n, n) for n in (8, 4, 2)]))
    feeds = feed(net)
    for array in feeds.values():
        array[:, 2:4] -= 2  # most boxes have an extent
    rows, areas = [], []
    for image in range(2):
        for array, bias in zip(feeds.values(), (9, 12, 20), strict=True):
            size = array.shape[2]
            ratio = 40 / size
            for h, w in np.ndindex(size, size):
                cell = array[image, :, h, w].astype(np.float64)
                reach = bias / (ratio * (2 if classes == 1 else 1))
                middles = [w, h, w, h] + [w] * marks
                place = [(m + 0.5 - v * reach) * ratio for m, v in zip(middles, cell, strict=False)]
                place = [min(max(v, 0), 40) for v in place]
                odds = np.exp(cell[-1]) / (1 if classes == 1 else np.exp(cell[-2]))
                width, height = place[2] - place[0], place[3] - place[1]
                if width > 0 and height > 0 and odds / (1 + odds) >= 0.6:
                    rows.append([image, 1, odds / (1 + odds), *place])
                    areas.append(width * height)
    want = picked(rows, areas, 0.3)
    assert 2 < len(want) < len(rows)
    want[:, 3:] /= 40
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert_close(outputs["y"][0, 0], want, 1e-4)


@pytest.mark.parametrize("marks", [0, 10])
def test_centernet(marks):
    body = "confidence_threshold: 0.5 nms_thresh: 0.2" + (" has_lm: true" if marks else "")
    net = make(one_layer(NET % body, (2, 4 + marks, 5, 6), (2, 2, 5, 6)))
    feeds = feed(net)
    rng = np.random.default_rng(4)
    feeds["b"] = rng.uniform(0, 1, (2, 2, 5, 6)).astype(np.float32)
    feeds["b"][0, 1, 2, 3] = 1  # left out
    rows, areas = [], []
    for image, c, h, w in np.ndindex(2, 2, 5, 6):
        score = feeds["b"][image, c, h, w]
        if not 0.5 < score < 1:
            continue
        cell = feeds["a"][image, :, h, w].astype(np.float64)
        x, y, width, height = (w + cell[0]) * 4, (h + cell[1]) * 4, *np.exp(cell[2:4]) * 4
        box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        box = [min(max(v, 0), limit) for v, limit in zip(box, (24, 20, 24, 20), strict=True)]
        spans = (box[2] - box[0], box[3] - box[1])
        marked = [
            min(max(((x, y)[i % 2] + v * spans[i % 2]) * 4, 0), (24, 20)[i % 2])
            for i, v in enumerate(cell[4:])
        ]
        rows.append([image, c + 1, score, *box, *marked])
        areas.append(width * height)
    want = picked(rows, areas, 0.2)
    assert 2 < len(want) < len(rows)
    want[:, 3:7] /= [24, 20, 24, 20]
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert_close(outputs["y"][0, 0], want, 1e-4)


def test_keep_top_k_and_nothing():
    shapes = (2, 4, 5, 6), (2, 2, 5, 6)
    net = make(one_layer(NET % "confidence_threshold: 0.5 keep_top_k: 2", *shapes))
    feeds = feed(net)
    feeds["b"] = np.random.default_rng(4).uniform(0, 1, shapes[1]).astype(np.float32)
    rows = net.forward(feeds)["y"]
    assert rows.shape == (1, 1, 4, 7)
    assert_close(run_onnx(net, feeds)["y"], rows, axis=3)
    feeds["b"][0] = 0  # of the second image alone
    rows = net.forward(feeds)["y"]
    assert rows[0, 0, :, 0].tolist() == [1, 1]
    assert_close(run_onnx(net, feeds)["y"], rows, axis=3)
    feeds["b"][:] = 0
    want = np.full((2, 7), -1)
    want[:, 0] = [0, 1]
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert np.array_equal(outputs["y"][0, 0], want)


def test_a_varying_size_has_no_onnx():
    inputs = {"a": (1, 4, None, 6), "b": (1, 2, None, 6)}
    net = make(one_layer(NET % "", (1, 4, 5, 6), (1, 2, 5, 6)), inputs=inputs)
    with pytest.raises(UnsupportedError, match="at a fixed size"):
        lower(net)


@pytest.mark.parametrize(
    ("body", "shapes", "words"),
    [
        (NET % "", [(1, 5, 5, 6), (1, 2, 5, 6)], "needs 4 and 2 channels"),
        (NET % "", [(1, 4, 5, 6), (1, 2, 5, 5)], "maps of one size"),
        (NET.replace("num_classes: 3", "") % "", [(1, 4, 5, 6), (1, 2, 5, 6)], "num_classes"),
        (GRID % (2, ""), [(1, 6, 4, 4)] * 3, "2 classes with SOFTMAX"),
        (GRID % (1, ""), [(1, 5, 4, 4)] * 4, "3 bias_scale for 4"),
        (GRID % (1, ""), [(1, 5, 4, 3)] * 3, "square maps of 5"),
    ],
)
def test_refused(body, shapes, words):
    with pytest.raises(ShapeError, match=words):
        make(one_layer(body, *shapes))
