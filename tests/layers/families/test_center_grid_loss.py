"""The loss of boxes around the cells of a map, beside what golden/layers_forks has."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import make, one_layer

BODY = """type: "CenterGridLoss" center_object_loss_param { num_class: 2 class_type: SOFTMAX
  bias_scale: 17 bias_num: 1 net_width: 64 net_height: 64 low_bbox_scale: 8 up_bbox_scale: %s }"""
MAP, ROWS = (1, 6, 8, 8), (1, 1, 2, 8)


def layer_of(body=BODY % 28, x=MAP):
    return make(one_layer(body, x, ROWS)).graph.nodes[-1].layer


def rows(*boxes):
    y = np.full(ROWS, -1, np.float32)
    for i, box in enumerate(boxes):
        y[0, 0, i] = [0, 1, 0, *box, 0]
    return y


def test_the_cells_of_a_box():
    """Distances count in the box's cells, which are three by two; scores in the others too."""
    x = np.zeros(MAP, np.float32)
    slope, _ = layer_of().backward(np.float32(1), x, rows([0.25, 0.5, 0.625, 0.75]))
    counted = np.argwhere(np.any(slope[0, :4] != 0, axis=0))
    assert counted.tolist() == [[row, column] for row in (4, 5) for column in (2, 3, 4)]
    assert np.all(slope[0, 4] == -slope[0, 5]) and np.all(slope[0, 4] != 0)


def test_a_box_of_another_size_counts_nowhere():
    slope, _ = layer_of(BODY % 20).backward(
        np.float32(1), np.zeros(MAP, np.float32), rows([0.25, 0.5, 0.625, 0.75])
    )
    assert not slope[:, :4].any()
    assert np.argwhere(slope[0, 4] == 0).tolist() == [[r, c] for r in (4, 5) for c in (2, 3, 4)]


def test_without_boxes():
    layer = layer_of()
    assert layer.forward(np.ones(MAP, np.float32), rows()) == 0
    assert not layer.backward(np.float32(1), np.ones(MAP, np.float32), rows())[0].any()


def test_refused():
    with pytest.raises(ShapeError, match="leaves the image"):
        layer_of().forward(np.zeros(MAP, np.float32), rows([0.25, 0.5, 1.625, 0.75]))
    with pytest.raises(ShapeError, match="needs a map of 6 channels"):
        layer_of(x=(1, 7, 8, 8))
    with pytest.raises(UnsupportedError, match="2 classes with SOFTMAX"):
        other = layer_of(BODY.replace("num_class: 2", "num_class: 3") % 28, (1, 7, 8, 8))
        other.forward(np.zeros((1, 7, 8, 8), np.float32), rows([0.25, 0.5, 0.625, 0.75]))
    other = rows([0.25, 0.5, 0.625, 0.75])
    other[0, 0, 0, 0] = 1
    with pytest.raises(ShapeError, match="of image 1 stands with image 0"):
        layer_of().forward(np.zeros(MAP, np.float32), other)
