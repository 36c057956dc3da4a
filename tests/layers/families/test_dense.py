"""InnerProduct and Embed beyond the golden cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import (
    assert_close,
    check_both,
    check_gradients,
    check_varying,
    feed,
    make,
    one_layer,
    operators,
)

FILLERS = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "uniform" min: -1 }'
SHAPE = (2, 3, 4, 5)


def text(type_, field, param, shape):
    dims = " ".join(f"dim: {n}" for n in shape)
    return f"""
        layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ {dims} }} }} }}
        layer {{ name: "ip" type: "{type_}" bottom: "x" top: "y" {field} {{ {param} {FILLERS} }} }}
        """


def dense(param, shape=SHAPE):
    return text("InnerProduct", "inner_product_param", param, shape)


def embed(param, shape=(2, 3)):
    return text("Embed", "embed_param", param, shape)


CASES = [
    ("num_output: 7", (3, 5), (3, 7)),
    ("num_output: 7 transpose: true", (3, 5), (3, 7)),
    ("num_output: 7", SHAPE, (2, 7)),
    ("num_output: 7 bias_term: false", SHAPE, (2, 7)),
    ("num_output: 7 transpose: true axis: -3", SHAPE, (2, 7)),
    ("num_output: 7 axis: 3", SHAPE, (2, 3, 4, 7)),
    ("num_output: 7 axis: -1 transpose: true", SHAPE, (2, 3, 4, 7)),
    ("num_output: 7 axis: -1 transpose: true bias_term: false", SHAPE, (2, 3, 4, 7)),
    ("num_output: 7 axis: 2", SHAPE, (2, 3, 7)),
    ("num_output: 7 axis: 0", SHAPE, (7,)),
    ("num_output: 7 axis: 0", (5,), (7,)),
    ("num_output: 1 axis: 0 transpose: true", (5,), (1,)),
]


@pytest.mark.parametrize(("param", "shape", "top"), CASES)
def test_inner_product(param, shape, top):
    body = dense(param, shape)
    assert check_both(body)["y"].shape == top
    check_gradients(body)


@pytest.mark.parametrize("transpose", ["true", "false"])
def test_is_one_gemm(transpose):
    """Bias and transposition included, which a quantiser and a GPU's library look for."""
    body = dense(f"num_output: 7 transpose: {transpose}", (3, 5))
    assert operators(body) == ["Gemm"]
    assert operators(dense("num_output: 7")) == ["Flatten", "Gemm"]


def test_weights_stay_where_they_lie():
    for transpose in ("true", "false"):
        net = make(dense(f"num_output: 7 axis: 2 transpose: {transpose}"))
        lowered = lower(net)
        assert lowered.changed == ()
        for array in net.arrays[-1]:
            assert any(array is held for held in lowered.arrays.values())


@pytest.mark.parametrize(("param", "shape", "top"), CASES)
def test_parameter_gradients(param, shape, top):
    """What is linear in x and in the weights is the product of either with its gradient."""
    net = make(dense(param, shape))
    feeds = feed(net)
    values = net.run(feeds)
    dy = np.random.default_rng(3).standard_normal(top).astype(np.float32)
    grads, params = net.backward(values, {"y": dy})
    weight, *bias = net.arrays[-1]
    y = values["y"].astype(np.float64) - (bias[0] if bias else 0)
    want = np.sum(dy * y)
    scale = np.sqrt(np.sum(dy.astype(np.float64) ** 2) * np.sum(y**2))
    assert abs(np.sum(grads["x"].astype(np.float64) * feeds["x"]) - want) < 1e-5 * scale
    assert params[-1][0].shape == weight.shape
    assert abs(np.sum(params[-1][0].astype(np.float64) * weight) - want) < 1e-5 * scale
    if bias:
        assert_close(params[-1][1], dy.reshape(-1, top[-1]).sum(0))


@pytest.mark.parametrize(
    ("axis", "inputs", "other"),
    [
        (1, (None, 3, 4, 5), (9, 3, 4, 5)),
        (2, (None, None, 4, 5), (7, 6, 4, 5)),
        (3, (None, None, None, 5), (7, 1, 6, 5)),
    ],
)
@pytest.mark.parametrize("transpose", ["true", "false"])
def test_axes_before_the_flattened_ones_may_vary(axis, inputs, other, transpose):
    body = dense(f"num_output: 7 axis: {axis} transpose: {transpose}")
    check_varying(body, {"x": inputs}, [{"x": SHAPE}, {"x": other}])


def test_flattened_axes_may_not_vary():
    body = dense("num_output: 7")
    with pytest.raises(ShapeError, match=r"'weight' would change .* give the inputs fixed shapes"):
        make(body, inputs={"x": (2, 3, None, 5)})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (dense("axis: 1"), r"layer 'ip' \(InnerProduct\): num_output must be positive, and is 0"),
        (dense("num_output: 7 axis: 4"), "axis 4 out of range for a 4-D blob"),
        (dense("num_output: 7", (5,)), "axis 1 out of range for a 1-D blob"),
        (embed("num_output: 7"), r"layer 'ip' \(Embed\): input_dim must be positive, and is 0"),
        (embed("input_dim: 7"), "num_output must be positive, and is 0"),
    ],
)
def test_refused(body, message):
    with pytest.raises(ShapeError, match=message):
        make(body)


@pytest.mark.parametrize("shape", [(5,), (2, 3), (4, 2, 3)])
def test_embed(shape):
    body = embed("input_dim: 11 num_output: 7", shape)
    made = check_both(body, integers={"x": 11})["y"]
    assert made.shape == (*shape, 7)
    net = make(body)
    rows = feed(net, integers={"x": 11})["x"]
    weight, bias = net.arrays[-1]
    for place in np.ndindex(*shape):
        np.testing.assert_array_equal(made[place], weight[int(rows[place])] + bias)


def test_embed_sums_the_gradients_of_a_row():
    net = make(embed("input_dim: 4 num_output: 2", (3,)))
    dy = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    values = net.run({"x": np.array([3, 0, 3], np.float32)})
    grads, params = net.backward(values, {"y": dy})
    assert "x" not in grads
    assert params[-1][0].tolist() == [[3, 4], [0, 0], [0, 0], [6, 8]]
    assert params[-1][1].tolist() == [9, 12]
    net = make(embed("input_dim: 4 num_output: 2 bias_term: false", (3,)))
    assert len(net.backward(values, {"y": dy})[1][-1]) == 1


@pytest.mark.parametrize("row", [-1, 4])
def test_embed_refuses_rows_outside_the_table(row):
    net = make(embed("input_dim: 4 num_output: 2", (3,)))
    with pytest.raises(ShapeError, match=rf"rows {min(row, 0)} to {max(row, 3)} of a table of 4"):
        net.forward({"x": np.array([3, 0, row], np.float32)})


def test_embed_may_vary():
    body = embed("input_dim: 1 num_output: 7")
    feeds = {"x": np.zeros((2, 3), np.float32)}
    check_both(body, feeds=feeds, inputs={"x": (None, None)})


@st.composite
def layers(draw):
    """An InnerProduct layer's text over one to four axes, each size of its own."""
    shape = draw(st.permutations(range(2, 7)))[: draw(st.integers(1, 4))]
    param = f"num_output: {draw(st.integers(1, 8))} "
    param += f"axis: {draw(st.integers(-len(shape), len(shape) - 1))} "
    for field in ("transpose", "bias_term"):
        param += f"{field}: {str(draw(st.booleans())).lower()} "
    return dense(param, shape)


@given(layers())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_inner_product(body):
    check_both(body)
    check_gradients(body)


@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    rows=st.integers(1, 9),
    outputs=st.integers(1, 8),
    bias=st.booleans(),
)
@settings(max_examples=25)
def test_any_embed(shape, rows, outputs, bias):
    param = f"input_dim: {rows} num_output: {outputs} bias_term: {str(bias).lower()}"
    made = check_both(embed(param, shape), integers={"x": rows})
    assert made["y"].shape == (*shape, outputs)


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("bias", [False, True])
def test_weights_of_a_bottom(axis, bias):
    """Of training_toolbox_caffe: as an InnerProduct whose own weights are these."""
    shape = (2, 3, 4, 5)
    inputs = int(np.prod(shape[axis:]))
    param = f"inner_product_param {{ num_output: 6 axis: {axis} bias_term: {str(bias).lower()} }}"
    shapes = [shape, (6, inputs), *([(6,)] if bias else [])]
    text = one_layer(f'type: "InnerProduct" {param}', *shapes)
    feeds = feed(make(text))
    y = check_both(text)["y"]
    plain = make(one_layer(f'type: "InnerProduct" {param}', shape))
    plain.arrays[-1][0][:] = feeds["b"]
    if bias:
        plain.arrays[-1][1][:] = feeds["c"]
    assert np.array_equal(y, plain.forward({"a": feeds["a"]})["y"])
    check_gradients(text)


@pytest.mark.parametrize(
    ("more", "shapes", "words"),
    [
        ("", [(2, 4), (6, 4)], "bias_term where"),
        ("bias_term: false transpose: true", [(2, 4), (6, 4)], "takes no transpose"),
        ("bias_term: false", [(2, 4), (6, 5)], r"needs weights \(6, 4\)"),
        ("", [(2, 4), (6, 4), (5,)], "needs 6 biases"),
    ],
)
def test_weights_of_a_bottom_refused(more, shapes, words):
    body = f'type: "InnerProduct" inner_product_param {{ num_output: 6 {more} }}'
    with pytest.raises(ShapeError, match=words):
        make(one_layer(body, *shapes))


def test_normalize_is_refused():
    body = 'type: "InnerProduct" inner_product_param { num_output: 6 normalize: true }'
    with pytest.raises(UnsupportedError, match="at every pass"):
        make(one_layer(body, (2, 4)))
