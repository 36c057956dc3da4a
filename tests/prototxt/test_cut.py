"""Nets cut short: until blobs, and without layers."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from caffe_compat.caffe_pb2 import NetParameter
from caffe_compat.errors import ShapeError
from caffe_compat.prototxt.cut import cut_until, drop_tops, leave_out, list_layers, removed

NET = text_format.Parse(
    """
layer { name: "data" type: "Data" top: "data" top: "label" }
layer { name: "more" type: "Input" top: "extra" top: "mask"
  input_param { shape { dim: 1 } shape { dim: 2 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "s" type: "Slice" bottom: "c" top: "a" top: "b" }
layer { name: "m" type: "Eltwise" bottom: "b" bottom: "mask" top: "m" }
layer { name: "l" type: "Loss" bottom: "m" bottom: "label" top: "l" }
layer { name: "w" type: "Loss" bottom: "m" bottom: "extra" top: "w" loss_weight: 2 }
""",
    NetParameter(),
)


def names(net):
    return [layer.name for layer in net.layer]


def tops(net):
    return {layer.name: list(layer.top) for layer in net.layer if not layer.bottom}


def test_until_a_blob_in_its_last_version():
    cut = cut_until(NET, ["c"])
    assert names(cut) == ["data", "c", "r"]
    assert tops(cut) == {"data": ["data"]}
    assert names(NET)[-1] == "w"  # not changed


def test_until_several_blobs():
    cut = cut_until(NET, ["m", "label"])
    assert names(cut) == ["data", "more", "c", "r", "s", "m"]
    assert tops(cut) == {"data": ["data", "label"], "more": ["mask"]}
    (shape,) = cut.layer[1].input_param.shape
    assert list(shape.dim) == [2]


def test_until_what_there_is_not():
    with pytest.raises(ShapeError, match=r"until='lable': the net has no such blob.*'label'\?$"):
        cut_until(NET, ["lable"])
    with pytest.raises(ShapeError, match=r"no such blob$"):
        cut_until(NET, ["xyz"])


@pytest.mark.parametrize("out", [["Loss"], ["l", "w"], ["w", "l", "Loss"]])
def test_leave_out_by_type_or_name(out):
    cut = leave_out(NET, out)
    assert names(cut) == ["data", "more", "c", "r", "s", "m"]
    assert tops(cut) == {"data": ["data"], "more": ["mask"]}


def test_leave_out_takes_what_reads_it():
    cut = leave_out(NET, ["Slice"])
    assert names(cut) == ["data", "c", "r"]
    assert list_layers(removed(NET, cut)) == (
        "more (Input), s (Slice), m (Eltwise), l (Loss), w (Loss)"
    )
    in_place = leave_out(NET, ["r"])  # what reads c behind it reads its work
    assert names(in_place) == ["data", "c"]


def test_leave_out_what_there_is_not():
    with pytest.raises(ShapeError, match=r"no layer has that name or type.*'Slice'\?"):
        leave_out(NET, ["Slcie"])
    with pytest.raises(ShapeError, match="leaves nothing of the net"):
        leave_out(NET, ["data", "more"])


def test_only_the_last_tops_of_a_data_layer_go():
    layer = NET.layer[0]
    assert list(drop_tops(layer, {"data"}).top) == ["data", "label"]
    assert list(drop_tops(layer, {"label"}).top) == ["data"]
    assert drop_tops(layer, {"data", "label"}) is None
    pair = NetParameter().layer.add(name="d", type="ImageData", top=["data", "label"])
    assert list(drop_tops(pair, {"label"}).top) == ["data", "label"]


def test_a_very_long_list_is_cut():
    layers = [NET.layer[2]] * 502
    assert list_layers(layers[:500]).count("c (Convolution)") == 500
    assert list_layers(layers).endswith("c (Convolution), and 2 more")
