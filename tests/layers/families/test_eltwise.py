"""Eltwise beyond the golden cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.net.needs import needs

from ...cases import assert_close, check_both, check_gradients, make, operators, run_onnx

SHAPE = (2, 3, 5, 4)


def text(param, *shapes, top="y"):
    inputs = "".join(
        f'layer {{ name: "in{i}" type: "Input" top: "x{i}" input_param {{ shape {{ '
        + " ".join(f"dim: {n}" for n in shape)
        + " } } }\n"
        for i, shape in enumerate(shapes)
    )
    bottoms = " ".join(f'bottom: "x{i}"' for i in range(len(shapes)))
    return f"""{inputs}
        layer {{ name: "sum" type: "Eltwise" {bottoms} top: "{top}"
                 eltwise_param {{ {param} }} }}"""


CASES = [
    ("operation: PROD", 2),
    ("operation: PROD", 3),
    ("operation: MAX", 4),
    ("operation: SUM", 2),
    ("", 3),
    ("coeff: 1 coeff: -1", 2),
    ("coeff: 1 coeff: 0.5", 2),
    ("coeff: -1 coeff: 0.5 coeff: 1", 3),
    ("operation: MAX coeff: 3 coeff: -1", 2),  # read and not used, as in Caffe
]


@pytest.mark.parametrize(("param", "count"), CASES)
def test_numpy_and_onnxruntime_agree(param, count):
    net = text(param, *[SHAPE] * count)
    check_both(net)


@pytest.mark.parametrize(("param", "count"), CASES)
def test_gradients(param, count):
    # Differences of at least 0.5 between bottoms, so that no maximum changes hands.
    rng = np.random.default_rng(2)
    order = rng.permuted(np.tile(np.arange(1, count + 1), (*SHAPE, 1)), axis=-1)
    feeds = {f"x{i}": order[..., i].astype(np.float32) / 2 for i in range(count)}
    check_gradients(text(param, *[SHAPE] * count), feeds=feeds)


def test_coefficients_of_one_are_no_products():
    """Nor does a difference multiply by -1: no blob is gone through twice."""
    assert operators(text("", SHAPE, SHAPE)) == ["Add"]
    assert operators(text("", SHAPE, SHAPE, SHAPE)) == ["Sum"]
    assert operators(text("coeff: 1 coeff: -1", SHAPE, SHAPE)) == ["Sub"]
    assert operators(text("operation: MAX", SHAPE, SHAPE, SHAPE)) == ["Max"]


def backward(param, *arrays):
    arrays = [np.array(a, np.float32) for a in arrays]
    net = make(text(param, *[a.shape for a in arrays]))
    values = net.run({f"x{i}": a for i, a in enumerate(arrays)})
    grads, _ = net.backward(values, {"y": np.ones_like(arrays[0])})
    return [grads[f"x{i}"].tolist() for i in range(len(arrays))]


def test_of_equal_maxima_caffe_takes_the_second_bottom():
    assert backward("operation: MAX", [1, 2, 3], [1, 3, 2], [1, 3, 3]) == [
        [0, 0, 1],
        [1, 1, 0],
        [0, 0, 0],
    ]


def test_an_unstable_product_gradient_divides():
    stable = backward("operation: PROD", [2, 0], [3, 5])
    assert stable == [[3, 5], [2, 0]]
    divided = backward("operation: PROD stable_prod_grad: false", [2, 0], [3, 5])
    assert divided[1] == [2, 0]
    assert divided[0][0] == 3
    assert np.isnan(divided[0][1])


def test_a_product_may_run_in_place():
    net = make(text("operation: PROD", SHAPE, SHAPE, top="x0"))
    rng = np.random.default_rng(4)
    feeds = {name: rng.standard_normal(SHAPE).astype(np.float32) for name in ("x0", "x1")}
    want = feeds["x0"] * feeds["x1"]
    np.testing.assert_array_equal(net.forward(feeds)["x0"], want)
    assert_close(run_onnx(net, feeds)["x0"], want)


@pytest.mark.parametrize("param", ["operation: MAX", "coeff: 2 coeff: 1"])
def test_a_training_refuses_gradients_that_in_place_depend_on_who_needs_them(param):
    net = make("force_backward: true\n" + text(param, SHAPE, SHAPE, top="x0"))
    ones = np.ones(SHAPE, np.float32)
    values = net.run({"x0": ones, "x1": ones})
    with pytest.raises(UnsupportedError, match=r"layer 'sum' \(Eltwise\): has another gradient"):
        net.backward(values, {"x0": ones}, needs=needs(net.graph))


@pytest.mark.parametrize(
    ("param", "shapes", "message"),
    [
        (
            "",
            [SHAPE, (2, 3, 5, 1)],
            r"'sum' \(Eltwise\): bottom 0 is \(2, 3, 5, 4\), and bottom 1 is \(2, 3, 5, 1\)",
        ),
        ("coeff: 1", [SHAPE, SHAPE], r"'sum' \(Eltwise\): takes one coeff per .*: 1 for 2"),
        ("operation: PROD coeff: 1 coeff: 2", [SHAPE, SHAPE], "coeff only with operation SUM"),
        ("", [SHAPE], "at least 2 bottom"),
    ],
)
def test_what_caffe_refuses(param, shapes, message):
    with pytest.raises(ShapeError, match=message):
        make(text(param, *shapes))


def test_the_batch_may_vary():
    inputs = {"x0": [None, 3, None, 4], "x1": [None, 3, None, 4]}
    check_both(text("coeff: 1 coeff: 0.5", SHAPE, SHAPE), inputs=inputs)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    operation=st.sampled_from(["PROD", "SUM", "MAX"]),
    coeff=st.lists(st.sampled_from([-1.5, -1, 0, 0.25, 1, 3]), min_size=2, max_size=5),
    weighted=st.booleans(),
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=5),
)
def test_any_shape_and_parameters(operation, coeff, weighted, shape):
    weighted = weighted and operation != "PROD"
    coeffs = " ".join(f"coeff: {c}" for c in coeff) if weighted else ""
    check_both(text(f"operation: {operation} {coeffs}", *[shape] * len(coeff)))
