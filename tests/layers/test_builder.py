"""The Builder that lowerings and passes write nodes with."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from caffe_compat.errors import UnsupportedError
from caffe_compat.layers.builder import Builder, int64, reads


@pytest.fixture
def g():
    """A builder with a blob x, of any batch, and a parameter l/w."""
    g = Builder(18)
    g.value("x", (None, 3, 4))
    g.parameter("l/w", np.arange(12, dtype=np.float32).reshape(3, 4))
    g.begin("l")
    return g


def test_an_operator_returns_a_name_or_as_many_as_outputs_says(g):
    assert g.Relu("x") == "l/Relu"
    assert g.Relu("x") == "l/Relu_2"
    assert g.Split("x", num_outputs=2, axis=1, outputs=2) == ("l/Split", "l/Split_2")
    assert g.Split("x", num_outputs=1, axis=1, outputs=1) == ("l/Split_3",)
    with pytest.raises(AttributeError):
        _ = g.relu


def test_inputs_are_names_constants_or_absent(g):
    g.Clip("x", None, np.float32(6))
    g.Clip("x", np.float32(0), None)
    one, two = g.nodes
    assert list(one.input) == ["x", "", "l/constant"]
    assert list(two.input) == ["x", "l/constant_2"]  # an absent one at the end is left out
    assert g.arrays["l/constant"] == 6


def test_attributes_are_left_out_where_none(g):
    g.Conv("x", "l/w", strides=None, group=2)
    g.ConstantOfShape(int64(2), value=np.array([3], np.float32))
    assert [a.name for a in g.nodes[0].attribute] == ["group"]
    assert onnx.numpy_helper.to_array(g.nodes[1].attribute[0].t).tolist() == [3]


def test_equal_small_constants_are_one(g):
    g.Add(g.Mul("x", np.float32(2)), np.float32(2))
    assert len(g.arrays) == 1
    assert g.constant(np.zeros(2000, np.float32)) != g.constant(np.zeros(2000, np.float32))
    assert g.constant(2) != g.constant(np.float32(2))


def test_a_parameter_is_an_initializer_once_it_is_read(g):
    assert not g.arrays
    flat = g.view("l/w", (12,))
    assert flat == "l/w:12"
    assert g.view(flat, (3, 4)) == "l/w"
    assert g.view("l/w", (-1, 4)) == "l/w"
    g.Mul("x", flat)
    assert list(g.arrays) == ["l/w:12"]
    assert np.shares_memory(g.arrays["l/w:12"], g.data("l/w"))
    assert g.params["l/w:12"] == ("l/w", (3, 4))


def test_a_constant_may_be_viewed_too(g):
    name = g.view(g.constant(np.arange(4, dtype=np.float32)), (2, 2))
    assert g.arrays[name].shape == (2, 2)


def test_a_changed_parameter_is_noted(g):
    name = g.change("l/w", g.data("l/w").T)
    assert g.changed == ["l/w"]
    assert g.arrays[name].flags["C_CONTIGUOUS"]
    assert g.arrays[name].tolist() == g.data("l/w").T.tolist()


def test_what_is_known(g):
    ones = g.ConstantOfShape(int64(2, 1), value=np.array([1], np.float32))
    both = g.Concat(ones, np.zeros((3, 1), np.float32), axis=0)
    assert g.known(both).ravel().tolist() == [1, 1, 0, 0, 0]
    assert g.known(g.Reshape(both, int64(1, -1))).shape == (1, 5)
    assert g.known("x") is None
    assert g.known("l/w") is None  # a parameter's bytes may be another's tomorrow
    assert g.known(g.Add(both, "x")) is None
    assert g.known(g.Exp(both)) is None


def test_sizes_that_vary_are_refused_by_axis(g):
    assert g.dims("x") == (None, 3, 4)
    assert g.fixed("x", 2) == 4
    with pytest.raises(UnsupportedError, match="axis 0 of its bottom at a fixed size"):
        g.shape("x")


def test_tops_name_the_tensors_that_a_layer_ends_with(g):
    y = g.Relu(g.Abs("x"))
    g.value("y", (None, 3, 4))
    g.end([y], ["y"])
    assert [(n.name, list(n.input), list(n.output)) for n in g.nodes] == [
        ("l/Abs", ["x"], ["l/Abs"]),
        ("l", ["l/Abs"], ["y"]),
    ]
    assert g.resolve(y) == "y"


def test_a_top_that_is_another_tensor_is_an_alias(g):
    g.end(["x"], ["y"])
    assert g.resolve("y") == "x"
    g.begin("m")
    g.end([g.Relu("y")], ["z"])
    assert list(g.nodes[0].input) == ["x"]


def test_an_output_that_is_an_alias_gets_a_node_and_what_nothing_reads_goes(g):
    g.Exp("x")
    g.end(["x"], ["y"])
    assert g.finish(["y"]) == {"x", "y"}
    assert [(n.op_type, list(n.output)) for n in g.nodes] == [("Identity", ["y"])]


def test_a_subgraph_reads_from_outside(g):
    outside = g.Relu("x")

    def step(a, b):
        total = g.Add(a, b)
        return total, g.Mul(total, outside)

    body = g.graph(step, 2, ranks=(2, 1))
    assert [node.op_type for node in body.node] == ["Add", "Mul"]
    assert [len(o.type.tensor_type.shape.dim) for o in body.output] == [2, 1]
    assert [node.op_type for node in g.nodes] == ["Relu"]
    g.Scan("x", "x", body=body, num_scan_inputs=1, outputs=2)
    assert outside in reads(g.nodes[-1])


def test_a_subgraph_that_fails_leaves_the_graph_as_it_was(g):
    def step(a):
        raise UnsupportedError("no")

    with pytest.raises(UnsupportedError):
        g.graph(step, 1)
    g.Relu("x")
    assert len(g.nodes) == 1
