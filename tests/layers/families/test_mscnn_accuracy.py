"""How right MS-CNN's and Cascade R-CNN's boxes are, beside what golden/layers_forks has."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.layers.families.mscnn_accuracy import overlaps

from ...cases import make, one_layer

ACCURACY = """type: "DetectionAccuracy" detection_accuracy_param {
  cls_num: 3 field_w: 9 field_h: 9 downsample_rate: 8 %s }"""
INPUTS = """layer { name: "uv" type: "Input" top: "u" top: "v" input_param {
  shape { dim: 1 dim: 6 dim: 2 dim: 2 } shape { dim: 1 dim: 6 dim: 2 dim: 2 } } } """
MARKS = {
    "mscnn": INPUTS
    + """layer { name: "m" type: "DetectionAccuracy" bottom: "u" bottom: "v" top: "w"
      detection_accuracy_param { cls_num: 2 field_w: 9 field_h: 9 downsample_rate: 8 } }""",
    "cascade-rcnn": """layer { name: "m" type: "EvalData" top: "u" top: "v"
      eval_data_param { batch_size: 1 resize_width: 8 resize_height: 8 }
      transform_param { mean_value: 1 mean_value: 2 mean_value: 3 } }""",
}


@pytest.mark.parametrize("fork", MARKS)
def test_the_fork_is_told_by_the_net(fork):
    """A shared part of half a pixel counts in MS-CNN, and not in Cascade R-CNN."""
    row = np.array([[0, 10, 10, 29, 29]], np.float32)
    truth = np.array([[1, 29.5, 29.5, 50, 50, 0]], np.float32)
    arrays = np.zeros((1, 8), np.float32), row, truth
    text = one_layer('type: "BboxAccuracy"', *(a.shape for a in arrays))
    with pytest.raises(UnsupportedError, match="differs among forks"):
        make(text)
    net = make(text + MARKS[fork])
    (layer,) = (n.layer for n in net.graph.nodes if n.layer.type == "BboxAccuracy")
    assert type(layer).fork == fork
    (overlap,) = layer.forward(*arrays)
    assert (overlap.item() > 0) == (fork == "mscnn")


@pytest.mark.parametrize(("pixel", "want"), [(False, 0.25 / 7.75), (True, 0)])
def test_overlaps(pixel, want):
    """Of two squares of 2 pixels that share a quarter of a pixel; of none of no extent."""
    a, b = (np.array([*corner, 2, 2], np.float32) for corner in ([0, 0], [1.5, 1.5]))
    assert np.isclose(overlaps(a, b, pixel=pixel), want)
    assert np.isclose(overlaps(a, a, pixel=pixel), 1)
    assert overlaps(a, np.array([0, 0, 2, 0], np.float32), pixel=pixel) == 0


def test_nothing_to_compare():
    x, truth = np.zeros((1, 7, 2, 2), np.float32), np.zeros((1, 6, 2, 2), np.float32)
    truth[:, 5] = 0.9  # no object, and too near one to be a negative
    net = make(one_layer(ACCURACY % "", x.shape, truth.shape, top=["y", "z"]))
    outputs = net.forward({"a": x, "b": truth})
    assert outputs["y"].ravel().tolist() == [-1, -1] and outputs["z"].item() == -1


def test_refused():
    with pytest.raises(ShapeError, match="coord_num 4 and cls_num"):
        make(one_layer(ACCURACY % "coord_num: 5", (1, 8, 2, 2), (1, 7, 2, 2)))
    body = 'type: "BboxAccuracy" bbox_reg_param { cls_aware: %s }'
    rows = np.zeros((1, 5), np.float32), np.array([[2, 0, 0, 9, 9, 0]], np.float32)
    shapes = (1, 8), (1, 5), (1, 6)
    for aware in ("true", "false"):
        net = make(one_layer(body % aware, *shapes), fork="cascade-rcnn")
        feeds = {"a": np.zeros((1, 8), np.float32), "b": rows[0], "c": rows[1]}
        if aware == "false":
            assert net.forward(feeds)["y"].shape == (1, 1, 1, 1)
        else:
            with pytest.raises(ShapeError, match="label 2 is outside"):
                net.forward(feeds)
