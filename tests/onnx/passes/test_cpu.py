"""The forms that the CPU is faster at give what the operators give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from caffe_compat import Session
from caffe_compat.onnx.lowering import Lowered, lower
from caffe_compat.onnx.passes.cpu import is_slow, tune

from ...cases import assert_close, feed, inline, make, run_model

CONV = """layer { name: "conv" type: "Convolution" bottom: "x" top: "x2"
  convolution_param { num_output: %d kernel_size: 3 weight_filler { type: "msra" } } }"""
SLOPE = 'prelu_param { filler { type: "uniform" min: -2 max: 2 } }'


def layer(type, rest, bottom="x"):
    return f'layer {{ name: "y" type: "{type}" bottom: "{bottom}" top: "y" {rest} }}'


CASES = {
    "prelu behind a convolution": CONV % 32 + layer("PReLU", SLOPE, "x2"),
    "prelu of 10 channels": CONV % 10 + layer("PReLU", SLOPE, "x2"),
    "prelu of the input": layer("PReLU", SLOPE),
    "prelu shared": layer("PReLU", "prelu_param { channel_shared: true }"),
    "lrn": layer("LRN", "lrn_param { alpha: 0.5 }"),
    "lrn of beta 0.5": layer("LRN", "lrn_param { local_size: 3 alpha: 2 beta: 0.5 k: 2 }"),
    "lrn of beta 1.5": layer("LRN", "lrn_param { local_size: 7 alpha: 2 beta: 1.5 }"),
}


def net_of(text):
    shape = "input_param { shape { dim: 2 dim: 16 dim: 9 dim: 7 } }"
    return make(f'layer {{ name: "x" type: "Input" top: "x" {shape} }}' + text)


def run(model, feeds):
    (array,) = run_model(model, feeds).values()
    return array


@pytest.mark.parametrize("case", CASES)
def test_tuned_graphs_compute_the_same(case):
    net = net_of(CASES[case])
    lowered = lower(net)
    feeds = feed(net)
    assert is_slow(lowered.model)
    tuned = tune(lowered)
    assert not is_slow(tuned.model)
    assert is_slow(lowered.model)
    assert_close(run(inline(tuned), feeds), run(inline(lowered), feeds), 1e-6)


@pytest.mark.parametrize("case", CASES)
def test_sessions_of_nets_and_of_files_are_tuned_alike(case, tmp_path):
    net = net_of(CASES[case])
    feeds = feed(net)
    path = tmp_path / "net.onnx"
    model = inline(lower(net))
    path.write_bytes(model.SerializeToString())
    (made,) = Session(path, "cpu").run(feeds).values()
    (other,) = Session(net, "cpu").run(feeds).values()
    np.testing.assert_array_equal(made, other)
    assert_close(made, run(model, feeds), 1e-6)
    assert {node.op_type for node in onnx.load(path).graph.node} & {"PRelu", "LRN"}


def test_prelu_keeps_infinities_and_nans():
    net = net_of(CASES["prelu behind a convolution"])
    weight, bias = net.arrays[1]
    net = replace(net, arrays=((), (np.ones_like(weight), bias), net.arrays[2]))
    feeds = feed(net)
    feeds["x"][0, 0, 4, 4], feeds["x"][1, 1, 4, 4] = np.inf, np.nan
    wanted = net.forward(feeds)["y"]  # onnxruntime 1.23's PRelu makes NaN of an infinity
    assert np.isinf(wanted).any()
    assert np.isnan(wanted).any()
    made = run(inline(tune(lower(net))), feeds)
    # inf - inf in the negative part: NaN for NaN, and infinite where it was
    np.testing.assert_array_equal(np.isinf(made), np.isinf(wanted))
    np.testing.assert_array_equal(np.isnan(made), np.isnan(wanted))


def test_float16_stays_as_it_is():
    lowered = lower(net_of(CASES["prelu of the input"]))
    model = inline(lowered)
    half = onnx.numpy_helper.from_array(np.zeros(2, np.float16), "half")
    model.graph.initializer.append(half)
    for each in (Lowered(model, {}), replace(lowered, arrays={"half": np.zeros(2, np.float16)})):
        assert tune(each) is each


def test_files_of_old_opsets_stay_as_they_are():
    """Their Unsqueeze takes its axes as an attribute: LRN in the model zoo's AlexNet, opset 9."""
    h = onnx.helper
    x, y = (h.make_tensor_value_info(name, 1, [2, 6, 3, 4]) for name in "xy")
    graph = h.make_graph([h.make_node("LRN", ["x"], ["y"], size=3)], "g", [x], [y])
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 9)], ir_version=4)
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 6, 3, 4)).astype(np.float32)}
    (made,) = Session(Lowered(model, {}), "cpu").run(feeds).values()
    np.testing.assert_array_equal(made, run(model, feeds))


def test_a_slope_that_is_an_input_is_no_constant():
    h = onnx.helper
    x, y = (h.make_tensor_value_info(name, 1, [2, 16, 3, 4]) for name in "xy")
    slope = h.make_tensor_value_info("a", 1, [16, 1, 1])
    default = onnx.numpy_helper.from_array(np.ones((16, 1, 1), np.float32), "a")
    nodes = [h.make_node("PRelu", ["x", "a"], ["y"])]
    graph = h.make_graph(nodes, "g", [x, slope], [y], [default])
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=8)
    assert is_slow(tune(Lowered(model, {})).model)


def test_slopes_inside_a_model():
    net = net_of(CASES["prelu of 10 channels"])
    model = inline(lower(net))
    tuned = tune(Lowered(model, {}))
    assert not is_slow(tuned.model)
    assert_close(run(inline(tuned), feed(net)), run(model, feed(net)), 1e-6)
