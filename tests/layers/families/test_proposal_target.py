"""Rois for the training of MS-CNN and Cascade R-CNN, beside what golden/layers_forks has."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import assert_close, make, one_layer, run_onnx

TARGET = """type: "ProposalTarget" proposal_target_param {
  cls_num: 4 num_img_per_batch: 2 img_width: 120 img_height: 100 %s }"""
SEED = np.array([0, 5], np.float32)


def layer_of(body, *arrays, tops=1, fork=None):
    names = [f"y{i}" for i in range(tops)]
    net = make(one_layer(body, *(a.shape for a in arrays), top=names), phase="TRAIN", fork=fork)
    return net.graph.nodes[-1].layer


def rois(count=30, seed=4):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, (count, 2))
    rows = np.column_stack([rng.integers(0, 2, count), low, low + rng.uniform(10, 50, (count, 2))])
    return rows.astype(np.float32)[:, :, None, None]


def objects(width):
    """The first two rois of `rois`, of classes 2 and 3, and one that is ignored."""
    truth = np.zeros((3, width, 1, 1), np.float32)
    truth[:, :5] = rois()[:3]
    truth[:, 5, 0, 0] = [2, 3, 1]
    truth[2, 6] = 1
    return truth


@pytest.mark.parametrize(("fork", "width"), [("mscnn", 7), ("cascade-rcnn", 8)])
def test_targets(fork, width):
    rows, truth = rois(), objects(width)
    layer = layer_of(TARGET % "batch_size: 8", rows, truth, tops=7, fork=fork)
    found = layer.forward(rows, truth, seed=SEED)
    boxes, label, target, inside, outside, match, _ = (each.reshape(8, -1) for each in found)
    count = np.count_nonzero(label)
    assert count == 2  # a quarter of 8
    assert set(label[:2, 0]) <= {2, 3} and not label[2:].any()
    assert np.array_equal(inside, outside) and np.array_equal(inside[:2].sum(axis=1), [4, 4])
    for row in range(2):
        own = slice(4 * int(label[row, 0]), 4 * int(label[row, 0]) + 4)
        assert_close(target[row, own], np.zeros(4), 1)  # the box itself
        assert_close(boxes[row, 1:], match[row, 1:5])
    if fork == "mscnn":  # a roi for each of batch_size, drawn where there are too few
        layer = layer_of(TARGET % "batch_size: 80", rows, truth, tops=6, fork=fork)
        drawn = layer.forward(rows, truth, seed=SEED)[0].reshape(80, 5)
        assert np.all(drawn[-20:, 3] - drawn[-20:, 1] >= 31)


def test_targets_of_what_is_no_object():
    rows, truth = rois(), objects(8)
    truth[:, 0] = -1
    for low, count in ((0, 30), (0.1, 0)):  # by the overlap that a roi must have at least
        body = TARGET % f"batch_size: -1 bg_thr_lw: {low}"
        layer = layer_of(body, rows, truth, tops=6, fork="mscnn")
        assert layer.forward(rows, truth)[1].shape == (count, 1, 1, 1)
    truth[0, 0], truth[0, 5] = rows[0, 0], 0
    with pytest.raises(ShapeError, match="label that is not positive"):
        layer.forward(rows, truth)


@pytest.mark.parametrize(
    ("param", "words"),
    [
        ("batch_size: 0", "batch_size 0 above 0 or -1"),
        ("fg_thr: 0.3", "fg_thr 0.3 of bg_thr_hg 0.5 or more"),
    ],
)
def test_refused(param, words):
    with pytest.raises(ShapeError, match=words):
        layer_of(TARGET % param, rois(), objects(7), tops=6, fork="mscnn")


def test_not_in_onnx():
    rows, truth = rois(), objects(7)
    body = one_layer(TARGET % "", rows.shape, truth.shape, top=[f"y{i}" for i in range(6)])
    with pytest.raises(UnsupportedError, match="chooses what a loss learns from") as error:
        run_onnx(make(body, fork="mscnn"), {"a": rows, "b": truth})
    assert error.value.changes == ({"deploy": True},)
    with pytest.raises(UnsupportedError, match="samples at random"):
        layer_of(TARGET % "batch_size: 4", rows, truth, tops=6, fork="mscnn").forward(rows, truth)
