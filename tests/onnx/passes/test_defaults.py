"""A net that is fed by constants alone is computed at every run."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.passes import simplify
from caffe_compat.onnx.writer import save
from caffe_compat.runtime.float16 import to_float16
from caffe_compat.runtime.session import Session
from caffe_compat.runtime.verification import verify

from ...cases import make

BENCHMARK = """
layer { name: "d" type: "DummyData" top: "data" top: "label" dummy_data_param {
  data_filler { type: "constant" value: 0.25 } data_filler { type: "constant" value: 1 }
  shape { dim: 2 dim: 3 dim: 8 dim: 9 } shape { dim: 2 } } }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param {
  num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } bias_filler { type: "constant" value: 1 } } }
layer { name: "s" type: "Silence" bottom: "label" }
"""  # noqa: E501


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def test_a_session_computes_it_at_every_run(tmp_path):
    net = make(BENCHMARK)
    model = simplify(lower(net))
    assert [value.name for value in model.model.graph.input] == ["data/value"]
    path = save(model, tmp_path / "net.onnx").files[0]
    onnx.checker.check_model(onnx.load(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    assert operators(tmp_path / "optimized.onnx") == ["Expand", "Conv"]
    want = net.forward({})["c"]
    np.testing.assert_allclose(session.run(None, {})[0], want, atol=1e-6)
    (other,) = session.run(None, {"data/value": np.full(1, 0.5, np.float32)})
    np.testing.assert_allclose(other - 1, 2 * (want - 1), atol=1e-6)


@pytest.mark.parametrize("change", [lambda lowered: lowered, to_float16])
def test_sessions_and_verification_need_no_feed(tmp_path, change):
    net = make(BENCHMARK)
    path = save(change(simplify(lower(net))), tmp_path / "net.onnx").files[0]
    session = Session(path, "cpu")
    assert (session.inputs, set(session.outputs)) == ({}, {"c"})
    np.testing.assert_allclose(session.run({})["c"], net.forward({})["c"], atol=2e-3)
    assert verify(net, path).agrees


def test_constants_beside_an_input_are_constants():
    text = BENCHMARK.replace(
        'name: "s" type: "Silence" bottom: "label"',
        'name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 6 dim: 7 } } } '
        'layer { name: "e" type: "Eltwise" bottom: "c" bottom: "x" top: "e"',
    )
    model = simplify(lower(make(text)))
    assert [value.name for value in model.model.graph.input] == ["x"]
    assert model.model.graph.node[0].op_type == "ConstantOfShape"
