"""The actions of detected people, beside a loop over rows."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ParseError, ShapeError, UnsupportedError

from ...cases import assert_close, feed, make, one_layer, run_onnx

BODY = (
    'type: "Python" python_param {{ module: "caffe.custom_layers.actions_detection_output_layer" '
    "layer: 'ActionsDetectionOutputLayer' param_str: '{}' }}"
)
SHAPES = (1, 1, 6, 10), (2, 3, 4, 5), (2, 3, 4, 5)


def test_each_rows_action():
    net = make(one_layer(BODY.format('{"num_anchors": 2, "min_iou": 0.4}'), *SHAPES))
    feeds = feed(net)
    rng = np.random.default_rng(6)
    rows = feeds["a"][0, 0]
    for column, most in ((0, 2), (7, 2), (8, 4), (9, 3)):  # image, anchor, column, row
        rows[:, column] = rng.integers(0, most, 6)
    rows[5] = [1, *[-1] * 9]  # no detection
    want = []
    for row in rows:
        image, anchor, column, line = (int(row[i]) for i in (0, 7, 8, 9))
        scores = list(feeds["bc"[anchor]][image, line, column])
        label = scores.index(max(scores))
        want.append([image, label, row[2], max(scores), *row[3:7]])
    assert len({row[1] for row in want}) > 2
    for outputs in (net.forward(feeds), run_onnx(net, feeds)):
        assert_close(outputs["y"][0, 0], want)


@pytest.mark.parametrize(
    ("setting", "shapes", "error", "words"),
    [
        ('{"num_anchors": 2, "use_nms": True}', SHAPES, UnsupportedError, "use_nms"),
        ('{"num_anchors": 3}', SHAPES, ShapeError, "num_anchors 3 and 2"),
        ("num_anchors = 2", SHAPES, ParseError, "not of the form"),
        ("open(1)", SHAPES, ParseError, "not of the form"),
        ('{"num_anchors": 2}', ((1, 1, 6, 7), *SHAPES[1:]), ShapeError, "rows of 10"),
        ('{"num_anchors": 2}', (*SHAPES[:2], (2, 3, 4, 6)), ShapeError, "all alike"),
    ],
)
def test_refused(setting, shapes, error, words):
    with pytest.raises(error, match=words):
        make(one_layer(BODY.format(setting), *shapes))
