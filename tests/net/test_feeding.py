"""Inputs that the given shapes make."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from caffe_compat import pipeline
from caffe_compat.caffe_pb2 import NetParameter
from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.net.creation import Creator
from caffe_compat.net.feeding import feed, source_shapes


def fed(text, inputs):
    net = text_format.Parse(text, NetParameter())
    creator = Creator()
    return [(layer.name, layer.type, list(layer.top)) for layer in feed(net, inputs, creator).layer]


RELU = 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'


def test_nothing_is_given():
    net = text_format.Parse(RELU, NetParameter())
    assert feed(net, {}, Creator()) is net


def test_a_blob_that_no_layer_makes():
    assert fed(RELU, {"data": (1, 2)}) == [("data", "Input", ["data"]), ("r", "ReLU", ["r"])]
    assert fed(RELU, {"r": (1, 2)}) == [("r", "ReLU", ["r"])]


@pytest.mark.parametrize("kind", ["Novel", "Python", "DummyData", "Parameter"])
def test_a_layer_without_bottoms_of_any_type(kind):
    text = f'layer {{ name: "d" type: "{kind}" top: "data" top: "label" }} {RELU}'
    assert fed(text, {"data": (1, 2)})[0] == ("d", "Input", ["data"])
    both = {"data": (1, 2), "label": (1,)}
    assert fed(text, both)[0] == ("d", "Input", ["data", "label"])
    # The label, which a layer reads, has no shape yet.
    read = text + 'layer { name: "s" type: "Silence" bottom: "label" }'
    assert fed(read, {"data": (1, 2)})[0] == ("d", kind, ["data", "label"])
    assert fed(read, both)[0] == ("d", "Input", ["data", "label"])


def test_a_layer_that_cannot_run():
    text = f'layer {{ name: "d" type: "Novel" bottom: "x" top: "data" }} {RELU}'
    assert fed(text, {"data": (1, 2)})[0] == ("data", "Input", ["data"])
    runs = text.replace("Novel", "Sigmoid")
    assert fed(runs, {"data": (1, 2)})[0] == ("d", "Sigmoid", ["data"])


def test_a_layer_that_cannot_run_in_place_on_the_data():
    text = f'layer {{ name: "n" type: "Novel" bottom: "data" top: "data" }} {RELU}'
    own = 'layer { name: "d" type: "Own" top: "data" } '
    for before in ("", own):
        assert [kind for _, kind, _ in fed(before + text, {"data": (1, 2)})] == ["Input", "ReLU"]


def test_what_nothing_reads_any_more_is_no_input():
    text = (
        'layer { name: "d" type: "Own" top: "raw" top: "label" } '
        f'layer {{ name: "t" type: "Novel" bottom: "raw" bottom: "label" top: "data" }} {RELU}'
    )
    assert fed(text, {"data": (1, 2)}) == [("data", "Input", ["data"]), ("r", "ReLU", ["r"])]


def test_a_data_layer_that_can_run_stays():
    text = (
        'layer { name: "d" type: "Data" top: "data" top: "label" '
        f"transform_param {{ mean_value: 1 }} data_param {{ batch_size: %d }} }} {RELU}"
    )
    net = text_format.Parse(text % 4, NetParameter())
    assert feed(net, {"data": (2, 3, 4, 5)}, Creator()).layer[0] == net.layer[0]
    net = text_format.Parse(text % 0, NetParameter())
    layer = feed(net, {"data": (2, 3, 4, 5)}, Creator()).layer[0]
    assert (layer.type, layer.data_param.batch_size) == ("Data", 2)
    layer = feed(net, {"data": (None, 3, 4, 5)}, Creator()).layer[0]
    assert layer.data_param.batch_size == 1
    assert net.layer[0].data_param.batch_size == 0


def test_memory_data_without_sizes_is_an_input():
    text = f'layer {{ name: "d" type: "MemoryData" top: "data" top: "label" }} {RELU}'
    assert fed(text, {"data": (2, 3, 4, 5)})[0] == ("d", "Input", ["data"])


def test_a_batch_for_data_that_has_none():
    text = f'layer {{ name: "d" type: "VideoData" top: "data" top: "label" }} {RELU}'
    net = text_format.Parse(text + RELU.replace("data", "label"), NetParameter())
    layer = feed(net, {"data": (2, 30, 4, 5)}, Creator()).layer[0]
    assert (layer.type, layer.data_param.batch_size) == ("VideoData", 2)


def test_the_preprocessing_stays():
    text = 'layer { name: "d" type: "Novel" top: "data" transform_param { scale: 0.5 } }' + RELU
    net = text_format.Parse(text, NetParameter())
    layer = feed(net, {"data": (2, 3)}, Creator()).layer[0]
    assert layer.transform_param.scale == 0.5


def test_through_the_line(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "d" type: "Novel" top: "data" top: "label" novel_param { a: 1 } }\n'
        'layer { name: "l" type: "EuclideanLoss" bottom: "data" bottom: "label" top: "l" }'
    )
    with pytest.raises(UnsupportedError, match=r"layer 'd' \(Novel\): unknown layer type"):
        pipeline.read(path, inputs={"data": (2, 3)})
    graph = pipeline.read(path, inputs={"data": (None, 3), "label": (None, 3)})
    assert [value.dims for value in graph.inputs] == [(None, 3), (None, 3)]
    assert [value.shape for value in graph.inputs] == [(1, 3), (1, 3)]
    with pytest.raises(ShapeError, match="leaves sizes open"):
        pipeline.read(path, inputs={"data": (2, None), "label": (2, None)})


def test_shapes_that_data_layers_state():
    means = "mean_value: 1 mean_value: 2 mean_value: 3"
    text = f"""layer {{ type: "Data" top: "image" top: "label" data_param {{ batch_size: 4 }}
      transform_param {{ crop_size: 8 {means} }} }}
      layer {{ type: "Data" top: "of any size" data_param {{ batch_size: 4 }} }}
      layer {{ type: "Novel" top: "unknown" }} {RELU}"""
    shapes = source_shapes(text_format.Parse(text, NetParameter()), Creator())
    assert shapes == {"image": (4, 3, 8, 8), "label": (4,)}
