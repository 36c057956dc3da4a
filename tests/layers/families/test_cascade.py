"""The second stage of MS-CNN and Cascade R-CNN, by loops."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import assert_close, feed, make, one_layer, run_onnx
from .test_mscnn import MEAN, REGRESSION, STD, best


def boxes(count, columns=5, seed=2):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, (count, 2))
    rows = np.column_stack([np.zeros(count), low, low + rng.uniform(8, 50, (count, 2))])
    return np.pad(rows, ((0, 0), (0, columns - 5))).astype(np.float32)


def moved(deltas, row):
    """A row's box by corrections of one class."""
    deltas = np.asarray(deltas, np.float64) * STD + MEAN
    low, high = row[1:3].astype(np.float64), row[3:5].astype(np.float64)
    size = high - low + 1
    sides = size * np.exp(deltas[2:])
    first = deltas[:2] * size + (low + high) / 2 - (sides - 1) / 2
    return np.array([*first, *(first + sides - 1)])


@pytest.mark.parametrize("tail", [(), (1, 1)])
def test_decode_bbox(tail):
    net = make(one_layer('type: "DecodeBBox" ' + REGRESSION % "", (7, 8, *tail), (7, 5, *tail)))
    feeds = {"a": feed(net)["a"], "b": boxes(7).reshape(7, 5, *tail)}
    rows = feeds["b"].reshape(7, 5)
    deltas = feeds["a"].reshape(7, 8)
    want = np.array([[0, *moved(d[4:], row)] for d, row in zip(deltas, rows, strict=True)])
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert_close(outputs["y"], want[:, :, None, None])


@pytest.mark.parametrize("aware", [True, False])
@pytest.mark.parametrize("param", ["conf_thr: 0.2", "conf_thr: 0.1 iou_thr: 0.3 max_det_num: 5"])
def test_frcnn_output(aware, param):
    classes, count = 4, 11
    body = f'type: "FrcnnOutput" frcnn_output_param {{ {param} }} ' + REGRESSION % (
        "" if aware else "cls_aware: false"
    )
    wide = 4 * classes if aware else 8
    net = make(one_layer(body, (count, classes), (count, wide), (count, 6), (1, 2)))
    p, rng = net.graph.nodes[-1].layer.p, np.random.default_rng(5)
    feeds = {
        "a": rng.random((count, classes)).astype(np.float32),
        "b": feed(net)["b"],
        "c": boxes(count, 6),
        "d": np.array([[70, 90]], np.float32),
    }
    kept = []
    for label in range(1, classes):
        found = []
        for row in range(count):
            start = 4 * (label if aware else 1)
            box = moved(feeds["b"][row, start : start + 4], feeds["c"][row])
            box = [*np.maximum(box[:2], 0), *np.minimum(box[2:], [90, 70])]
            if feeds["a"][row, label] >= p.conf_thr:
                found.append((feeds["a"][row, label], box))
        kept += [(score, label, box) for score, box in best(found, 0, 0, p.iou_thr, 1)]
    most = sorted(score for score, _, _ in kept)[::-1][: p.max_det_num or None]
    want = [[0, *box, label, score] for score, label, box in kept if score >= most[-1]]
    want = np.array([[0, *[-1] * 6], *want])
    assert len(want) > 5
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert_close(outputs["y"], want[:, :, None, None], 1e-4)


def test_frcnn_output_beyond_the_image():
    """Boxes beyond the image are inside out once they are cut: they overlap nothing."""
    body = (
        'type: "FrcnnOutput" frcnn_output_param { conf_thr: 0.1 iou_thr: 0.3 } ' + REGRESSION % ""
    )
    net = make(one_layer(body, (11, 4), (11, 16), (11, 5), (1, 2)))
    feeds = {
        "a": np.random.default_rng(5).random((11, 4)).astype(np.float32),
        "b": feed(net)["b"],
        "c": boxes(11),
        "d": np.array([[12, 15]], np.float32),
    }
    want = net.forward(feeds)["y"]
    rows = want[1:, :, 0, 0]
    assert np.any(rows[:, 3:5] < rows[:, 1:3], axis=1).sum() > 5
    assert_close(run_onnx(net, feeds)["y"], want, 1e-5)


def test_decode_bbox_in_training():
    """Boxes inside out are left out, and those that overlapped their object before."""
    body = 'type: "DecodeBBox" decode_bbox_param { gt_iou_thr: 0.8 }'
    net = make(one_layer(body, (5, 8), (5, 5), (5, 6, 1, 1)), phase="TRAIN")
    rows, deltas = boxes(5), np.zeros((5, 8), np.float32)
    deltas[1, 6] = -6  # a width below a pixel
    overlap = np.zeros((5, 6, 1, 1), np.float32)
    overlap[:, 5, 0, 0] = [0.5, 0.5, 0.9, 0.79, 0.8]
    feeds = {"a": deltas, "b": rows, "c": overlap}
    assert_close(net.forward(feeds)["y"], rows[[0, 3], :, None, None])
    assert net.graph.nodes[-1].layer.backward(rows[:2], *feeds.values()) == (None,) * 3
    with pytest.raises(UnsupportedError, match="TRAIN, which has no ONNX form"):
        run_onnx(net, feeds)
    overlap[:, 5] = 1
    with pytest.raises(ShapeError, match="no box is left"):
        net.forward(feeds)


@pytest.mark.parametrize(
    ("param", "rows"),
    [
        ("low_scale: 20 high_scale: 35", [1, 2]),
        ("high_scale: 15", [0]),
        ("low_scale: 100", [3]),
        ("low_scale: 1 high_scale: 4", [0]),
        ("", [0, 1, 2, 3]),
    ],
)
def test_scale_route(param, rows):
    """Squares of 10, 20, 30 and 40 pixels; without any in the range the nearest remains."""
    body = f'type: "ScaleRoute" scale_route_param {{ {param} }}'
    net = make(one_layer(body, (4, 5), (4, 3, 2), top=["rois", "maps"]))
    sides = np.array([[9], [19], [29], [39]], np.float32)
    feeds = {"a": np.hstack([np.zeros((4, 3), np.float32), sides, sides]), "b": feed(net)["b"]}
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert np.array_equal(outputs["rois"], feeds["a"][rows][:, :, None, None])
        assert np.array_equal(outputs["maps"], feeds["b"][rows][..., None])


@pytest.mark.parametrize(
    ("body", "shapes", "error", "words"),
    [
        ('type: "DecodeBBox"', [(7, 8), (7, 5), (7, 5)], ShapeError, "in TRAIN alone"),
        ('type: "DecodeBBox"', [(7, 8), (6, 5)], ShapeError, "R, 8"),
        ('type: "FrcnnOutput"', [(7, 4), (7, 8), (7, 5), (1, 2)], ShapeError, "R rows of 16"),
    ],
)
def test_refused(body, shapes, error, words):
    with pytest.raises(error, match=words):
        make(one_layer(body, *shapes, top=["y"]))
