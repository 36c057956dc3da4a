"""MultiBoxLoss, beside real Caffe's numbers and the loss of a batch written out."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import CaffeCompatError, ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import GOLDEN, assert_close, check_gradients, graph_of, load, make
from .test_prior_box import blob, layer

CASES = sorted((GOLDEN / "detection").glob("multibox_*"))
BODY = "num_classes: 3 code_type: CENTER_SIZE %s"
NET = (
    blob("l", 2, 16)
    + blob("c", 2, 12)
    + blob("p", 1, 2, 16)
    + blob("t", 1, 1, 3, 8)
    + layer("MultiBoxLoss", "lcpt", "multibox_loss_param { BODY }", "loss", "y")
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_as_in_caffe(case):
    net, io = load(case)
    feeds = {key[3:]: array for key, array in io.items() if key.startswith("in:")}
    values = net.run(feeds)
    loss = next(value.name for value in net.graph.values if value.blob == "loss")
    assert_close(values[loss], io["out:loss"], axis=None)
    grads, _ = net.backward(values, {"loss": io["topdiff:loss"]})
    names = {value.blob: value.name for value in net.graph.inputs}
    for name in ("loc", "conf"):
        assert np.count_nonzero(io[f"indiff:{name}"])
        assert_close(grads[names[name]], io[f"indiff:{name}"], 1e-5, name, axis=None)


def values(images=2):
    """Four default boxes, a box of class 2 on the second in image 0, and scores to mine."""
    rng = np.random.default_rng(3)
    priors = np.array(
        [[0, 0, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9], [0.1, 0.6, 0.4, 0.9], [0.6, 0.1, 0.9, 0.3]]
    )
    truth = np.zeros((1, 1, 3, 8))
    truth[..., 0] = -1
    truth[0, 0, 1] = [0, 2, 0, 0.5, 0.5, 0.9, 0.8, 0]
    feeds = {
        "l": rng.standard_normal((images, 16)),
        "c": rng.standard_normal((images, 12)),
        "p": np.stack([priors.ravel(), np.tile([0.1, 0.1, 0.2, 0.2], 4)])[None],
        "t": truth,
    }
    return {name: array.astype(np.float32) for name, array in feeds.items()}


def test_by_hand():
    """One match and its three hardest negatives; image 1 has no box and no loss."""
    feeds = values()
    scores = feeds["c"][0].reshape(4, 3).astype(np.float64)
    logs = np.log(np.exp(scores).sum(axis=1))
    each = logs - scores[[0, 1, 2, 3], [0, 2, 0, 0]]
    target = np.array([0, -0.05 / 0.4 / 0.1, 0, np.log(0.3 / 0.4) / 0.2])
    d = np.abs(feeds["l"][0, 4:8] - target)
    place = np.where(d < 1, d * d / 2, d - 0.5).sum()
    net = make(NET.replace("BODY", BODY % ""))
    assert_close(net.forward(feeds)["y"], each.sum() + place, axis=None)
    two = each[1] + np.sort(each[[0, 2, 3]])[1:].sum()
    net = make(NET.replace("BODY", BODY % "neg_pos_ratio: 2"))
    assert_close(net.forward(feeds)["y"], two + place, axis=None)


@pytest.mark.parametrize(
    "body", ["", "conf_loss_type: LOGISTIC loc_loss_type: L2", "mining_type: NONE bp_inside: true"]
)
def test_gradients(body):
    check_gradients(NET.replace("BODY", BODY % body), feeds=values(), blobs=["l", "c"])


def test_nothing_to_match():
    feeds = values()
    feeds["t"][..., 0] = -1
    net = make(NET.replace("BODY", BODY % ""))
    assert net.forward(feeds)["y"] == 0
    grads, _ = net.backward(net.run(feeds), {"y": np.float32(1)})
    names = {value.blob: value.name for value in net.graph.inputs}
    assert not np.any(grads[names["l"]]) and not np.any(grads[names["c"]])


def test_locations_alone():
    text = NET.replace("BODY", BODY % "")
    parts = [
        make(text.replace('type: "Multi', f'{flags} type: "Multi')).forward(values())["y"]
        for flags in ("", *(" ".join(f"propagate_down: {on}" for on in each) for each in FLAGS))
    ]
    assert_close(parts[1] + parts[2], parts[0], axis=None)


FLAGS = [("true", "false", "false", "false"), ("false", "true", "false", "false")]


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ("share_location: false", UnsupportedError, "share_location"),
        ("map_object_to_agnostic: true", UnsupportedError, "map_object_to_agnostic"),
        ("nms_param { nms_threshold: 0.5 }", UnsupportedError, "nms_param"),
        ("conf_loss_type: LOGISTIC mining_type: NONE", UnsupportedError, "LOGISTIC"),
        ("do_neg_mining: false", ShapeError, "do_neg_mining"),
        ("background_label_id: 3", ShapeError, "background_label_id 3"),
    ],
)
def test_refused(body, error, words):
    with pytest.raises(error, match=rf"'loss' \(MultiBoxLoss\): .*{words}"):
        graph_of(NET.replace("BODY", BODY % body))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [(1, 0, "background's label 0"), (1, 3, "outside the 3 classes"), (5, 0.5, "no width")],
)
def test_wrong_ground_truth(place, value, words):
    feeds = values()
    feeds["t"][0, 0, 1, place] = value
    if place == 5:
        feeds["p"][0, 0, 4:8] = [0.4, 0.5, 0.6, 0.9]
    body = BODY % "overlap_threshold: 0 match_type: PER_PREDICTION"
    net = make(NET.replace("BODY", body))
    if place == 5:  # nothing overlaps a line, so that no logarithm is taken of it
        assert net.forward(feeds)["y"] == 0
        return
    with pytest.raises(CaffeCompatError, match=words):
        net.forward(feeds)


def test_not_in_onnx():
    """A file goes without it; asked for as an output it is refused."""
    net = make(NET.replace("BODY", BODY % ""))
    loss = next(top for node in net.graph.nodes for top in node.tops if top.blob == "y")
    with pytest.raises(UnsupportedError, match="compares outputs with the ground truth"):
        lower(net, extra=[loss])


def test_drops_out():
    graph = graph_of(NET.replace("BODY", BODY % "").replace('"y"', '"y" include { phase: TRAIN }'))
    assert [node.layer.type for node in graph.nodes] == ["Input"] * 4
