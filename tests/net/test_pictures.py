"""What a file tells of its pictures."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from caffe_compat import pipeline
from caffe_compat.caffe_pb2 import NetParameter
from caffe_compat.errors import CaffeCompatError
from caffe_compat.net.pictures import channels, declared, extent, reader_of


def net(text):
    return text_format.Parse(text, NetParameter())


@pytest.mark.parametrize(
    ("transform", "size"),
    [
        ("crop_size: 7 resize_param { height: 8 width: 9 }", (7, 7)),
        ("crop_h: 5 crop_w: 6", (5, 6)),
        ("crop_h: 5", (None, None)),
        ("resize_param { height: 8 width: 9 }", (8, 9)),
        ("resize_param { height: 8 width: 9 resize_mode: FIT_SMALL_SIZE }", (None, None)),
        ("mirror: true", (None, None)),
    ],
)
def test_the_extent_of_a_data_layers_first_top(transform, size):
    layer = f'layer {{ name: "d" top: "data" top: "label" transform_param {{ {transform} }} }}'
    assert extent("data", net(layer)) == size
    assert extent("label", net(layer)) == (None, None)
    assert reader_of("label", net(layer)).name == "d"
    assert extent("data", net(layer.replace("name", 'bottom: "x" name'))) == (None, None)


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ('top: "a" input_param { shape { dim: 2 dim: 3 } }', (2, 3)),
        ('top: "a" input_param { shape { dim: 0 dim: 3 } }', ()),
        ('top: "a" input_param { }', ()),
        ('top: "a" top: "b" input_param { shape { dim: 2 } }', ()),
    ],
)
def test_the_shape_that_an_input_param_states(fields, shape):
    assert declared(net(f'layer {{ name: "d" type: "Data" {fields} }}').layer[0]) == shape


def test_the_channels_of_the_weights():
    text = (
        'layer { name: "r" type: "ReLU" bottom: "data" }'
        'layer { name: "c" type: "Convolution" bottom: "data" convolution_param { group: 2 } }'
    )
    assert channels("data", net(text), {"c": [(8, 3, 5, 5), (8,)]}) == (6, "c")
    assert channels("data", net(text), {}) is None
    assert channels("data", net(text), {"c": [(8, 3)]}) is None
    assert channels("other", net(text), {"c": [(8, 3, 5, 5)]}) is None


def test_a_layer_without_a_batch(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "d" type: "HDF5Data" top: "data" transform_param { crop_size: 3 } }'
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'
    )
    with pytest.raises(CaffeCompatError):
        pipeline.read(path)
    path.write_text(path.read_text().replace("HDF5Data", "Novel"))
    with pytest.raises(CaffeCompatError, match="unknown layer type"):
        pipeline.read(path)
