"""Activations, powers and Dropout beyond the golden cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, check_both, check_gradients, feed, make, run_onnx


def text(body, shape=(2, 3, 5, 4), top="y"):
    dims = " ".join(f"dim: {n}" for n in shape)
    return f"""
        layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ {dims} }} }} }}
        layer {{ name: "act" bottom: "x" top: "{top}" {body} }}"""


def ops(body, **kwargs):
    return [node.op_type for node in lower(make(text(body, **kwargs))).model.graph.node]


LAYERS = [
    ('type: "AbsVal"', ["Abs"]),
    ('type: "BNLL"', ["Softplus"]),
    ('type: "Clip" clip_param { min: -0.25 max: 0.75 }', ["Clip"]),
    ('type: "Clip" clip_param { min: 0.75 max: -0.25 }', ["Min", "Max"]),
    ('type: "ELU"', ["Elu"]),
    ('type: "ELU" elu_param { alpha: -0.5 }', ["Elu"]),
    ('type: "Exp"', ["Exp"]),
    ('type: "Exp" exp_param { base: 2 scale: 0.5 shift: -1 }', ["Mul", "Exp", "Mul"]),
    ('type: "Exp" exp_param { shift: 1 }', ["Exp", "Mul"]),
    ('type: "Power"', []),
    ('type: "Power" power_param { scale: -2 }', ["Mul"]),
    ('type: "Power" power_param { shift: 0.5 }', ["Add"]),
    ('type: "Power" power_param { power: 2 }', ["Pow"]),
    ('type: "Power" power_param { power: 3 scale: 0.5 shift: 1 }', ["Mul", "Add", "Pow"]),
    ('type: "Power" power_param { power: 3 scale: 0 shift: 2 }', ["ConstantOfShape"]),
    ('type: "Power" power_param { power: 0 }', ["ConstantOfShape"]),
    ('type: "PReLU" prelu_param { filler { type: "uniform" min: -2 max: 2 } }', ["PRelu"]),
    ('type: "PReLU" prelu_param { channel_shared: true }', ["PRelu"]),
    ('type: "ReLU"', ["Relu"]),
    ('type: "ReLU" relu_param { negative_slope: 1.5 }', ["LeakyRelu"]),
    ('type: "Sigmoid"', ["Sigmoid"]),
    ('type: "Swish"', ["Sigmoid", "Mul"]),
    ('type: "Swish" swish_param { beta: -0.5 }', ["Mul", "Sigmoid", "Mul"]),
    ('type: "TanH"', ["Tanh"]),
    ('type: "Threshold" threshold_param { threshold: 0.25 }', ["Greater", "Cast"]),
    ('type: "Dropout" dropout_param { dropout_ratio: 0.25 }', []),
]
BODIES = [body for body, _ in LAYERS]
POSITIVE = [
    'type: "Log"',
    'type: "Log" log_param { base: 10 scale: 2 shift: 1 }',
    'type: "Power" power_param { power: 0.5 }',
    'type: "Power" power_param { power: -1.25 scale: 2 shift: 0.5 }',
]


def values(shape=(2, 3, 5, 4), seed=5):
    """Numbers away from 0 and from the tests' thresholds, where the gradients jump."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(-4, 4, shape) / 2 + 0.125
    return (whole + rng.uniform(-0.0625, 0.0625, shape)).astype(np.float32)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("shape", [(7,), (3, 5), (4, 2, 3), (2, 3, 5, 4)])
def test_numpy_and_onnxruntime_agree(body, shape):
    if "PReLU" in body and len(shape) < 2:
        pytest.skip("PReLU needs channels")
    check_both(text(body, shape))


@pytest.mark.parametrize("body", POSITIVE)
def test_numpy_and_onnxruntime_agree_on_positive_numbers(body):
    check_both(text(body), feeds={"x": np.abs(values()) + np.float32(0.5)})


@pytest.mark.parametrize(("body", "wanted"), LAYERS)
def test_nodes(body, wanted):
    assert ops(body) == (wanted or ["Identity"])  # an output needs a name of its own


@pytest.mark.parametrize("body", [b for b in BODIES if "Threshold" not in b])
def test_gradients(body):
    check_gradients(text(body), feeds={"x": values()})


@pytest.mark.parametrize("body", POSITIVE)
def test_gradients_of_positive_numbers(body):
    check_gradients(text(body), feeds={"x": np.abs(values()) + np.float32(0.5)})


@pytest.mark.parametrize("body", [b for b in BODIES if "AbsVal" not in b])
def test_in_place_is_the_same(body):
    feeds = {"x": values()}
    apart = make(text(body)).forward(feeds)["y"]
    net = make(text(body, top="x"))
    np.testing.assert_array_equal(net.forward(feeds)["x"], apart)
    assert_close(run_onnx(net, feeds)["x"], apart)


@pytest.mark.parametrize("body", BODIES + POSITIVE)
def test_all_axes_may_vary(body):
    net = make(text(body), inputs={"x": [None, 3, None, None]})
    assert [v.dims for v in net.graph.outputs] == [(None, 3, None, None)]
    nodes = {node.op_type for node in lower(net).model.graph.node}
    constant = "ConstantOfShape" in nodes
    assert ("Shape" in nodes) == constant
    feeds = {"x": np.abs(values()) + np.float32(0.5)}
    assert_close(run_onnx(net, feeds)["y"], net.forward(feeds)["y"])


@pytest.mark.parametrize("type_", ["BNLL", "ELU", "Sigmoid", "Swish", "TanH", "ReLU", "AbsVal"])
def test_large_numbers_stay_finite(type_):
    feeds = {"x": np.array([-3e3, -500, -90, -20, 0, 20, 90, 500, 3e3], np.float32)}
    made = check_both(text(f'type: "{type_}"', (9,)), feeds=feeds)["y"]
    assert np.isfinite(made).all()


def test_values():
    x = np.array([-2, -0.5, 0, 0.25, 3], np.float32)

    def of(body):
        return make(text(body, (5,))).forward({"x": x})["y"].tolist()

    assert of('type: "Threshold" threshold_param { threshold: 0.25 }') == [0, 0, 0, 0, 1]
    assert of('type: "Clip" clip_param { min: -1 max: 1 }') == [-1, -0.5, 0, 0.25, 1]
    assert of('type: "Clip" clip_param { min: 1 max: -1 }') == [1, 1, 1, 1, 1]
    assert of('type: "ReLU" relu_param { negative_slope: 0.5 }') == [-1, -0.25, 0, 0.25, 3]
    assert of('type: "Power" power_param { power: 2 scale: 2 shift: 1 }') == [9, 0, 1, 2.25, 49]
    assert of('type: "Power" power_param { power: 3 scale: 0 shift: 2 }') == [8, 8, 8, 8, 8]


def gradient(body, x):
    net = make(text(body, (len(x),)))
    x = np.array(x, np.float32)
    grads, _ = net.backward(net.run({"x": x}), {"y": np.ones_like(x)})
    return grads["x"].tolist()


def test_gradients_at_the_kinks_are_caffes():
    assert gradient('type: "ReLU" relu_param { negative_slope: 0.5 }', [0]) == [0.5]
    assert gradient('type: "AbsVal"', [-3, 0, 2]) == [-1, 0, 1]
    assert gradient('type: "Clip" clip_param { min: -1 max: 1 }', [-1, 1, 1.5]) == [1, 1, 0]
    assert gradient('type: "ELU" elu_param { alpha: 0.25 }', [0]) == [0.25]
    assert gradient('type: "Power" power_param { power: 2 }', [0]) == [0]
    assert np.isnan(gradient('type: "Power" power_param { power: 3 }', [0])).all()


def test_prelu_keeps_its_weights_as_stored():
    net = make(text('type: "PReLU"'))
    lowered = lower(net)
    assert lowered.changed == ()
    (name,) = lowered.arrays
    assert np.shares_memory(lowered.arrays[name], net.arrays[1][0])


def test_dropout_is_refused_in_train():
    net = make(text('type: "Dropout"'), phase="TRAIN")
    with pytest.raises(UnsupportedError, match=r"'act' \(Dropout\): drops at random in TRAIN"):
        net.forward(feed(net))
    with pytest.raises(UnsupportedError, match="random in TRAIN"):
        lower(net)


@pytest.mark.parametrize(
    ("body", "shape", "message"),
    [
        ('type: "PReLU"', (7,), r"'act' \(PReLU\): needs a bottom of 2 to 4 axes, and has \(7,\)"),
        ('type: "PReLU"', (2, 3, 1, 5, 4), "2 to 4 axes"),
        ('type: "Exp" exp_param { base: 0 }', (7,), r"'act' \(Exp\): base must be .* it is 0"),
        ('type: "Log" log_param { base: -2 }', (7,), "it is -2"),
        ('type: "Log" log_param { base: 1 }', (7,), "base 1 has no logarithm"),
        ('type: "Log" log_param { base: inf }', (7,), "it is inf"),
    ],
)
def test_what_caffe_refuses(body, shape, message):
    with pytest.raises(ShapeError, match=message):
        make(text(body, shape))


def test_absval_refuses_to_run_in_place():
    with pytest.raises(ShapeError, match="in place"):
        make(text('type: "AbsVal"', top="x"))


def number(low, high):
    return st.floats(low, high, width=32).map(lambda x: float(np.float32(round(x, 3))))


@st.composite
def layers(draw):
    """Every type, with parameters that its rules allow."""
    a, b, c = draw(number(-2, 2)), draw(number(-2, 2)), draw(st.sampled_from([1, 2, 3]))
    shared = str(draw(st.booleans())).lower()
    return [
        'type: "AbsVal"',
        'type: "BNLL"',
        'type: "Sigmoid"',
        'type: "TanH"',
        'type: "Dropout"',
        f'type: "Clip" clip_param {{ min: {a} max: {b} }}',
        f'type: "ELU" elu_param {{ alpha: {a} }}',
        f'type: "Exp" exp_param {{ base: {abs(a) + 0.25} scale: {b} shift: {c} }}',
        f'type: "Power" power_param {{ power: {c} scale: {a} shift: {b} }}',
        f'type: "ReLU" relu_param {{ negative_slope: {a} }}',
        f'type: "Swish" swish_param {{ beta: {a} }}',
        f'type: "Threshold" threshold_param {{ threshold: {a} }}',
        f'type: "Log" log_param {{ base: {c + 1} scale: 0 shift: {abs(a) + 0.5} }}',
        f'type: "PReLU" prelu_param {{ channel_shared: {shared} filler {{ value: {a} }} }}',
    ]


@settings(max_examples=15)
@given(bodies=layers(), shape=st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_any_shape_and_parameters(bodies, shape):
    for body in bodies:
        if "PReLU" not in body or 2 <= len(shape) <= 4:
            check_both(text(body, shape))
