"""MNC's Python layers, beside loops over their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import assert_close, make, one_layer, run_onnx


def body(module, name, setting=""):
    return (
        f'type: "Python" python_param {{ module: "pylayer.{module}" layer: "{name}" '
        f'param_str: "{setting}" }}'
    )


BRIDGE = body("stage_bridge_layer", "StageBridgeLayer")
MASK = body("mask_layer", "MaskLayer")
PROPOSAL = body("proposal_layer", "ProposalLayer", "{'feat_stride': 16, 'gradient_scale': 1}")


def test_the_best_class_moves_a_region():
    count, classes = 6, 4
    shapes = (count, 5), (count, 4 * classes), (count, classes), (1, 3)
    net = make(one_layer(BRIDGE, *shapes))
    rng = np.random.default_rng(3)
    start = rng.uniform(0, 60, (count, 2))
    boxes = np.hstack([np.zeros((count, 1)), start, start + rng.uniform(5, 50, (count, 2))])
    deltas = rng.standard_normal((count, 4 * classes)) / 2
    scores = rng.uniform(0, 1, (count, classes))
    feeds = {"a": boxes, "b": deltas, "c": scores, "d": np.array([[70, 90, 1.5]])}
    feeds = {name: array.astype(np.float32) for name, array in feeds.items()}
    want = []
    for (_, *box), delta, score in zip(boxes, deltas, scores, strict=True):
        label = int(np.argmax(score))
        dx, dy, dw, dh = delta[4 * label : 4 * label + 4]
        width, height = box[2] - box[0] + 1, box[3] - box[1] + 1
        x, y = box[0] + width / 2 + dx * width, box[1] + height / 2 + dy * height
        half = np.exp(dw) * width / 2, np.exp(dh) * height / 2
        moved = [x - half[0], y - half[1], x + half[0], y + half[1]]
        limits = (89, 69, 89, 69)
        want.append([0, *(min(max(v, 0), most) for v, most in zip(moved, limits, strict=True))])
    assert len({int(np.argmax(score)) for score in scores}) > 1
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert_close(outputs["y"], want)


def test_masks_become_images():
    net = make(one_layer(MASK, (3, 441)))
    feeds = {"a": np.arange(3 * 441, dtype=np.float32).reshape(3, 441)}
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert outputs["y"].shape == (3, 1, 21, 21)
        assert outputs["y"][2, 0, 4, 5] == 2 * 441 + 4 * 21 + 5


def test_proposals_are_py_faster_rcnns():
    shapes = (1, 18, 3, 5), (1, 36, 3, 5), (1, 3)
    rng = np.random.default_rng(4)
    feeds = {
        "a": rng.random(shapes[0]).astype(np.float32),
        "b": (0.4 * rng.standard_normal(shapes[1])).astype(np.float32),
        "c": np.array([[45, 77, 1.25]], np.float32),
    }
    theirs = PROPOSAL.replace("pylayer", "rpn").replace(", 'gradient_scale': 1", "")
    outputs = [make(one_layer(text, *shapes)).forward(feeds)["y"] for text in (PROPOSAL, theirs)]
    assert len(outputs[0]) > 3
    assert np.array_equal(*outputs)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (one_layer(MASK, (3, 400)), ShapeError, "masks of 21 x 21"),
        (one_layer(BRIDGE, (3, 5), (3, 8), (3, 4), (1, 3)), ShapeError, r"deltas \(R, 4 K\)"),
        (one_layer(BRIDGE, (3, 5), (3, 16), (3, 4), (3,)), ShapeError, "im_info must be"),
        (one_layer(PROPOSAL.replace("gradient_scale", "scale_x"), (1, 18, 3, 5), (1, 36, 3, 5),
                   (1, 3)), UnsupportedError, "scale_x"),
    ],
)  # fmt: skip
def test_refused(text, error, words):
    with pytest.raises(error, match=words):
        make(text)


@pytest.mark.parametrize("text", [MASK, BRIDGE, PROPOSAL])
def test_only_in_test(text):
    with pytest.raises(UnsupportedError, match="only TEST"):
        make(one_layer(text, (3, 441)), phase="TRAIN")
