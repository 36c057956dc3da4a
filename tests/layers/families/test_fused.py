"""Layers that are several at once, beside those several."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import check_both, check_varying, feed, make, one_layer

PARAM = 'convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "gaussian" } %s }'
SHAPE = (2, 3, 7, 9)


@pytest.mark.parametrize("more", ["", "bias_term: false", "conv_mode: DIRECT_SCONV pad: 1"])
def test_two_in_one(more):
    fused = check_both(one_layer(f'type: "ConvolutionReLU" {PARAM % more}', SHAPE))["y"]
    relu = 'layer { name: "r" type: "ReLU" bottom: "y" top: "y" }'
    plain = check_both(one_layer(f'type: "Convolution" {PARAM % more}', SHAPE) + relu)["y"]
    assert np.array_equal(fused, plain)
    assert 0 < np.count_nonzero(fused) < fused.size


@pytest.mark.parametrize("more", ["", "pad: 1 kernel_size: 2"])
def test_pooling(more):
    """As Pooling and ReLU; a window of NaN alone is 0 in numpy, as in the fork."""
    body = f"pooling_param {{ stride: 2 {more or 'kernel_size: 3'} }}"
    fused = check_both(one_layer(f'type: "ReLUPooling" {body}', SHAPE))["y"]
    relu = 'layer { name: "r" type: "ReLU" bottom: "y" top: "y" }'
    plain = check_both(one_layer(f'type: "Pooling" {body}', SHAPE) + relu)["y"]
    assert np.array_equal(fused, plain)
    nothing = {"a": np.full(SHAPE, np.nan, np.float32)}
    net = make(one_layer(f'type: "ReLUPooling" {body}', SHAPE))
    assert not net.forward(nothing)["y"].any()
    feeds = feed(net)
    kept, _ = net.graph.nodes[-1].layer.forward_keeping(feeds["a"])
    values = net.run(feeds)
    y = net.graph.outputs[0]
    assert np.array_equal(kept, values[y.name])
    with pytest.raises(UnsupportedError, match="no backward pass"):
        net.backward(values, {"y": values[y.name]})
    with pytest.raises(UnsupportedError, match="pool MAX"):
        make(one_layer(f'type: "ReLUPooling" {body}'.replace("{", "{ pool: AVE"), SHAPE))


def test_refused():
    body = f'type: "ConvolutionReLU" {PARAM % ""}'
    with pytest.raises(UnsupportedError, match="negative_slope 0"):
        make(one_layer(body + " relu_param { negative_slope: 0.1 }", SHAPE))
    net = make(one_layer(body, SHAPE))
    feeds = feed(net)
    values = net.run(feeds)
    y = net.graph.outputs[0]
    with pytest.raises(UnsupportedError, match="no backward pass"):
        net.backward(values, {"y": values[y.name]})


POOL = "pooling_param { stride: 2 kernel_size: 3 %s }"
NORM = "lrn_param { alpha: 0.5 beta: 0.75 local_size: 3 k: 2 }"


def in_turn(*layers):
    """A net of layers one after the other, y the last top."""
    text, last = one_layer("type: 'Power'", SHAPE, top="x"), "x"
    for i, body in enumerate(layers):
        top = "y" if i == len(layers) - 1 else f"t{i}"
        text += f'layer {{ name: "l{i}" bottom: "{last}" top: "{top}" {body} }}\n'
        last = top
    return text


@pytest.mark.parametrize("more", ["", "group: 1 bias_term: false stride: 2", "kernel_size: 2"])
def test_convolution_and_pooling(more):
    param = PARAM % more if "kernel" not in more else PARAM.replace("kernel_size: 3", more) % ""
    plain = ['type: "Convolution" ' + param, 'type: "ReLU"', 'type: "Pooling" ' + POOL % ""]
    fused = check_both(one_layer(f'type: "ConvolutionReLUPool" {param} {POOL % ""}', SHAPE))["y"]
    assert np.array_equal(fused, check_both(in_turn(*plain))["y"])
    assert np.count_nonzero(fused) > 0
    body = f'type: "ConvolutionReLUPoolLRN" {param} {POOL % ""} {NORM}'
    fused = check_both(one_layer(body, SHAPE))["y"]
    assert np.array_equal(fused, check_both(in_turn(*plain, f'type: "LRN" {NORM}'))["y"])


def test_a_varying_batch():
    body = f'type: "ConvolutionReLUPoolLRN" {PARAM % ""} {POOL % ""} {NORM}'
    text = one_layer(body, SHAPE)
    check_varying(text, {"a": (None, *SHAPE[1:])}, [{"a": (n, *SHAPE[1:])} for n in (1, 4)])
    with pytest.raises(UnsupportedError, match="at a fixed size"):
        lower(make(text, inputs={"a": (2, 3, None, 9)}))


@pytest.mark.parametrize("more", ["", "relu_param { negative_slope: 0.25 }"])
def test_inner_product(more):
    """The rows by a loop; the modes of sparse matrices compute the same."""
    param = (
        "inner_product_param { num_output: 5 gemm_mode: SPMDM spmdm_transpose_out: false "
        'weight_filler { type: "gaussian" } bias_filler { type: "gaussian" } }'
    )
    text = one_layer(f'type: "InnerProductReLUDropout" {param} {more}', (4, 3, 2))
    net = make(text)
    feeds = feed(net)
    y, (weight, bias) = check_both(text)["y"], net.arrays[-1]
    for row, unit in np.ndindex(4, 5):
        sum_ = float(feeds["a"][row].ravel() @ weight[unit]) + float(bias[unit])
        assert y[row, unit] == pytest.approx(sum_ if sum_ > 0 else bool(more) * sum_ / 4, abs=1e-5)
    assert np.any(y <= 0)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (f'"ConvolutionReLUPool" {PARAM % ""} {POOL % "pad: 1"}', "without a pad alone"),
        (f'"ConvolutionReLUPool" {PARAM % ""} {POOL % "pool: AVE"}', "pool MAX"),
        (
            f'"ConvolutionReLUPoolLRN" {PARAM % ""} {POOL % ""} '
            "lrn_param { norm_region: WITHIN_CHANNEL }",
            "ACROSS_CHANNELS",
        ),
        ('"InnerProductReLUDropout" inner_product_param { gemm_mode: SPGEMM }', "SPGEMM"),
    ],
)
def test_more_is_refused(body, words):
    with pytest.raises(UnsupportedError, match=words):
        make(one_layer(f"type: {body}", SHAPE))


@pytest.mark.parametrize(
    "body",
    [
        f'"ConvolutionReLUPool" {PARAM % ""} {POOL % ""}',
        '"InnerProductReLUDropout" inner_product_param { num_output: 5 }',
    ],
)
def test_no_backward_pass(body):
    net = make(one_layer(f"type: {body}", SHAPE))
    values = net.run(feed(net))
    y = net.graph.outputs[0]
    with pytest.raises(UnsupportedError, match="no backward pass"):
        net.backward(values, {"y": values[y.name]})
