"""DetectionEvaluate, beside real Caffe's rows."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import GOLDEN, feed, graph_of, load, make, one_layer
from .test_prior_box import blob, layer

CASES = sorted((GOLDEN / "detection").glob("evaluate_*"))


def evaluation(body="num_classes: 3", bottoms="dt", rows=3):
    inputs = blob("d", 1, 1, rows, 7) + blob("t", 1, 1, 2, 8) + blob("s", 1, 2)
    return inputs + layer("DetectionEvaluate", bottoms, f"detection_evaluate_param {{ {body} }}")


def values():
    """Two boxes of class 1, and of class 2 a box that is hard to see."""
    detections = np.array(
        [[0, 1, 0.5, 0, 0, 1, 1], [0, 1, 0.9, 0, 0, 0.9, 1], [0, 2, 0.3, 0, 0, 0.5, 0.5]]
    )
    truth = np.array([[0, 1, 0, 0, 0, 1, 1, 0], [0, 2, 0, 0, 0, 0.5, 0.5, 1]])
    feeds = {"d": detections[None, None], "t": truth[None, None], "s": np.zeros((1, 2))}
    return {name: array.astype(np.float32) for name, array in feeds.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_as_in_caffe(case):
    net, io = load(case)
    feeds = {key[3:]: array for key, array in io.items() if key.startswith("in:")}
    assert np.array_equal(net.forward(feeds)["eval"], io["out:eval"])


@pytest.mark.parametrize("difficult", [True, False])
def test_by_hand(difficult):
    net = make(evaluation(f"num_classes: 3 evaluate_difficult_gt: {str(difficult).lower()}"))
    hard = [1, 0] if difficult else [0, 0]
    want = [
        [-1, 1, 1, -1, -1],
        [-1, 2, int(difficult), -1, -1],
        [0, 1, 0.9, 1, 0],
        [0, 1, 0.5, 0, 1],
        [0, 2, 0.3, *hard],
    ]
    assert np.array_equal(net.forward(values())["y"][0, 0], np.array(want, np.float32))


def test_nothing_detected():
    feeds = values()
    feeds["d"][..., 1:] = -1
    rows = make(evaluation()).forward(feeds)["y"]
    assert rows.shape == (1, 1, 2, 5)


@pytest.mark.parametrize("blob_name", ["d", "t"])
def test_the_background_is_no_class_to_detect(blob_name):
    feeds = values()
    feeds[blob_name][0, 0, 0, 1] = 0
    with pytest.raises(ShapeError, match="the background's label 0"):
        make(evaluation()).forward(feeds)


@pytest.mark.parametrize(
    ("body", "bottoms", "error", "words"),
    [
        ("", "dt", ShapeError, "num_classes"),
        ("num_classes: 3 overlap_threshold: 0", "dt", ShapeError, "overlap_threshold"),
        ("num_classes: 3", "td", ShapeError, "rows of 7"),
    ],
)
def test_refused(body, bottoms, error, words):
    with pytest.raises(error, match=rf"'l' \(DetectionEvaluate\): .*{words}"):
        graph_of(evaluation(body, bottoms))


@pytest.mark.parametrize(
    ("body", "bottoms", "words"),
    [
        ('num_classes: 3 name_size_file: "sizes.txt"', "dt", "sizes.txt.*'d' is an output"),
    ],
)
def test_pixels_are_refused_where_it_runs(body, bottoms, words):
    feeds = {name: array for name, array in values().items() if name in bottoms}
    net = make(evaluation(body, bottoms))
    with pytest.raises(UnsupportedError, match=rf"'l' \(DetectionEvaluate\): .*{words}"):
        net.forward({**values(), **feeds})


def test_the_rows_of_cascade_rcnn():
    """A third bottom has the images' sizes; rows stand along the first axis."""
    body = 'type: "DetectionEvaluate" detection_evaluate_param { num_classes: 3 }'
    net = make(one_layer(body, (7, 7, 1, 1), (4, 8, 1, 1), (1, 2)))
    assert net.graph.blob("y").shape == (9, 5, 1, 1)
    with pytest.raises(UnsupportedError, match="in pixels"):
        net.forward(feed(net))
    with pytest.raises(ShapeError, match="rows of 7 and 8"):
        graph_of(one_layer(body, (7, 7, 1, 1), (4, 7, 1, 1), (1, 2)))


def test_not_in_onnx():
    net = make(evaluation())
    extra = [net.graph.blob("y")]
    with pytest.raises(UnsupportedError, match="ONNX") as error:
        lower(net, extra=extra)
    assert error.value.changes == ()  # nothing mends what the caller asks for
