"""Triton model repositories: the layout, and what config.pbtxt says."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest

from caffe_compat import pipeline
from caffe_compat.errors import CaffeCompatError
from caffe_compat.images import triton
from caffe_compat.runtime.session import Session

from ..cases import GOLDEN, feed, make

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


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    return tmp_path / "net.prototxt"


def test_a_prototxt_with_labels(run, net, tmp_path):
    status, out, err = run(
        "export",
        net,
        "--triton",
        tmp_path / "repo",
        "--labels",
        tmp_path / "labels.txt",
        "--max-batch",
        8,
        "--delay",
        250,
    )
    assert (status, err) == (0, "")
    home = tmp_path / "repo" / "net"
    assert (home / "config.pbtxt").read_text() == CONFIG
    assert (home / "labels.txt").read_text() == "a\nb\nc\n"
    session = Session(home / "1" / "model.onnx", "cpu")
    assert session.inputs == {"data": (None, 3, 7, 5)}
    assert len(out.splitlines()) == 3


def test_fixed_batch_is_not_joined(run, net, tmp_path):
    status, _, err = run("export", net, "--triton", tmp_path / "repo", "--batch", 2, "--name", "b")
    assert status == 0
    assert err == (
        "note: no dynamic batching, since 'data' is 2x3x7x5, its first axis not open "
        "(--batch dynamic opens it)\n"
    )
    text = (tmp_path / "repo" / "b" / "config.pbtxt").read_text()
    assert "max_batch_size: 0\n" in text
    assert "dims: [ 2, 3, 7, 5 ]" in text
    assert "dynamic_batching" not in text


def test_a_detector_is_served_picture_by_picture(run, tmp_path):
    ssd = GOLDEN / "models" / "hyperlpr_ssd"
    status, _, err = run(
        "export",
        ssd / "net.prototxt",
        "--weights",
        ssd / "weights.caffemodel",
        "--triton",
        tmp_path,
        "--name",
        "ssd",
    )
    assert status == 0
    assert err == (
        "note: no dynamic batching, since 'detection_out' is 1x1x?x7, its first axis not open\n"
    )
    text = (tmp_path / "ssd" / "config.pbtxt").read_text()
    assert "max_batch_size: 0\n" in text
    assert "dims: [ 1, 1, -1, 7 ]" in text


@pytest.mark.parametrize("weights_as", ["inline", "external"])
def test_an_onnx_file_is_copied_whole(run, tmp_path, weights_as):
    made = make(NET)
    pipeline.to_onnx(made, tmp_path / "x.onnx", weights_as=weights_as)
    assert run("export", tmp_path / "x.onnx", "--triton", tmp_path / "repo")[0] == 0
    (tmp_path / "x.onnx").unlink()
    feeds = feed(made)
    outputs = Session(tmp_path / "repo" / "x" / "1" / "model.onnx", "cpu").run(feeds)
    np.testing.assert_allclose(outputs["prob"], made.forward(feeds)["prob"], atol=1e-6)


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

    def write(path):
        onnx.save(model, path)
        return [path]

    triton.export(write, tmp_path, "g", max_batch=4)
    text = re.sub(r"\s+", " ", (tmp_path / "g" / "config.pbtxt").read_text())
    assert r'input { name: "a\"b" data_type: TYPE_UINT8 dims: [ 4, -1, -1 ] }' in text
    assert 'output { name: "out" data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } }' in text


def test_errors(run, net, tmp_path):
    (tmp_path / "few.txt").write_text("a\nb\n")
    few = tmp_path / "few.txt"
    status, _, err = run("export", net, "--triton", tmp_path / "r", "--labels", few)
    assert (status, err) == (1, "error: 2 labels for the 3 classes of 'prob'\n")
    assert not (tmp_path / "r" / "net" / "config.pbtxt").exists()
    for name in ("../up", "", ".git", "a\\b"):
        with pytest.raises(CaffeCompatError, match="is no name for a model"):
            triton.export(lambda path: [path], tmp_path, name)
    assert run("export", tmp_path / "x.onnx", "--triton", tmp_path / "r")[0] == 1
