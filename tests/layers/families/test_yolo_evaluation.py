"""YOLO v2's detections beside the ground truth, and what golden/layers_forks has of them."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import make, one_layer

ANCHORS = " ".join(f"biases: {size}" for size in (1, 1, 2, 2, 1, 2, 2, 1, 3, 3))
BODY = f"""type: "EvalDetection" eval_detection_param {{
  side: 2 num_class: 2 num_object: 5 nms: 0.4 {ANCHORS} %s }}"""
MAP, ROWS = (1, 35, 2, 2), (1, 1, 2, 8)


def layer_of(body=BODY % "", x=MAP):
    return make(one_layer(body, x, ROWS)).graph.nodes[-1].layer


def values():
    """One object of class 1 in the cell (0, 1), of the first anchor, and nothing else."""
    x = np.full((1, 5, 7, 2, 2), -9, np.float32)
    x[0, 0, :4, 0, 1] = 0
    x[0, 0, 4:, 0, 1] = [9, -9, 9]
    y = np.full(ROWS, -1, np.float32)
    y[0, 0, 0] = [0, 2, 0, 0.5, 0, 1, 0.5, 0]
    return x.reshape(MAP), y


def test_a_right_detection():
    x, y = values()
    top = layer_of().forward(x, y)
    assert top.shape == (1, 2 + 80)
    assert top[0, :2].tolist() == [0, 1]
    kind, score, true, false = top[0, 2:6]
    assert (kind, true, false) == (1, 1, 0) and 0.99 < score < 1
    assert not top[0, 6:].any()


def test_a_wrong_detection():
    x, y = values()
    y[0, 0, 0, 1] = 1
    assert layer_of().forward(x, y)[0, 2:6].round(2).tolist() == [1, 1, 0, 1]
    y[0, 0, 0, 1:7] = [2, 0, 0, 0.5, 0.4, 0.9]  # of its class, and not near
    assert layer_of().forward(x, y)[0, 2:6].round(2).tolist() == [1, 1, 0, 0]


def test_refused():
    with pytest.raises(UnsupportedError, match="5 anchors, num_object 5"):
        other = layer_of(BODY.replace("num_object: 5", "num_object: 3") % "", (1, 21, 2, 2))
        other.forward(np.zeros((1, 21, 2, 2), np.float32), np.zeros(ROWS, np.float32))
    with pytest.raises(ShapeError, match="maps of 35 x 2 x 2"):
        layer_of(x=(1, 35, 2, 3))
    x, y = values()
    y[0, 0, 0, 1] = 3
    with pytest.raises(ShapeError, match="outside 2 classes"):
        layer_of().forward(x, y)
