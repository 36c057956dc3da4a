"""A net in numbers: layers, shapes, parameters, fillers."""

from __future__ import annotations

import pytest

from caffe_compat.net.filler_summary import summarize_fillers
from caffe_compat.net.summary import BlobSummary, summarize

from ..cases import graph_of
from ..slope_nets import INPUT, conv, layer

SHARED = 'param { name: "w" } inner_product_param { num_output: 3 bias_term: false }'


def test_layers_and_their_shapes():
    summary = summarize(graph_of('name: "n"' + INPUT + conv("c", "data") + layer("ReLU", "c", "r")))
    assert summary.name == "n"
    assert [each.type for each in summary.layers] == ["Input", "Convolution", "ReLU"]
    convolution = summary.layers[1]
    (data,) = summary.inputs
    assert convolution.bottoms == (data[0],)
    assert convolution.tops == (("c", convolution.tops[0][1]),)
    weight, bias = convolution.blobs
    assert (weight.name, weight.filler, weight.shared) == ("weight", "msra", False)
    assert bias.filler == "constant"
    assert summary.outputs == (("r", summary.layers[2].tops[0][1]),)
    assert convolution.count == summary.parameters > 0


def test_shared_parameters_count_once():
    text = 'input: "x" input_shape { dim: 2 dim: 5 }' + "".join(
        layer("InnerProduct", "x", top, SHARED, top) for top in "ab"
    )
    summary = summarize(graph_of(text))
    assert summary.layers[1].blobs == (BlobSummary("weight", (3, 5), "constant", False),)
    assert summary.layers[2].blobs == (BlobSummary("weight", (3, 5), "constant", True),)
    assert (summary.parameters, summary.shared) == (15, 15)


def test_open_axes_are_none():
    graph = graph_of(INPUT + layer("ReLU", "data", "r"), inputs={"data": (None, 3, 5, 4)})
    assert summarize(graph).outputs == (("r", (None, 3, 5, 4)),)


def test_fillers_beside_the_rule_of_their_rectifiers():
    text = (
        'input: "x" input_shape { dim: 2 dim: 50 }'
        + layer("ReLU", "x", "r")
        + layer(
            "InnerProduct",
            "r",
            "a",
            'inner_product_param { num_output: 8 weight_filler { type: "xavier" } }',
            "fc",
        )
    )
    (row,) = summarize_fillers(graph_of(text))
    assert (row.layer, row.blob, row.filler, row.norm) == ("fc", "weight", "xavier", "FAN_IN")
    assert row.n == 50
    assert row.rms == pytest.approx((1 / 50) ** 0.5, rel=1e-6)
    assert row.std == pytest.approx((2 / 50) ** 0.5, rel=1e-6)
    assert [r.slope for r in row.rectifiers] == [0]


def test_a_bilinear_kernel_has_no_std():
    up = (
        'layer { name: "up" type: "Deconvolution" bottom: "data" top: "up" convolution_param { '
        "num_output: 3 group: 3 kernel_size: 4 stride: 2 bias_term: false "
        'weight_filler { type: "bilinear" } } }'
    )
    (row,) = summarize_fillers(graph_of(INPUT + up))
    assert row.std is None
