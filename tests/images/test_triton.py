"""Triton model repositories: the layout, and config.pbtxt."""

from __future__ import annotations

import re

import onnx
import pytest

from caffe_compat.errors import CaffeCompatError, ShapeError
from caffe_compat.images import triton

from ..cases import make

NET = """
name: "two"
input: "data" input_shape { dim: 2 dim: 3 dim: 7 dim: 5 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "prob" type: "Softmax" bottom: "pool" top: "prob" }
"""


CONFIG = """\
name: "net"
backend: "onnxruntime"
default_model_filename: "model.onnx"
max_batch_size: 8
input {
  name: "data"
  data_type: TYPE_FP32
  dims: [ 3, 7, 5 ]
}
output {
  name: "conv"
  data_type: TYPE_FP32
  dims: [ 4, 5, 3 ]
}
output {
  name: "prob"
  data_type: TYPE_FP32
  dims: [ 3, 1, 1 ]
  label_filename: "labels.txt"
}
dynamic_batching {
  max_queue_delay_microseconds: 250
}
"""


def test_open_sizes_other_types_and_outputs_of_one_value(tmp_path):
    h = onnx.helper
    graph = h.make_graph(
        [
            h.make_node("ArgMax", ['a"b'], ["best"], axis=1, keepdims=0),
            h.make_node("ReduceMax", ["best"], ["out"], axes=[1, 2], keepdims=0),
        ],
        "g",
        [h.make_tensor_value_info('a"b', onnx.TensorProto.UINT8, ["n", 4, "h", "w"])],
        [h.make_tensor_value_info("out", onnx.TensorProto.INT64, ["n"])],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "g.onnx")
    written = triton.export(tmp_path / "g.onnx", tmp_path, "g", max_batch=4)
    assert (written.unbatchable, written.remedies) == (None, ())
    text = re.sub(r"\s+", " ", (tmp_path / "g" / "config.pbtxt").read_text())
    assert r'input { name: "a\"b" data_type: TYPE_UINT8 dims: [ 4, -1, -1 ] }' in text
    assert 'output { name: "out" data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } }' in text


def test_a_net_with_labels_and_an_open_batch(tmp_path):
    net = make(NET, inputs={"data": (None, 3, 7, 5)})
    written = triton.export(net, tmp_path, "net", labels=["a", "b", "c"], max_batch=8, delay=250)
    home = tmp_path / "net"
    assert written.files == (
        home / "config.pbtxt",
        home / "1" / "model.onnx",
        home / "labels.txt",
    )
    assert (home / "config.pbtxt").read_text() == CONFIG


def test_a_closed_batch_is_named_with_its_remedy(tmp_path):
    written = triton.export(make(NET), tmp_path, "net")
    assert written.unbatchable == (
        "'data' is 2x3x7x5, its first axis not open; batch='dynamic' opens it"
    )
    assert written.remedies == ("batch",)
    assert "max_batch_size: 0" in (tmp_path / "net" / "config.pbtxt").read_text()


@pytest.mark.parametrize("name", ["../up", "", ".git", "a\\b"])
def test_names_that_are_no_folders(tmp_path, name):
    with pytest.raises(CaffeCompatError, match="is no name for a model"):
        triton.export(make(NET), tmp_path, name)
    assert not list(tmp_path.iterdir())


def test_few_labels_are_refused_before_the_configuration(tmp_path):
    net = make(NET, inputs={"data": (None, 3, 7, 5)})
    with pytest.raises(ShapeError, match="2 labels for the 3 classes of 'prob'"):
        triton.export(net, tmp_path, "net", labels=["a", "b"])
    assert not (tmp_path / "net" / "config.pbtxt").exists()
