"""py-faster-rcnn's ProposalLayer, beside its statement by loops."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ParseError, UnsupportedError
from caffe_compat.layers.layer import Layer
from caffe_compat.layers.registry import _python, register

from ...cases import make, one_layer, run_onnx
from .test_proposal import overlap


def text(setting="'feat_stride': 16", count=9, size=(3, 5), tops=("rois",), images=1):
    return one_layer(
        'type: "Python" python_param { module: "rpn.proposal_layer" layer: "ProposalLayer" '
        f'param_str: "{setting}" }}',
        (images, 2 * count, *size),
        (images, 4 * count, *size),
        (images, 3),
        top=list(tops),
    )


def by_loops(scores, deltas, info, anchors, before, after):
    """The proposals one by one, those below 16 pixels times the scale left out."""
    found = []
    for i, j in np.ndindex(*scores.shape[2:]):
        for k, anchor in enumerate(anchors):
            box = anchor + 16.0 * np.array([j, i, j, i])
            size = box[2:] - box[:2] + 1
            dx, dy, dw, dh = deltas[0, 4 * k : 4 * k + 4, i, j].astype(np.float64)
            centre, size = box[:2] + size / 2 + size * (dx, dy), size * np.exp((dw, dh))
            box = np.concatenate([centre - size / 2, centre + size / 2])
            box = np.clip(box, 0, info[[1, 0, 1, 0]].astype(np.float64) - 1)
            if all(box[2:] - box[:2] + 1 >= 16 * info[2]):
                found.append((scores[0, len(anchors) + k, i, j], box))
    rows = []
    for score, box in sorted(found, key=lambda one: -one[0])[:before]:
        if len(rows) < after and all(overlap(box, other) <= 0.7 for _, other in rows):
            rows.append((score, box))
    return rows


@pytest.mark.parametrize(
    ("setting", "anchors", "before", "after"),
    [
        ("'feat_stride': 16", 9, 6000, 300),
        ("{'feat_stride': 16, 'scales': [2, 4, 8, 16, 32]}", 15, 6000, 300),
        (r"'feat_stride': 16 \n'scales': !!python/tuple [4, 8]", 6, 6000, 300),
        ("{'feat_stride': 16, 'ratios': [0.333, 1], 'scales': [2, 9]}", 4, 6000, 300),
        ("'feat_stride': 16, 'pre_nms_topn': 40, 'post_nms_topn': 7", 9, 40, 7),
    ],
)
def test_proposals_by_loops(setting, anchors, before, after):
    net = make(text(setting, anchors, tops=("rois", "score")))
    layer = net.graph.nodes[-1].layer
    rng = np.random.default_rng(4)
    shapes = {value.blob: value.shape for value in net.graph.inputs}
    feeds = {
        "a": rng.random(shapes["a"]).astype(np.float32),
        "b": (0.4 * rng.standard_normal(shapes["b"])).astype(np.float32),
        "c": np.array([[45, 77, 1.25]], np.float32),
    }
    rows = by_loops(feeds["a"], feeds["b"], feeds["c"][0], layer.anchors(), before, after)
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert outputs["rois"].shape == (len(rows), 5)
        assert outputs["score"][:, 0].tolist() == [score for score, _ in rows]
        np.testing.assert_allclose(outputs["rois"][:, 1:], [box for _, box in rows], atol=1e-3)
        assert not outputs["rois"][:, 0].any()


def test_anchors():
    """The rows that its generate_anchors.py prints, counted from 0."""
    anchors = make(text()).graph.nodes[-1].layer.anchors()
    assert anchors[0].tolist() == [-84, -40, 99, 55]
    assert anchors[-1].tolist() == [-168, -344, 183, 359]


def test_training_has_more():
    layer = make(text(), phase="TRAIN").graph.nodes[-1].layer
    assert (layer.p.pre_nms_topn, layer.p.post_nms_topn) == (12000, 2000)


def test_no_box_is_large_enough():
    net = make(text("'feat_stride': 16, 'min_size': 400"))
    feeds = {v.blob: np.zeros(v.shape, np.float32) for v in net.graph.inputs}
    feeds["c"][0] = 45, 77, 1
    assert net.forward(feeds)["rois"].shape == run_onnx(net, feeds)["rois"].shape == (0, 5)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"setting": "'feat_stride': 16, 'use_clip': 1"}, UnsupportedError, "use_clip"),
        ({"setting": "feat_stride = 16"}, ParseError, "not of the form"),
        ({"images": 2}, UnsupportedError, "single image"),
    ],
)
def test_refused(options, error, words):
    with pytest.raises(error, match=words):
        make(text(**options))


def test_the_callers_class_stands_above():
    class Own(Layer):
        def shapes(self, *x):
            return [x[0]]

    register(module="rpn.proposal_layer", layer="ProposalLayer", bottoms=3, tops=1)(Own)
    try:
        assert isinstance(make(text()).graph.nodes[-1].layer, Own)
    finally:
        del _python["rpn.proposal_layer", "ProposalLayer"]
