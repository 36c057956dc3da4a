"""R-FCN's OHEM layers, beside the losses that they are made of and plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import CaffeCompatError, ShapeError

from ...cases import check_gradients, feed, make, one_layer


def test_softmax_by_instance():
    """SoftmaxWithLoss, its probabilities, and a loss for each label."""
    body = 'type: "%s" loss_param { ignore_label: 3 }'
    shapes, tops = [(5, 4, 2, 3), (5, 1, 2, 3)], ["y", "p", "each"]
    three = body % "SoftmaxWithLossOHEM" + " loss_weight: 1 loss_weight: 0 loss_weight: 0"
    net = make(one_layer(three, *shapes, top=tops))
    plain = make(one_layer(body % "SoftmaxWithLoss", *shapes))
    feeds = feed(net, integers={"b": 4})
    outputs, want = net.forward(feeds), plain.forward(feeds)
    assert np.array_equal(outputs["y"], want["y"])
    shares = np.exp(feeds["a"])
    np.testing.assert_allclose(outputs["p"], shares / shares.sum(1, keepdims=True), 1e-5)
    ignored = feeds["b"] == 3
    assert ignored.any()
    assert not outputs["each"][ignored].any()
    np.testing.assert_allclose(outputs["each"].sum() / (~ignored).sum(), outputs["y"], 1e-5)
    check_gradients(one_layer(body % "SoftmaxWithLossOHEM", *shapes), integers={"b": 3})


@pytest.mark.parametrize(
    ("param", "divisor"),
    [
        ("", 5 * 6),
        ("normalization: FULL", 5 * 6),
        ("normalization: BATCH_SIZE", 5),
        ("normalize: false", 5),
        ("normalization: NONE", 1),
        ("normalization: PRE_FIXED pre_fixed_normalizer: 128", 128),
    ],
)
@pytest.mark.parametrize("bottoms", [2, 3])
def test_smooth_l1_by_instance(param, divisor, bottoms):
    shapes = [(5, 4, 2, 3)] * bottoms
    body = f'type: "SmoothL1LossOHEM" loss_param {{ {param} }}'
    net = make(one_layer(f"{body} loss_weight: 1 loss_weight: 0", *shapes, top=["y", "each"]))
    feeds = {name: 2 * x for name, x in feed(net).items()}
    if bottoms > 2:
        feeds["c"] = (feeds["c"] > 0).astype(np.float32)
    d = np.abs((feeds["a"] - feeds["b"]) * feeds.get("c", 1))
    losses = np.where(d < 1, d * d / 2, d - 0.5)
    outputs = net.forward(feeds)
    np.testing.assert_allclose(outputs["y"], losses.sum() / divisor, 1e-5)
    np.testing.assert_allclose(outputs["each"], losses.sum(1, keepdims=True), 1e-5)
    check_gradients(one_layer(body, *shapes), feeds=feeds, blobs=["a", "b"])


def test_rows_of_vectors():
    body = 'type: "SmoothL1LossOHEM" loss_weight: 1 loss_weight: 0'
    net = make(one_layer(body, (7, 8), (7, 8), top=["y", "each"]))
    shapes = {value.blob: value.shape for value in net.graph.outputs}
    assert shapes == {"y": (), "each": (7, 1, 1, 1)}
    assert net.forward(feed(net))["each"].shape == (7, 1, 1, 1)


def test_the_hardest_rows():
    """Two rows of each image remain, those of largest loss."""
    body = 'type: "BoxAnnotatorOHEM" box_annotator_ohem_param { roi_per_img: 2 ignore_label: -1 }'
    shapes = [(6, 5), (6, 1, 1, 1), (6,), (6, 8)]
    net = make(one_layer(body, *shapes, top=["label", "weight"]))
    feeds = feed(net)
    feeds["a"][:, 0] = [0, 1, 0, 0, 1, 1]
    feeds["b"] = np.array([3, 1, 5, 4, 2, 9], np.float32).reshape(6, 1, 1, 1)
    feeds["c"] = np.arange(1, 7, dtype=np.float32)
    outputs = net.forward(feeds)
    assert outputs["label"].tolist() == [-1, -1, 3, 4, 5, 6]
    assert np.array_equal(outputs["weight"][2:], feeds["d"][2:])
    assert not outputs["weight"][:2].any()


@pytest.mark.parametrize(
    ("body", "shapes", "words"),
    [
        ('type: "SoftmaxWithLossOHEM"', [(5, 4), (4,)], "same first dimension"),
        ('type: "SmoothL1LossOHEM"', [(5, 4), (5, 3)], "same dimension"),
        ('type: "BoxAnnotatorOHEM" box_annotator_ohem_param { roi_per_img: 0 }',
         [(6, 5), (6,), (6,), (6, 8)], "positive"),
        ('type: "BoxAnnotatorOHEM" box_annotator_ohem_param { roi_per_img: 1 }',
         [(6, 5), (5,), (6,), (6, 8)], "R rows"),
    ],
)  # fmt: skip
def test_refused(body, shapes, words):
    tops = ["y", "z"] if "Box" in body else ["y"]
    with pytest.raises(ShapeError, match=words):
        make(one_layer(body, *shapes, top=tops))


def test_pre_fixed_is_for_these_alone():
    body = 'type: "SoftmaxWithLoss" loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 9 }'
    net = make(one_layer(body, (5, 4), (5,)))
    with pytest.raises(CaffeCompatError, match="PRE_FIXED"):
        net.forward(feed(net, integers={"b": 4}))
