"""A net as an ONNX model: names, inputs, outputs, and weights that stay where they lie."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

from caffe_compat.errors import UnsupportedError
from caffe_compat.onnx.lowering import ALIASES, LOWERED, lower, parameter_names

from ..cases import feed, graph_of, inline, make, run_model

NET = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 5 } } }
layer { name: "bn" type: "BatchNorm" bottom: "data" top: "n" }
layer { name: "s" type: "Scale" bottom: "n" top: "n" scale_param { bias_term: true } }
layer { name: "drop" type: "Dropout" bottom: "n" top: "d" }
layer { name: "fc" type: "InnerProduct" bottom: "d" top: "y" inner_product_param {
        num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "fc" type: "InnerProduct" bottom: "d" top: "z" inner_product_param {
        num_output: 2 weight_filler { type: "xavier" } } }"""


def test_nodes_carry_the_layers_names_and_tensors_the_blobs():
    graph = lower(make(NET)).model.graph
    assert graph.name == "small"
    rows = [(node.op_type, node.name, node.output[0]) for node in graph.node]
    assert rows == [
        ("BatchNormalization", "bn", "n/bn"),
        ("Mul", "s/Mul", "s/Mul"),
        ("Add", "s", "n"),
        ("Flatten", "fc/Flatten", "fc/Flatten"),
        ("Gemm", "fc", "y"),
        ("Flatten", "fc/Flatten_2", "fc/Flatten_2"),
        ("Gemm", "fc_2", "z"),
    ]
    assert [value.name for value in graph.input] == ["data"]
    assert [value.name for value in graph.output] == ["y", "z"]


def test_the_plain_meaning_and_no_pass():
    """What a Scale computes stays beside what BatchNorm computes."""
    assert "Mul" in {node.op_type for node in lower(make(NET)).model.graph.node}


def test_parameters_are_named_by_layer_and_blob():
    net = make(NET)
    names = parameter_names(net)
    assert [names[4, 0], names[5, 0], names[5, 1]] == ["fc/weight", "fc/weight#5", "fc/bias#5"]
    lowered = lower(net)
    assert lowered.params["s/scale:3x1"] == ("s/scale", (3,))
    assert np.shares_memory(lowered.arrays["s/scale:3x1"], net.arrays[2][0])
    assert lowered.changed == ("bn/mean", "bn/variance")
    assert set(lowered.params) == {
        n for n in lowered.arrays if "constant" not in n and ":ch" not in n
    }


def test_blobs_without_a_tensor_are_in_the_metadata():
    (prop,) = lower(make(NET)).model.metadata_props
    assert (prop.key, json.loads(prop.value)) == (ALIASES, {"d": "n"})


def test_shapes_of_the_blobs():
    lowered = lower(make(NET, inputs={"data": (None, 3, 5)}))
    assert lowered.dims["n"] == (None, 3, 5)
    assert lowered.dims["y"] == (None, 4)
    (dim, *_) = lowered.model.graph.input[0].type.tensor_type.shape.dim
    assert dim.dim_param == "batch"


def test_extra_outputs_and_outputs_that_are_inputs():
    net = make(NET)
    extra = [net.graph.blob(name) for name in ("d", "data", "y")]
    lowered = lower(net, extra=extra)
    assert [value.name for value in lowered.model.graph.output] == ["y", "z", "d"]
    arrays = run_model(inline(lowered), feed(net))
    np.testing.assert_allclose(arrays["d"], net.run(feed(net))["d"], rtol=1e-5)


@pytest.mark.parametrize("opset", LOWERED)
def test_every_opset(opset):
    model = inline(lower(make(NET), opset))
    assert model.opset_import[0].version == opset
    assert model.ir_version <= onnx.IR_VERSION


@pytest.mark.parametrize("opset", [17, 24])
def test_other_opsets_are_refused(opset):
    with pytest.raises(UnsupportedError, match=f"opset {opset}: nets are lowered to 18 to 23"):
        lower(make(NET), opset)


def test_all_layers_without_a_form_are_named_at_once():
    net = make(
        NET.replace('layer { name: "drop"', 'layer { name: "one" type: "Dropout" bottom: "n" top: '
        '"e" } layer { name: "drop"'),
        phase="TRAIN",
    )  # fmt: skip
    with pytest.raises(
        UnsupportedError, match=r"'one' \(Dropout\): .*; layer 'drop' \(Dropout\): "
    ):
        lower(net)


def test_a_net_without_an_output():
    net = make(NET)
    empty = replace(net, graph=replace(net.graph, outputs=(), nodes=net.graph.nodes[:1]))
    with pytest.raises(UnsupportedError, match="has no output, and ONNX needs one"):
        lower(empty)


def test_open_sizes_have_a_name_for_each_size():
    text = "".join(
        f'layer {{ name: "{n}" type: "Input" top: "{n}" input_param {{ shape {{ dim: {k} '
        'dim: 3 dim: 4 dim: 5 } } }'
        for n, k in (("a", 2), ("b", 2), ("c", 7))
    )  # fmt: skip
    graph = graph_of(text, inputs=dict.fromkeys("abc", (None, 3, None, None)))
    net = replace(make(text), graph=graph)
    dims = [
        [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in lower(net).model.graph.input
    ]
    assert dims[0] == dims[1] == ["batch", 3, "height", "width"]
    assert dims[2] == ["batch_7", 3, "height", "width"]
