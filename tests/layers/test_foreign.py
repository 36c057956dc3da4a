"""Layer types that tell whose a net is."""

from __future__ import annotations

from caffe_compat.layers.foreign import marked, origin


def test_types_that_mark_a_fork():
    assert marked("cascade-rcnn", ["ReLU", "DecodeBBox"]) == ["DecodeBBox"]
    assert marked("cascade-rcnn", ["ReLU"]) == []
    assert marked(None, ["DecodeBBox"]) == []


def test_where_a_type_comes_from():
    assert origin("MarginInnerProduct") == "wy1iu/sphereface"
    assert origin("ReLU") == ""
