"""Older opsets: every golden net in them, and what they cannot say."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from caffe_compat import convert
from caffe_compat.errors import UnsupportedError
from caffe_compat.layers.builder import FLOAT
from caffe_compat.onnx.lowering import Lowered, lower
from caffe_compat.onnx.passes import simplify
from caffe_compat.onnx.passes.older import write_older
from caffe_compat.options import Onnx
from tests.cases import GOLDEN, assert_close, feed, inline, load, make, one_layer, run_model

OPSETS = (11, 12, 13, 15, 17)
CASES = sorted([*(GOLDEN / "layers").iterdir(), *(GOLDEN / "layers_ssd").iterdir()])


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_golden_nets_in_older_opsets(folder):
    net, io = load(folder)
    newest = simplify(lower(net))
    names = {value.name: value.blob for value in net.graph.values}
    for opset in OPSETS:
        model = inline(write_older(newest, opset))
        assert [each.version for each in model.opset_import] == [opset]
        feeds = {each.name: io.get(f"in:{names[each.name]}") for each in model.graph.input}
        for name, array in run_model(model, feeds).items():
            if f"out:{names[name]}" in io:
                assert_close(array, io[f"out:{names[name]}"], 1e-4, f"{name} at {opset}", None)


# Layers of forks whose operators have older forms: the layer, and the bottoms' shapes.
FORKS = {
    "CenterGridOutput": (
        "detection_output_param { num_classes: 2 class_type: SOFTMAX confidence_threshold: 0.6 "
        "bias_scale: 9 bias_scale: 12 bias_scale: 20 net_width: 40 net_height: 40 }",
        *((2, 6, n, n) for n in (8, 4, 2)),
    ),
    "CenternetDetectionOutput": (
        "detection_output_param { num_classes: 3 confidence_threshold: 0.1 has_lm: true }",
        (1, 14, 5, 6),
        (1, 2, 5, 6),
    ),
    "ConvolutionReLUPoolLRN": (
        "convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: 'gaussian' } } "
        "pooling_param { kernel_size: 3 stride: 2 } lrn_param { local_size: 3 }",
        (2, 3, 9, 8),
    ),
    "Flip": ("", (2, 3, 4, 5)),
    "InnerProductReLUDropout": (
        "inner_product_param { num_output: 4 weight_filler { type: 'gaussian' } }",
        (2, 3, 4),
    ),
    "MaskPooling": ("", (2, 3, 4, 5), (2, 1, 4, 5)),
    "SeLu": ("", (2, 3, 4)),
    "TreepoolMaxAve": (
        "convolution_param { kernel_size: 3 stride: 2 weight_filler { type: 'gaussian' } }",
        (2, 3, 7, 8),
    ),
    "MaskResize": ("mask_resize_param { output_height: 3 output_width: 4 }", (2, 3, 6, 9)),
    "ROIWarping": (
        "roi_warping_param { pooled_h: 2 pooled_w: 3 spatial_scale: 2 }",
        (1, 3, 6, 9),
        (4, 5),
    ),
}


@pytest.mark.parametrize("kind", FORKS)
def test_layers_of_forks_in_older_opsets(kind):
    param, *shapes = FORKS[kind]
    net = make(one_layer(f'type: "{kind}" {param}', *shapes))
    feeds = feed(net)
    if kind == "ROIWarping":
        feeds["b"] = np.abs(feeds["b"]) * [0, 1, 1, 3, 3]
    feeds = {name: array.astype(np.float32) for name, array in feeds.items()}
    want = net.forward(feeds)["y"]
    newest = simplify(lower(net))
    for opset in OPSETS:
        if kind == "ROIWarping" and opset < 16:
            with pytest.raises(UnsupportedError, match="half_pixel of RoiAlign came with opset 16"):
                write_older(newest, opset)
            continue
        (got,) = run_model(inline(write_older(newest, opset)), feeds).values()
        assert_close(got, want, 1e-4, f"at {opset}", None)


def small(node, *dims, outputs=("y",), **initializers):
    """A model of one node of opset 18 that reads x of these sizes, and what it computes."""
    value = helper.make_tensor_value_info
    rank = len(dims) * node[2].get("keepdims", 1)
    graph = helper.make_graph(
        [helper.make_node(*node[:2], outputs, name="l", **node[2])],
        "small",
        [value("x", FLOAT, dims)],
        [value(name, FLOAT, [None] * rank) for name in outputs],
    )
    opset = helper.make_opsetid("", 18)
    return Lowered(helper.make_model(graph, opset_imports=[opset], ir_version=8), initializers)


SMALL = {
    "pad_axes": (("Pad", ["x", "p", "", "a"], {}), (2, 3, 4), {"p": [1, 2], "a": [1]}),
    "pad_value": (
        ("Pad", ["x", "p", "v", "a"], {}),
        (2, 3, 4),
        {"p": [1, 0, 2, 1], "v": np.float32(7), "a": [0, -1]},
    ),
    "softmax_channels": (("Softmax", ["x"], {"axis": 1}), (2, 3, 4, 5), {}),
    "softmax_last": (("Softmax", ["x"], {}), (2, 3, 4), {}),
    "softmax_before_ones": (("LogSoftmax", ["x"], {"axis": -3}), (2, 3, 1, 1), {}),
    "split_uneven": (("Split", ["x"], {"num_outputs": 2, "axis": 1}), (2, 5), {}),
    "split_sizes": (("Split", ["x", "s"], {"axis": 1}), (2, 5), {"s": [1, 4]}),
    "resize_sizes": (("Resize", ["x", "", "", "s"], {}), (1, 1, 4, 4), {"s": [1, 1, 6, 8]}),
    "resize_scales": (
        ("Resize", ["x", "", "c"], {"mode": "linear"}),
        (1, 1, 4, 4),
        {"c": np.array([1, 1, 2, 2], np.float32)},
    ),
    "reduce_all": (("ReduceMax", ["x"], {"keepdims": 0}), (2, 3), {}),
    "reduce_axes": (("ReduceL2", ["x", "a"], {}), (2, 3, 4), {"a": [0, 2]}),
}


@pytest.mark.parametrize("name", SMALL)
def test_forms(name):
    node, dims, initializers = SMALL[name]
    arrays = {
        k: np.asarray(v, None if isinstance(v, np.generic | np.ndarray) else np.int64)
        for k, v in initializers.items()
    }
    outputs = ("y", "z") if node[0] == "Split" else ("y",)
    lowered = small(node, *dims, outputs=outputs, **arrays)
    feeds = {"x": np.random.default_rng(3).standard_normal(dims).astype(np.float32)}
    want = run_model(inline(lowered), feeds)
    for opset in range(11, 18):
        got = run_model(inline(write_older(lowered, opset)), feeds)
        for each, array in want.items():
            assert_close(got[each], array, 1e-6, f"{name} at {opset}", None)


@pytest.mark.parametrize("kind", ["HardSwish", "Mish"])
def test_activations_that_came_later(kind):
    net = make(one_layer(f'type: "{kind}"', (2, 3)))
    x = {"a": np.linspace(-6, 6, 6, dtype=np.float32).reshape(2, 3)}
    model = inline(write_older(simplify(lower(net)), 11))
    assert_close(run_model(model, x)["y"], net.forward(x)["y"], 1e-6)


def test_extremes_of_integers():
    """Max took integers from opset 12 on."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Shape", ["x"], ["n"]),
        helper.make_node("Max", ["n", "three"], ["m"]),
        helper.make_node("Min", ["m", "four"], ["k"]),
        helper.make_node("Cast", ["k"], ["y"], to=FLOAT),
    ]
    graph = helper.make_graph(
        nodes, "g", [value("x", FLOAT, [2, None, 5])], [value("y", FLOAT, [3])]
    )
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    lowered = Lowered(model, {"three": np.array([3]), "four": np.array([4])})
    older = inline(write_older(lowered, 11))
    got = run_model(older, {"x": np.zeros((2, 6, 5), np.float32)})["y"]
    np.testing.assert_array_equal(got, [3, 4, 4])


ONES = np.ones(3, np.float32)
NEWER = {
    "Einsum": ((["x"], {"equation": "ab->ba"}), {}, 12),
    "ArgMax": ((["x"], {"select_last_index": 1}), {}, 12),
    "DequantizeLinear": ((["q", "s"], {}), {"q": np.ones((2, 3), np.int8), "s": ONES}, 13),
    "LayerNormalization": ((["x", "s"], {}), {"s": ONES}, 17),
    "ScatterND": (
        (["x", "i", "u"], {"reduction": "add"}),
        {"i": np.zeros((1, 1), np.int64), "u": ONES[None]},
        16,
    ),
    "RoiAlign": (
        (["x", "r", "b"], {}),
        {"r": np.ones((1, 4), np.float32), "b": np.zeros(1, np.int64)},
        16,
    ),
}


@pytest.mark.parametrize("kind", NEWER)
def test_what_came_later_is_refused(kind):
    node, arrays, since = NEWER[kind]
    lowered = small((kind, *node), 2, 3, **arrays)
    with pytest.raises(UnsupportedError, match=f"'l': .* came with opset {since}, and opset 11"):
        write_older(lowered, 11)


def test_every_refused_layer_is_named():
    lowered = small(("ArgMax", ["x"], {"select_last_index": 1}), 2, 3)
    again = lowered.model.graph.node.add()
    again.CopyFrom(lowered.model.graph.node[0])
    again.name, again.output[0] = "m", "z"
    with pytest.raises(UnsupportedError, match=r"'l': .*'m': ") as caught:
        write_older(lowered, 11)
    assert caught.value.remedies == ("opset",)


def test_convert_writes_an_older_file(tmp_path):
    (tmp_path / "net.prototxt").write_text(one_layer('type: "Softmax"', (2, 3, 4, 5)))
    convert(tmp_path / "net.prototxt", None, tmp_path / "net.onnx", opset=12)
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert (model.opset_import[0].version, model.ir_version) == (12, 7)


@pytest.mark.parametrize("opset", [10, 24])
def test_other_opsets_are_refused(opset):
    with pytest.raises(UnsupportedError, match=f"opset {opset}: this writes 11 to 23"):
        Onnx(opset)
