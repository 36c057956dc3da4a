"""A lowered graph rewritten node by node."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from caffe_compat.onnx.lowering import ALIASES, Lowered, lower
from caffe_compat.onnx.rewriting import Rewriter, attributes, rewrite

from ..cases import assert_close, feed, inline, make, run_model

NET = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "relu" type: "ReLU" bottom: "x" top: "r" }
layer { name: "drop" type: "Dropout" bottom: "r" top: "d" }
layer { name: "tanh" type: "TanH" bottom: "d" top: "y" }"""


def graph(lowered):
    return [
        (node.op_type, node.name, list(node.input), list(node.output))
        for node in lowered.model.graph.node
    ]


def test_a_rule_writes_nodes_in_a_nodes_place():
    net = make(NET)
    lowered = lower(net)
    rewritten = rewrite(lowered, {"Relu": lambda g, node: g.Max(g.Abs(node.input[0]), g.Neg("x"))})
    assert graph(rewritten) == [
        ("Abs", "relu/Abs", ["x"], ["relu/Abs"]),
        ("Neg", "relu/Neg", ["x"], ["relu/Neg"]),
        ("Max", "relu", ["relu/Abs", "relu/Neg"], ["r"]),
        ("Tanh", "tanh", ["r"], ["y"]),
    ]
    feeds = feed(net)
    assert_close(run_model(inline(rewritten), feeds)["y"], np.tanh(np.abs(feeds["x"])), 1e-6)
    assert [row[0] for row in graph(lowered)] == ["Relu", "Tanh"]


def test_a_rule_that_declines_leaves_the_node():
    lowered = lower(make(NET))
    assert graph(rewrite(lowered, {"Relu": lambda g, node: None})) == graph(lowered)


def test_a_tensor_in_a_nodes_place():
    """Readers read it directly, an output gets a node, and blobs that are gone have no alias."""
    lowered = lower(make(NET))
    props = {prop.key: prop.value for prop in lowered.model.metadata_props}
    assert json.loads(props[ALIASES]) == {"d": "r"}
    short = rewrite(lowered, {"Relu": lambda g, node: "x"})
    assert graph(short) == [("Tanh", "tanh", ["x"], ["y"])]
    assert not short.model.metadata_props
    both = rewrite(short, {"Tanh": lambda g, node: g.constant(np.ones((2, 3), np.float32))})
    assert graph(both) == [("Identity", "y", ["tanh/constant"], ["y"])]
    inline(both)


def test_what_nothing_reads_goes():
    net = make("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "a" type: "Scale" bottom: "x" top: "a" }
        layer { name: "y" type: "Scale" bottom: "a" top: "y" }""")
    lowered = lower(net)
    assert set(lowered.arrays) == set(lowered.params) == {"a/scale", "y/scale"}
    short = rewrite(lowered, {"Mul": lambda g, node: "x" if node.name == "a" else None})
    assert set(short.arrays) == set(short.params) == {"y/scale"}
    assert set(short.dims) == {"x", "y"}


def test_names_stay_unique():
    lowered = lower(make(NET))

    def twice(g, node):
        return g.Relu(g.Relu(node.input[0]))

    rewritten = rewrite(rewrite(lowered, {"Relu": twice}), {"Relu": twice})
    names = [row[1] for row in graph(rewritten)]
    assert len(set(names)) == len(names) == 5
    inline(rewritten)


def test_a_subgraph_reads_what_stands_in_a_tensors_place():
    net = make("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 2 dim: 3 } } }
        layer { name: "c" type: "Input" top: "c" input_param { shape { dim: 4 dim: 2 } } }
        layer { name: "y" type: "LSTM" bottom: "x" bottom: "c" top: "y"
                recurrent_param { num_output: 5 weight_filler { type: "uniform" } } }""")
    lowered = lower(net)
    assert "Scan" in [row[0] for row in graph(lowered)]
    # Read the step's weights through a node that a rule then takes away.
    scan = next(node for node in lowered.model.graph.node if node.op_type == "Scan")
    (gemm,) = [part for part in scan.attribute[0].g.node if part.op_type == "Gemm"]
    name = gemm.input[1]
    gemm.input[1] = "copy"
    lowered.model.graph.node.insert(0, onnx.helper.make_node("Identity", [name], ["copy"]))
    feeds = {"x": feed(net)["x"], "c": np.ones((4, 2), np.float32)}
    want = run_model(inline(lowered), feeds)["y"]
    short = rewrite(lowered, {"Identity": lambda g, node: node.input[0]})
    assert "Identity" not in [row[0] for row in graph(short)]
    np.testing.assert_array_equal(run_model(inline(short), feeds)["y"], want)


def test_nodes_of_other_domains_stay():
    h = onnx.helper
    x, y = (h.make_tensor_value_info(name, 1, [3]) for name in "xy")
    node = h.make_node("Relu", ["x"], ["y"], domain="elsewhere")
    model = h.make_model(h.make_graph([node], "g", [x], [y]))
    rewritten = rewrite(Lowered(model, {}), {"Relu": lambda g, node: pytest.fail("not ours")})
    assert rewritten.model.graph.node == model.graph.node


def test_what_a_rule_may_ask():
    net = make(NET)
    g = Rewriter(lower(net))
    for node in g._before.model.graph.node:
        g.rewrite(node)
    assert g.producer("y").op_type == "Tanh"
    assert g.producer("x") is None
    assert g.sole("r").op_type == "Relu"
    assert g.sole("x") is None  # an input of the model
    assert g.values["r"] == (2, 3)
    assert attributes(onnx.helper.make_node("Elu", ["x"], ["y"], alpha=0.5)) == {"alpha": 0.5}
