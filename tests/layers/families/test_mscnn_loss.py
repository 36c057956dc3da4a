"""The losses of MS-CNN's and Cascade R-CNN's proposals, beside what golden/layers_forks has."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.fillers.rng import BoostRng

from ...cases import make, one_layer

LOSS = """type: "DetectionLoss" detection_loss_param {
  cls_num: 3 field_h: 40 field_w: 50 downsample_rate: 8 %s }"""
GROUP = """type: "DetectionGroupLoss" detection_group_loss_param {
  cls_num: 3 field_h: 40 field_w: 50 field_h: 60 field_w: 30 stride: 8 %s }"""
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


def layer_of(body, *arrays, tops=1):
    names = [f"y{i}" for i in range(tops)]
    net = make(one_layer(body, *(a.shape for a in arrays), top=names), phase="TRAIN")
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


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (GROUP % 'neg_mining_type: "some"', "'some' is none of random"),
        (GROUP % "batch_size: 0", "batch_size must be positive"),
        (GROUP.replace("cls_num: 3", "cls_num: 4") % "", "maps of 4, 4 and 6"),
        (GROUP % "field_h: 3", "3 field_h, 2 field_w"),
        (GROUP % "objectness: true", "objectness needs cls_num 2"),
    ],
)
def test_refused(body, words):
    with pytest.raises((ShapeError, UnsupportedError), match=words):
        layer_of(body, *maps(4)).forward(*maps(4), seed=SEED)
