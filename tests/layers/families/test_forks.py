"""Layers of forks beside BN: worked examples by hand, and numpy beside onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.caffe_pb2 import TEST, NetParameter
from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.fillers.rng import BoostRng
from caffe_compat.net.build import build
from caffe_compat.net.params import fill
from caffe_compat.onnx.lowering import lower
from caffe_compat.prototxt.phase import select

from ...cases import (
    assert_close,
    check_both,
    check_gradients,
    check_varying,
    feed,
    make,
    run_onnx,
)


def text(body, *shapes, top="y"):
    """A net of one layer with a bottom a, b, ... of each shape."""
    shapes = shapes or ((2, 3, 5, 4),)
    names = "abc"[: len(shapes)]
    inputs = " ".join(
        f'layer {{ name: "in_{name}" type: "Input" top: "{name}" input_param {{ shape {{ '
        + " ".join(f"dim: {n}" for n in shape)
        + " } } }"
        for name, shape in zip(names, shapes, strict=True)
    )
    bottoms = " ".join(f'bottom: "{name}"' for name in names)
    return f'{inputs} layer {{ name: "layer" {bottoms} top: "{top}" {body} }}'


def off_zero(shape, seed=5):
    """Numbers that no step of a central difference takes to the other side of 0."""
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return x + np.sign(x) / 8


def outcome(body, *arrays, fork=None):
    """What a layer makes of arrays; onnxruntime agrees."""
    arrays = [np.array(array, np.float32) for array in arrays]
    proto = text_format.Parse(text(body, *(array.shape for array in arrays)), NetParameter())
    net = fill(build(select(proto, TEST), None, fork), BoostRng(1701))
    feeds = dict(zip("abc", arrays, strict=False))
    made = net.forward(feeds)["y"]
    assert_close(run_onnx(net, feeds)["y"], made, 1e-6)
    return made


def ops(body, *shapes):
    return [node.op_type for node in lower(make(text(body, *shapes))).model.graph.node]


# -- rectifiers ------------------------------------------------------------------------------------

ACTIVATIONS = [
    ('type: "ReLU6"', [-4, 1.5, 7], [0, 1.5, 6], ["Clip"]),
    (
        'type: "ReLU6" relu6_param { negative_slope: 0.5 }',
        [-4, 1.5, 7],
        [-2, 1.5, 6],
        ["LeakyRelu", "Min"],
    ),
    ('type: "HardSwish"', [-4, -1, 0, 3, 5], [0, -1 / 3, 0, 3, 5], ["HardSwish"]),
    ('type: "Mish"', [0, 1, -2], [0, 0.86509839, -0.25250148], ["Mish"]),
    # (10 - 5) / ln 2 = 7.2134752
    ('type: "Insanity"', [-7.2134752, 3], [-1, 3], ["LeakyRelu"]),
    ('type: "RReLU" rrelu_param { lb: 1 ub: 2 }', [-1 / np.log(2), 3], [-1, 3], ["LeakyRelu"]),
    ('type: "Insanity" insanity_param { lb: -1 ub: 4 }', [-5, 3], [-np.log(4), 3], ["LeakyRelu"]),
    ('type: "SpatialDropout" dropout_param { dropout_ratio: 0.25 }', [-1, 3], [-1, 3], []),
    ('type: "SpatialDropout" spatial_dropout_param { dropout_ratio: 0.25 }', [-1, 3], [-1, 3], []),
]


@pytest.mark.parametrize(("body", "x", "y", "nodes"), ACTIVATIONS)
def test_activations(body, x, y, nodes):
    assert_close(outcome(body, [x]), [y], 1e-6)
    assert [op for op in ops(body, (2, 5)) if op != "Identity"] == nodes
    check_both(text(body))
    check_both(text(body, top="a"))
    check_gradients(text(body, (3, 4)), seed=5)
    check_varying(text(body), {"a": (None, 3, None, None)}, [{"a": (4, 3, 7, 2)}])


@pytest.mark.parametrize(
    ("body", "x", "y"),
    [('type: "ReLU6"', [0, 6, 3], [0, 0, 1]), ('type: "HardSwish"', [-4, 4, 0], [0, 1, 0.5])],
)
def test_gradients_at_the_kinks(body, x, y):
    net = make(text(body, (1, 3)))
    values = net.run({"a": np.array([x], np.float32)})
    grads, _ = net.backward(values, {"y": np.ones((1, 3), np.float32)})
    assert grads["a"].tolist() == [y]


def test_crelu_by_hand():
    body = 'type: "CReLU" crelu_param { negative_slope: 0.5 }'
    assert outcome(body, [[1, -2]]).tolist() == [[1, -1, -0.5, 2]]
    assert outcome('type: "CReLU"', [[1, -2], [-3, 4]]).tolist() == [[1, 0, 0, 2], [0, 4, 3, 0]]
    last = 'type: "CReLU" crelu_param { concat_axis: -1 }'
    assert outcome(last, [[[1], [-2]]]).tolist() == [[[1, 0], [0, 2]]]


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_crelu(axis):
    body = f'type: "CReLU" crelu_param {{ negative_slope: 0.25 concat_axis: {axis} }}'
    check_both(text(body))
    check_gradients(text(body, (2, 3, 4)), feeds={"a": off_zero((2, 3, 4))})
    assert ops(body) == ["Neg", "Concat", "LeakyRelu"]


# -- products --------------------------------------------------------------------------------------


def test_axpy_by_hand():
    """2 (1, 3) + (10, 20) and -1 (5, 7) + (30, 40)."""
    made = outcome('type: "Axpy"', [[2, -1]], [[[1, 3], [5, 7]]], [[[10, 20], [30, 40]]])
    assert made.tolist() == [[[12, 26], [25, 33]]]


@pytest.mark.parametrize("a", [(2, 3), (2, 3, 1, 1)])
def test_axpy(a):
    net = text('type: "Axpy"', a, (2, 3, 5, 4), (2, 3, 5, 4))
    check_both(net)
    check_gradients(net)
    assert ops('type: "Axpy"', (2, 3, 1, 1), (2, 3, 5, 4), (2, 3, 5, 4)) == ["Mul", "Add"]


def test_broadcast_mul_by_hand():
    x, part = [[[[1, 3]], [[5, 7]]]], [[[[2]], [[-1]]]]
    assert outcome('type: "BroadcastMul"', x, part).tolist() == [[[[2, 6]], [[-5, -7]]]]
    assert outcome('type: "BroadcastMul"', part, x).tolist() == [[[[2, 6]], [[-5, -7]]]]


@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 3, 5, 4), (2, 3, 1, 1)),
        ((2, 3), (2, 3, 5, 4)),
        ((2, 3, 1), (2, 3, 5)),
        ((2, 3), (2, 3, 1)),
    ],
)
def test_broadcast_mul(shapes):
    check_both(text('type: "BroadcastMul"', *shapes))
    check_gradients(text('type: "BroadcastMul"', *shapes))


def test_channel_scale_by_hand():
    """Position 0 times 2, position 1 times -1, in both channels."""
    made = outcome('type: "ChannelScale"', [[[[1, 3]], [[5, 7]]]], [[[[2, -1]]]])
    assert made.tolist() == [[[[2, -3]], [[10, -7]]]]
    kept = 'type: "ChannelScale" channel_scale_param { do_forward: false }'
    assert outcome(kept, [[1, 2]], [[5]]).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("x", "scale"),
    [((2, 3, 5, 4), (2, 1, 5, 4)), ((2, 3, 5, 4), (2, 5, 4)), ((2, 3), (2,)), ((2, 3), (2, 1))],
)
def test_channel_scale(x, scale):
    check_both(text('type: "ChannelScale"', x, scale))
    check_gradients(text('type: "ChannelScale"', x, scale))


# -- unit length -----------------------------------------------------------------------------------

NAMES = ["L2Norm", "L2Normalize", "L2Normalization", "Normalization"]


@pytest.mark.parametrize("name", NAMES)
def test_unit_length_by_hand(name):
    assert_close(outcome(f'type: "{name}"', [[3, 4], [0, -2]]), [[0.6, 0.8], [0, -1]], 1e-6)
    check_both(text(f'type: "{name}"', (2, 7, 1, 1)))
    check_gradients(text(f'type: "{name}"', (2, 7)))


def test_unit_length_of_several_positions():
    x = [[[[3, 0]], [[0, 4]]]]
    body = 'type: "Normalization"'
    with pytest.raises(UnsupportedError, match=r"bottom of 2 positions .*--fork caffe-sl"):
        outcome(body, x)
    assert_close(outcome(body, x, fork="caffe-sl"), [[[[0.6, 0]], [[0, 0.8]]]], 1e-6)
    assert_close(outcome(body, x, fork="caffe-dev"), [[[[1, 0]], [[0, 1]]]], 1e-6)


def test_unit_length_with_eps_and_with_a_length():
    eps = 'type: "L2Norm" l2norm_param { eps: 3 }'
    assert_close(outcome(eps, [[3, 4]]), [[3 / 8, 0.5]], 1e-6)
    check_gradients(text(eps, (2, 5)))
    long = 'type: "L2Norm" l2norm_param { l2_length: 4 }'
    assert_close(outcome(long, [[3, 4], [0, 0]], fork="caffe-dev"), [[1.2, 1.6], [0, 0]], 1e-6)
    with pytest.raises(UnsupportedError, match="name --fork caffe-dev"):
        outcome(long, [[3, 4]])
    with pytest.raises(UnsupportedError, match="eps, which caffe-dev"):
        outcome(eps, [[3, 4]], fork="caffe-dev")


def test_grn_by_hand():
    """At each position |x|^2 + bias is 25."""
    body = 'type: "GRN" grn_param { bias: 9 }'
    made = outcome(body, [[[[4, 0]], [[0, -4]]]])
    assert_close(made, [[[[0.8, 0]], [[0, -0.8]]]], 1e-6)
    check_both(text(body))
    check_both(text('type: "GRN"'))
    check_gradients(text(body))
    assert outcome('type: "GRN"', [[0, 0]]).tolist() == [[0, 0]]


def test_grns_dummy_gradient():
    net = make(text('type: "GRN" grn_param { dummy_backward: true }', (1, 3)))
    values = net.run({"a": np.array([[1, 2, 3]], np.float32)})
    grads, _ = net.backward(values, {"y": np.array([[5, 6, 7]], np.float32)})
    assert grads["a"].tolist() == [[5, 6, 7]]


# -- convolutions and padding ----------------------------------------------------------------------

WINDOW = 'kernel_size: 3 pad: 1 weight_filler { type: "gaussian" } bias_filler { type: "gaussian" }'
DEPTHWISE = [
    ("DepthwiseConvolution", "num_output: 3 group: 3"),
    ("ConvolutionDepthwise", "num_output: 3"),
    ("ConvolutionDepthwise", "num_output: 3 group: 3 stride: 2 dilation: 2"),
]


@pytest.mark.parametrize(("name", "param"), DEPTHWISE)
def test_depthwise_convolution_is_convolution_by_groups(name, param):
    body = f'type: "{name}" convolution_param {{ {param} {WINDOW} }}'
    made = check_both(text(body))["y"]
    plain = param if "group" in param else f"{param} group: 3"
    want = check_both(text(f'type: "Convolution" convolution_param {{ {plain} {WINDOW} }}'))["y"]
    assert (made == want).all()
    net = make(text(body))
    assert net.arrays[1][0].shape == (3, 1, 3, 3)
    assert ops(body) == ["Conv"]
    check_gradients(text(body))


def test_depthwise_convolution_by_hand():
    """A filter of ones for each of two channels: sums of two neighbours."""
    body = """type: "ConvolutionDepthwise" convolution_param { num_output: 2 kernel_h: 1 kernel_w: 2
              bias_term: false weight_filler { type: "constant" value: 1 } }"""
    made = outcome(body, [[[[1, 2, 3]], [[10, 20, 30]]]])
    assert made.tolist() == [[[[3, 5]], [[30, 50]]]]


@pytest.mark.parametrize(
    ("name", "param", "words"),
    [
        ("DepthwiseConvolution", "num_output: 3", "no group and num_output 3 for 3 channels"),
        ("DepthwiseConvolution", "num_output: 6 group: 3", "num_output 6 for 3 channels"),
        ("ConvolutionDepthwise", "num_output: 6", "num_output 6 for 3 channels"),
        ("ConvolutionDepthwise", "num_output: 3 group: 1", "num_output 3 and group 1 for 3"),
    ],
)
def test_what_forks_take_differently_is_refused(name, param, words):
    with pytest.raises(UnsupportedError, match=words):
        make(text(f'type: "{name}" convolution_param {{ {param} {WINDOW} }}'))


def test_the_message_stays_as_it_was():
    net = make(text(f'type: "ConvolutionDepthwise" convolution_param {{ num_output: 3 {WINDOW} }}'))
    assert not net.graph.net.layer[1].convolution_param.HasField("group")


def test_padding_by_hand():
    x = [[[[1, 2], [3, 4]]]]
    zero = outcome('type: "Padding" padding_param { pad_beg: 1 }', x)
    assert zero.tolist() == [[[[0, 0, 0], [0, 1, 2], [0, 3, 4]]]]
    cut = outcome('type: "Padding" padding_param { pad_beg: -1 }', x)
    assert cut.tolist() == [[[[4]]]]
    sides = outcome('type: "Padding" padding_param { pad_l: 1 pad_b: 1 pad_value: 7 }', x)
    assert sides.tolist() == [[[[7, 1, 2], [7, 3, 4], [7, 7, 7]]]]
    every = outcome('type: "Padding" padding_param { pad: 1 }', [[[[5]]]])
    assert every.tolist() == [[[[0, 0, 0], [0, 5, 0], [0, 0, 0]]]]


@pytest.mark.parametrize(
    "param", ["pad: 2", "pad_beg: -1 pad_end: -2", "pad_t: 2 pad_r: 1 pad_value: -3"]
)
def test_padding(param):
    body = f'type: "Padding" padding_param {{ {param} }}'
    check_both(text(body))
    check_gradients(text(body))
    check_varying(text(body), {"a": (None, 3, None, None)}, [{"a": (4, 3, 7, 6)}])
    assert ops(body) == ["Pad"]


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "shapes", "error", "words"),
    [
        ('type: "Insanity" insanity_param { lb: 3 ub: 2 }', [(2, 3)], ShapeError, "3 and 2"),
        ('type: "RReLU" rrelu_param { lb: 0 ub: 2 }', [(2, 3)], ShapeError, "0 and 2"),
        ('type: "Insanity" insanity_param { lb: -2 ub: 2 }', [(2, 3)], UnsupportedError, "mean"),
        ('type: "RReLU" rrelu_param { lb: -inf ub: 2 }', [(2, 3)], ShapeError, "-inf and 2"),
        ('type: "RReLU" rrelu_param { ub: nan }', [(2, 3)], ShapeError, "rrelu_param.ub is nan"),
        ('type: "RReLU"', [(3,)], ShapeError, r"2 axes or more, and has \(3,\)"),
        ('type: "CReLU" crelu_param { concat_axis: 2 }', [(2, 3)], ShapeError, "axis 2"),
        ('type: "Axpy"', [(2, 3), (2, 4, 5), (2, 4, 5)], ShapeError, r"bottom 0 \(2, 3\)"),
        ('type: "Axpy"', [(2, 4), (2, 4, 5), (2, 4, 6)], ShapeError, "the same shape"),
        ('type: "BroadcastMul"', [(2, 3, 5), (2, 1, 5)], ShapeError, "smaller must be N x C"),
        ('type: "ChannelScale"', [(2, 3, 5), (2, 4)], ShapeError, r"bottom 1 \(2, 4\)"),
        ('type: "ChannelScale"', [(2, 3, 5), (4, 5)], ShapeError, "alike in the first"),
        (
            'type: "ChannelScale" channel_scale_param { global_scale: true }',
            [(2, 3), (2,)],
            UnsupportedError,
            "global_scale",
        ),
        ('type: "L2Norm"', [(3,)], ShapeError, "2 axes or more"),
        ('type: "GRN" grn_param { bias: -1 }', [(2, 3)], ShapeError, "bias must be 0 or more"),
        ('type: "GRN"', [(2, 3, 4, 5, 6)], ShapeError, "2 to 4 axes"),
        ('type: "Padding" padding_param { pad_beg: -3 }', [(2, 3, 3, 4)], ShapeError, r"\(0, 1\)"),
        (
            'type: "Padding" padding_param { pad: 1 pad_l: 1 }',
            [(2, 3, 3, 4)],
            UnsupportedError,
            "several forks",
        ),
        (
            'type: "Padding" padding_param { pad_beg: 1 pad_end: -1 }',
            [(2, 3, 3, 4)],
            UnsupportedError,
            "two signs",
        ),
        ('type: "Padding"', [(2, 3, 4)], ShapeError, "4 axes"),
    ],
)
def test_what_is_refused(body, shapes, error, words):
    with pytest.raises(error, match=words):
        make(text(body, *shapes))


def test_l2_length_is_positive():
    with pytest.raises(ShapeError, match="l2_length must be positive, and is 0"):
        make(text('type: "L2Norm" l2norm_param { l2_length: 0 }', (2, 3)), fork="caffe-dev")


def test_axpy_of_more_axes_than_what_it_scales():
    check_both(text('type: "Axpy"', (2, 3, 1, 1), (2, 3), (2, 3)))


def test_insanity_is_refused_in_train():
    with pytest.raises(UnsupportedError, match="at random in TRAIN"):
        make(text('type: "Insanity"'), phase="TRAIN")


ALONE = [
    *(f'type: "{name}"' for name in ("ReLU6", "HardSwish", "Mish", "CReLU", "GRN")),
    'type: "Insanity" insanity_param { lb: 2 ub: 3 }',
    'type: "RReLU" rrelu_param { lb: 2 ub: 3 }',
    'type: "SpatialDropout"',
]


@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    scale=st.sampled_from([0.01, 1, 30]),
)
@settings(max_examples=15)
def test_any_shape(shape, scale):
    shape, images, channels = tuple(shape), shape[0], shape[1]
    for body in ALONE:
        net = make(text(body, shape))
        feeds = {name: array * np.float32(scale) for name, array in feed(net).items()}
        check_both(text(body, shape), feeds=feeds)
    for name in NAMES:
        check_both(text(f'type: "{name}"', shape), fork="caffe-sl")
    check_both(text('type: "Axpy"', (images, channels), shape, shape))
    check_both(text('type: "BroadcastMul"', (images, channels), shape))
    check_both(text('type: "ChannelScale"', shape, (images, *shape[2:])))


@given(
    shape=st.tuples(*[st.integers(1, 5)] * 4),
    window=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    sides=st.lists(st.integers(0, 3), min_size=4, max_size=4),
)
@settings(max_examples=15)
def test_any_window(shape, window, sides):
    kernel, stride = window
    param = f"kernel_size: {kernel} stride: {stride} pad: {kernel // 2} num_output: {shape[1]}"
    drawn = 'weight_filler { type: "gaussian" } bias_filler { type: "gaussian" }'
    for name in ("DepthwiseConvolution", "ConvolutionDepthwise"):
        body = f'type: "{name}" convolution_param {{ {param} group: {shape[1]} {drawn} }}'
        check_both(text(body, shape))
    pads = " ".join(f"pad_{side}: {n}" for side, n in zip("tblr", sides, strict=True))
    check_both(text(f'type: "Padding" padding_param {{ {pads} pad_value: 2 }}', shape))
