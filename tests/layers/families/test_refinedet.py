"""RefineDet's DetectionOutput, by two plain ones."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.layers import boxes as bx

from ...cases import assert_close, feed, make, one_layer, run_onnx

PARAM = (
    "num_classes: 3 code_type: CENTER_SIZE keep_top_k: 9 confidence_threshold: 0.1 "
    "nms_param { nms_threshold: 0.45 top_k: 40 } "
)
SHAPES = [(2, 28), (2, 21), (1, 2, 28), (2, 14), (2, 28)]


def body(extra):
    return f'type: "DetectionOutput" detection_output_param {{ {PARAM} {extra} }}'


def feeds_of(net):
    rng = np.random.default_rng(3)
    low = rng.uniform(0, 0.6, (7, 2))
    priors = np.hstack([low, low + rng.uniform(0.2, 0.4, (7, 2))])
    feeds = feed(net)
    feeds["b"] = rng.random(SHAPES[1]).astype(np.float32)
    variances = np.tile([0.1, 0.1, 0.2, 0.2], 7)
    feeds["c"] = np.stack([priors.ravel(), variances])[None].astype(np.float32)
    if "d" in feeds:
        feeds["d"] = rng.random(SHAPES[3]).astype(np.float32)
    return feeds


def test_refined_and_sifted():
    """SSD's layer for each image, on its moved priors, without the scores of the sifted."""
    net = make(one_layer(body("objectness_score: 0.4"), *SHAPES))
    feeds = feeds_of(net)
    plain = make(one_layer(body(""), (1, 28), (1, 21), (1, 2, 28)))
    rows = []
    for image in range(2):
        priors, variances = feeds["c"].reshape(2, 7, 4)
        moved = bx.decode(feeds["e"][image].reshape(7, 4), priors, variances, 2)
        objects = feeds["d"][image].reshape(7, 2)[:, 1] >= 0.4
        assert 0 < objects.sum() < 7
        one = {
            "a": feeds["a"][image : image + 1],
            "b": (feeds["b"][image].reshape(7, 3) * objects[:, None]).reshape(1, 21),
            "c": np.stack([moved.ravel(), variances.ravel()])[None],
        }
        found = plain.forward(one)["y"]
        found[..., 0] = image
        rows.append(found)
    want = np.concatenate(rows, axis=2)
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert_close(outputs["y"], want, 1e-4, axis=3)


def test_three_bottoms_are_ssds():
    refined = make(one_layer(body("objectness_score: 0.01"), *SHAPES[:3]))
    plain = make(one_layer(body(""), *SHAPES[:3]))
    feeds = feeds_of(plain)
    assert refined.graph.nodes[-1].layer.fork == "refinedet"
    assert np.array_equal(refined.forward(feeds)["y"], plain.forward(feeds)["y"])


@pytest.mark.parametrize(
    ("extra", "shapes", "error", "words"),
    [
        ("objectness_score: 0.1", SHAPES[:4], ShapeError, "3 or 5"),
        ("objectness_score: 0.1 background_label_id: 1", SHAPES, UnsupportedError, "label_id 0"),
        ("objectness_score: 0.1", [*SHAPES[:4], (2, 24)], ShapeError, "priors of 4"),
    ],
)
def test_refused(extra, shapes, error, words):
    with pytest.raises(error, match=words):
        make(one_layer(body(extra), *shapes))


def test_soft_suppression_is_refused():
    with pytest.raises(UnsupportedError, match="soft_nms"):
        make(one_layer(body("").replace("top_k: 40", "soft_nms: true"), *SHAPES[:3]))
    make(one_layer(body("").replace("top_k: 40", "soft_nms: false theta: 0.5"), *SHAPES[:3]))


def test_maps_as_they_are():
    """Two maps, of 2 and 3 boxes a cell, beside SSD's own layer on what Permute makes of them."""
    classes, cells = 3, [(3, 4), (1, 2)]
    each = [2, 3]
    shapes = [(1, classes, b, h * w) for b, (h, w) in zip(each, cells, strict=True)]
    shapes += [(1, 4 * b, h, w) for b, (h, w) in zip(each, cells, strict=True)]
    total = sum(b * h * w for b, (h, w) in zip(each, cells, strict=True))
    net = make(one_layer(body("no_permute: true nbottom: 2"), *shapes, (1, 2, 4 * total)))
    rng = np.random.default_rng(8)
    low = rng.uniform(0, 0.6, (total, 2))
    priors = np.hstack([low, low + rng.uniform(0.2, 0.4, (total, 2))]).ravel()
    feeds = feed(net)
    feeds["a"], feeds["b"] = (rng.random(shapes[i]).astype(np.float32) for i in (0, 1))
    feeds["e"] = np.stack([priors, np.tile([0.1, 0.1, 0.2, 0.2], total)])[None].astype(np.float32)
    scores, boxes = [], []
    for conf, loc, (height, width) in zip("ab", "cd", cells, strict=True):
        for i, j in np.ndindex(height, width):
            scores.append(feeds[conf][0, :, :, i * width + j].T.ravel())
            boxes.append(feeds[loc][0, :, i, j])
    plain = make(one_layer(body(""), (1, 4 * total), (1, classes * total), (1, 2, 4 * total)))
    one = {"a": np.hstack(boxes)[None], "b": np.hstack(scores)[None], "c": feeds["e"]}
    want = plain.forward(one)["y"]
    assert want.shape[2] > 4
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert_close(outputs["y"], want, 1e-4, axis=3)


@pytest.mark.parametrize(
    ("extra", "shapes", "error", "words"),
    [
        ("nbottom: 2", [(1, 3, 2, 12), (1, 8, 3, 4), (1, 2, 96)], ShapeError, "wants 5"),
        ("nbottom: 1", [(1, 3, 2, 12), (1, 8, 3, 5), (1, 2, 96)], ShapeError, "do not fit"),
        ("nbottom: 1", [(2, 3, 2, 12), (2, 8, 3, 4), (1, 2, 96)], UnsupportedError, "single"),
    ],
)
def test_maps_refused(extra, shapes, error, words):
    with pytest.raises(error, match=words):
        make(one_layer(body(f"no_permute: true {extra}"), *shapes))
