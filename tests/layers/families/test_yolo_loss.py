"""YOLO's losses, beside what golden/layers_forks has of them."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import make, one_layer

ANCHORS = (
    "biases: 1 biases: 1 biases: 2 biases: 2 biases: 1 biases: 2 biases: 2 biases: 1 biases: 3"
)
REGION = f'type: "RegionLoss" region_loss_param {{ num_class: 3 %s {ANCHORS} biases: 3 }}'
YOLO = f'type: "Yolov3" yolov3_param {{ num_class: 3 num: 2 %s {ANCHORS} biases: 3 }}'
MAPS = {REGION: (1, 40, 4, 4), YOLO: (1, 16, 4, 4)}


def layer_of(body, x):
    return make(one_layer(body, x, (1, 1500))).graph.nodes[-1].layer


def truth(*rows):
    y = np.zeros((1, 300, 5), np.float32)
    y[0, : len(rows)] = np.reshape(rows, (-1, 5))
    return y.reshape(1, 1500)


@pytest.mark.parametrize("body", [REGION % "", YOLO % "mask: 0 mask: 1"])
def test_without_an_object_every_cell_says_so(body):
    shape = MAPS[REGION if "Region" in body else YOLO]
    x = np.zeros(shape, np.float32)
    layer = layer_of(body, shape)
    slope, none = layer.backward(np.float32(1), x, truth())
    slope = slope.reshape(-1, 8, 16)
    assert none is None and not np.delete(slope, 4, axis=1).any()
    # Half a unit for a sigmoid of 0; in YOLO v2 times noobject_scale and the sigmoid's slope.
    assert np.allclose(slope[:, 4], 0.5 if "v3" in body else 0.5 * 0.5 * 0.25)
    assert np.isclose(layer.forward(x, truth()), np.square(slope).sum())


@pytest.mark.parametrize("body", [REGION % "", YOLO % "mask: 0 mask: 1"])
def test_a_box_changes_its_cell_alone(body):
    shape = MAPS[REGION if "Region" in body else YOLO]
    x = np.zeros(shape, np.float32)
    layer = layer_of(body, shape)
    before, _ = layer.backward(np.float32(1), x, truth())
    after, _ = layer.backward(np.float32(1), x, truth([1, 0.6, 0.3, 0.01, 0.01]))
    changed = np.argwhere(np.any(before != after, axis=1)[0])
    assert changed.tolist() == [[1, 2]]


@pytest.mark.parametrize("box", [[1, 0.5, 0.1, 0.1], [0.5, 1.2, 0.1, 0.1], [0.5, 0.5, -1, 1]])
def test_a_box_outside_the_image(box):
    layer = layer_of(REGION % "", MAPS[REGION])
    with pytest.raises(ShapeError, match="none of the image"):
        layer.forward(np.zeros(MAPS[REGION], np.float32), truth([0, *box]))


def test_every_row_has_a_box():
    layer = layer_of(REGION % "", MAPS[REGION])
    rows = [[0, 0.5, 0.5, 0.2, 0.2]] * 300
    assert layer.forward(np.zeros(MAPS[REGION], np.float32), truth(*rows)) > 0
    with pytest.raises(ShapeError, match="300 rows of 5"):
        layer.forward(np.zeros(MAPS[REGION], np.float32), truth(*rows)[:, :100])


@pytest.mark.parametrize(
    ("body", "shape", "error", "words"),
    [
        (REGION % 'softmax_tree: "t"', MAPS[REGION], UnsupportedError, "softmax_tree"),
        (REGION % "", (1, 40, 4, 5), UnsupportedError, "square map"),
        (REGION % "", (1, 41, 4, 4), ShapeError, "40 channels"),
        (REGION % "num: 6", (1, 48, 4, 4), UnsupportedError, "5 anchors or more"),
        (YOLO % "mask: 0 mask: 1 iou_loss: GIOU", MAPS[YOLO], UnsupportedError, "but MSE"),
        (YOLO % "mask: 0 mask: 5", MAPS[YOLO], ShapeError, r"mask \[0, 5\] does not give 2"),
    ],
)
def test_refused(body, shape, error, words):
    with pytest.raises(error, match=words):
        layer_of(body, shape).forward(np.zeros(shape, np.float32), truth())
