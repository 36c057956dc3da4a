"""ConvolutionReLU, beside Convolution and ReLU."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import UnsupportedError

from ...cases import check_both, feed, make, one_layer

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
