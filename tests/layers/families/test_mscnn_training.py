"""MS-CNN's and Cascade R-CNN's training, beside what golden/layers_forks has of it."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.fillers.rng import BoostRng
from caffe_compat.fillers.rng.shuffling import shuffle
from caffe_compat.layers.sampling import draw_seed, generator

from ...cases import assert_close, make, one_layer

LOSS = """type: "DetectionLoss" detection_loss_param {
  cls_num: 3 field_h: 40 field_w: 50 downsample_rate: 8 %s }"""
GROUP = """type: "DetectionGroupLoss" detection_group_loss_param {
  cls_num: 3 field_h: 40 field_w: 50 field_h: 60 field_w: 30 stride: 8 %s }"""
TARGET = """type: "ProposalTarget" proposal_target_param {
  cls_num: 4 num_img_per_batch: 2 img_width: 120 img_height: 100 %s }"""
SEED = np.array([0, 5], np.float32)


def maps(images, share=0.3, seed=1):
    """Scores, corrections and truth of maps 4 x 5."""
    rng = np.random.default_rng(seed)
    label = np.where(
        rng.random((images, 1, 4, 5)) < share, rng.integers(1, 3, (images, 1, 4, 5)), 0
    )
    overlap = np.where(label > 0, 0.8, rng.uniform(0, 0.7, label.shape))
    box = rng.uniform(10, 40, (images, 4, 4, 5))
    truth = np.concatenate([label, box, overlap], axis=1)
    shapes = (images, 3, 4, 5), (images, 4, 4, 5)
    return [*(rng.standard_normal(s).astype(np.float32) for s in shapes), truth.astype(np.float32)]


def layer_of(body, *arrays, tops=1, fork=None):
    names = [f"y{i}" for i in range(tops)]
    net = make(one_layer(body, *(a.shape for a in arrays), top=names), phase="TRAIN", fork=fork)
    return net.graph.nodes[-1].layer


def test_random_negatives():
    """The drawn places that have no object and little overlap count, beside all with an object."""
    scores, deltas, truth = maps(2)
    x = np.concatenate([scores, deltas], axis=1)
    layer = layer_of(LOSS % 'sample_mode: "random" bg_multiple: 1 bg_threshold: 0.5', x, truth)
    slope, none = layer.backward(np.array([1, 9], np.float32), x, truth, seed=SEED)
    counted = np.any(slope[:, :3] != 0, axis=1).reshape(2, -1)
    label, overlap = truth[:, 0].reshape(2, -1), truth[:, 5].reshape(2, -1)
    rng = BoostRng(5)
    for image in range(2):
        drawn = rng.u32(max(8, np.count_nonzero(label[image]))) % 20
        kept = np.isin(np.arange(20), drawn) & (label[image] == 0) & (overlap[image] < 0.5)
        assert np.array_equal(counted[image], kept | (label[image] > 0))
    assert none is None
    assert set(layer.draw(BoostRng(3), x.shape, truth.shape)) == {"seed"}
    with pytest.raises(UnsupportedError, match="a solver's passes alone"):
        layer.forward(x, truth)


@pytest.mark.parametrize("batch", [6, -1])
def test_random_fields_of_groups(batch):
    """Of an image half of batch_size with an object, or all, and as many without one."""
    scores, deltas, truth = maps(4)
    body = GROUP % f"bg_multiple: 1 batch_size: {batch}"
    layer = layer_of(body, scores, deltas, truth)
    slope, _, _ = layer.backward(np.ones(2), scores, deltas, truth, seed=SEED)
    counted = np.any(slope != 0, axis=1).reshape(2, -1)
    positive = truth[:, 0].reshape(2, -1) > 0
    most = 3 if batch > 0 else 40
    wanted = np.minimum(positive.sum(axis=1), most)
    assert np.array_equal((counted & positive).sum(axis=1), wanted)
    assert np.array_equal((counted & ~positive).sum(axis=1), wanted)


def test_the_hardest_fields_of_groups_need_no_random_numbers():
    scores, deltas, truth = maps(4)
    layer = layer_of(GROUP % 'bg_multiple: 1 neg_mining_type: "bootstrap"', scores, deltas, truth)
    assert layer.forward(scores, deltas, truth).shape == (1, 1, 1, 2)


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


def test_a_seed_is_two_halves():
    (seed,) = draw_seed(BoostRng(7)).values()
    assert generator(seed).seed == BoostRng(7).next_u32()
    order = shuffle(BoostRng(7), np.arange(20))
    assert sorted(order) == list(range(20)) and list(order) != list(range(20))


DATA = """layer { name: "data" type: "%s" %s transform_param { mean_value: 1 mean_value: 2
  mean_value: 3 } %s }"""


@pytest.mark.parametrize(
    ("kind", "param", "shapes"),
    [
        (
            "ImageGtData",
            "image_gt_data_param { batch_size: 4 resize_width: 99 resize_height: 60 crop_width: 60 "
            "crop_height: 52 downsample_rate: 8 field_w: 9 field_h: 9 output_gt_boxes: true }",
            [(4, 3, 52, 60), (4, 6, 6, 7), (1, 7, 1, 1)],
        ),
        (
            "DetectionData",
            "detection_data_param { batch_size: 4 resize_width: 60 resize_height: 52 stride: 8 "
            "field_w: 9 field_h: 9 output_gt_boxes: true }",
            [(4, 3, 52, 60), (4, 6, 7, 8), (1, 8, 1, 1)],
        ),
        (
            "EvalData",
            "eval_data_param { batch_size: 2 resize_width: 60 resize_height: 52 }",
            [(2, 3, 52, 60), (1, 8, 1, 1), (2, 2, 1, 1)],
        ),
    ],
)
def test_data(kind, param, shapes):
    tops = " ".join(f'top: "t{i}"' for i in range(3))
    net = make(DATA % (kind, tops, param))
    assert [value.shape for value in net.graph.inputs] == shapes
    own = {"t0": (1, 3, 8, 8), "t1": (1, 6, 2, 2), "t2": (1, 2, 1, 1)}
    net = make(DATA % (kind, tops, param.replace("resize_width: 60", "")), inputs=own)
    assert [value.shape for value in net.graph.inputs] == list(own.values())


INPUTS = """layer { name: "uv" type: "Input" top: "u" top: "v" input_param {
  shape { dim: 1 dim: 6 dim: 2 dim: 2 } shape { dim: 1 dim: 6 dim: 2 dim: 2 } } } """
MARKS = {
    "mscnn": INPUTS
    + """layer { name: "m" type: "DetectionAccuracy" bottom: "u" bottom: "v" top: "w"
      detection_accuracy_param { cls_num: 2 field_w: 9 field_h: 9 downsample_rate: 8 } }""",
    "cascade-rcnn": """layer { name: "m" type: "EvalData" top: "u" top: "v"
      eval_data_param { batch_size: 1 resize_width: 8 resize_height: 8 }
      transform_param { mean_value: 1 mean_value: 2 mean_value: 3 } }""",
}


@pytest.mark.parametrize("fork", MARKS)
def test_the_fork_is_told_by_the_net(fork):
    """A shared part of half a pixel counts in MS-CNN, and not in Cascade R-CNN."""
    row = np.array([[0, 10, 10, 29, 29]], np.float32)
    truth = np.array([[1, 29.5, 29.5, 50, 50, 0]], np.float32)
    arrays = np.zeros((1, 8), np.float32), row, truth
    text = one_layer('type: "BboxAccuracy"', *(a.shape for a in arrays))
    with pytest.raises(UnsupportedError, match="differs among forks"):
        make(text)
    net = make(text + MARKS[fork])
    (layer,) = (n.layer for n in net.graph.nodes if n.layer.type == "BboxAccuracy")
    assert type(layer).fork == fork
    (overlap,) = layer.forward(*arrays)
    assert (overlap.item() > 0) == (fork == "mscnn")
