"""The data layers of MS-CNN and Cascade R-CNN."""

from __future__ import annotations

import pytest

from caffe_compat.errors import ShapeError

from ...cases import make

DATA = """layer { name: "data" type: "%s" %s transform_param { mean_value: 1 mean_value: 2
  mean_value: 3 } %s }"""


@pytest.mark.parametrize(
    ("kind", "param", "shapes"),
    [
        (
            "ImageGtData",
            "image_gt_data_param { batch_size: 4 resize_width: 99 resize_height: 60 crop_width: 60 "
            "crop_height: 52 downsample_rate: 8 field_w: 9 field_h: 9 output_gt_boxes: true }",
            [(4, 3, 52, 60), (4, 6, 6, 7), (1, 7, 1, 1)],
        ),
        (
            "DetectionData",
            "detection_data_param { batch_size: 4 resize_width: 60 resize_height: 52 stride: 8 "
            "field_w: 9 field_h: 9 output_gt_boxes: true }",
            [(4, 3, 52, 60), (4, 6, 7, 8), (1, 8, 1, 1)],
        ),
        (
            "EvalData",
            "eval_data_param { batch_size: 2 resize_width: 60 resize_height: 52 }",
            [(2, 3, 52, 60), (1, 8, 1, 1), (2, 2, 1, 1)],
        ),
    ],
)
def test_data(kind, param, shapes):
    tops = " ".join(f'top: "t{i}"' for i in range(3))
    net = make(DATA % (kind, tops, param))
    assert [value.shape for value in net.graph.inputs] == shapes
    own = {"t0": (1, 3, 8, 8), "t1": (1, 6, 2, 2), "t2": (1, 2, 1, 1)}
    net = make(DATA % (kind, tops, param.replace("resize_width: 60", "")), inputs=own)
    assert [value.shape for value in net.graph.inputs] == list(own.values())


def test_refused():
    param = "image_gt_data_param { batch_size: 1 downsample_rate: 8 field_w: 9 }"
    with pytest.raises(ShapeError, match="as many field_h and field_w as maps: 0, 1 and 1"):
        make(DATA % ("ImageGtData", 'top: "a" top: "b"', param))
    with pytest.raises(ShapeError, match="needs 2 tops, and has 3"):
        param = param.replace("field_w", "field_h: 9 field_w")
        make(DATA % ("ImageGtData", 'top: "a" top: "b" top: "c"', param))
