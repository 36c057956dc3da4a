"""Flatten and Reshape."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import check_both, check_gradients, check_varying, make, operators


def blob(name, *dims):
    sizes = " ".join(f"dim: {n}" for n in dims)
    return (
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ {sizes} }} }} }}\n"
    )


def layer(kind, bottoms, tops, body=""):
    names = " ".join([*(f'bottom: "{b}"' for b in bottoms), *(f'top: "{t}"' for t in tops)])
    return f'layer {{ name: "l" type: "{kind}" {names} {body} }}\n'


X = blob("x", 3, 4, 5, 6)


FORMS = [
    # A layer, and its top's shape.
    (layer("Flatten", "x", "y"), (3, 120)),
    (layer("Flatten", "x", "y", "flatten_param { axis: 0 }"), (360,)),
    (layer("Flatten", "x", "y", "flatten_param { axis: -2 }"), (3, 4, 30)),
    (layer("Flatten", "x", "y", "flatten_param { end_axis: 2 }"), (3, 20, 6)),
    (layer("Flatten", "x", "y", "flatten_param { end_axis: 1 }"), (3, 4, 5, 6)),
    (layer("Flatten", "x", "y", "flatten_param { axis: 2 end_axis: 1 }"), (3, 4, 1, 5, 6)),
    (layer("Reshape", "x", "y", "reshape_param { shape { dim: 0 dim: -1 } }"), (3, 120)),
    (
        layer("Reshape", "x", "y", "reshape_param { shape { dim: -1 dim: 0 dim: 0 dim: 0 } }"),
        (3, 4, 5, 6),
    ),
    (
        layer("Reshape", "x", "y", "reshape_param { shape { dim: 5 dim: 4 } axis: 1 num_axes: 2 }"),
        (3, 5, 4, 6),
    ),
    (
        layer("Reshape", "x", "y", "reshape_param { shape { dim: 1 } axis: -1 num_axes: 0 }"),
        (3, 4, 5, 6, 1),
    ),
    (
        layer(
            "Reshape",
            "x",
            "y",
            "reshape_param { shape { dim: 2 dim: 2 dim: -1 } axis: 1 num_axes: 1 }",
        ),
        (3, 2, 2, 1, 5, 6),
    ),
]


@pytest.mark.parametrize(("text", "shape"), FORMS)
def test_forms(text, shape):
    assert check_both(X + text)["y"].shape == shape
    check_gradients(X + text)


def test_one_operator_or_none():
    """No value moves, so no runtime copies any; and no shape is asked for that is known."""
    assert operators(X + layer("Flatten", "x", "y")) == ["Flatten"]
    assert operators(X + layer("Flatten", "x", "y", "flatten_param { axis: 2 }")) == ["Reshape"]
    same = layer("Flatten", "x", "y", "flatten_param { end_axis: 1 }")
    assert operators(X + same) == ["Identity"]  # an output needs a name of its own


@pytest.mark.parametrize(
    "text",
    [
        layer("Flatten", "x", "y"),
        layer("Flatten", "x", "y", "flatten_param { axis: 0 end_axis: 1 }"),
        layer("Flatten", "x", "y", "flatten_param { axis: 2 }"),
        layer("Reshape", "x", "y", "reshape_param { shape { dim: 0 dim: -1 } }"),
        layer("Reshape", "x", "y", "reshape_param { shape { dim: -1 dim: 6 } }"),
        layer("Reshape", "x", "y", "reshape_param { shape { dim: 2 dim: -1 } axis: 1 }"),
    ],
)
def test_any_batch(text):
    check_varying(X + text, {"x": (None, 4, 5, 6)}, [{"x": (3, 4, 5, 6)}, {"x": (7, 4, 5, 6)}])


def test_two_axes_that_vary_and_move_are_refused():
    text = X + layer("Flatten", "x", "y", "flatten_param { axis: 0 end_axis: 1 }")
    check_varying(text, {"x": (None, 4, 5, 6)}, [{"x": (7, 4, 5, 6)}])
    with pytest.raises(UnsupportedError, match="give the inputs fixed shapes"):
        lower(make(text, inputs={"x": (None, 4, None, 6)}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            layer("Flatten", "x", "y", "flatten_param { axis: 3 end_axis: 1 }"),
            "axis 3 lies behind end_axis 1",
        ),
        (
            layer("Flatten", "x", "y", "flatten_param { axis: 4 }"),
            "axis 4 out of range for a 4-D blob",
        ),
        (layer("Flatten", "x", "x"), "cannot run in place"),
        (
            layer("Reshape", "x", "y", "reshape_param { shape { dim: 7 dim: -1 } }"),
            "the 360 values of (3, 4, 5, 6) are no multiple of the 7",
        ),
        (
            layer("Reshape", "x", "y", "reshape_param { shape { dim: -2 dim: -1 } }"),
            "no multiple of the -2",
        ),
        (
            layer("Reshape", "x", "y", "reshape_param { shape { dim: -2 dim: -180 } }"),
            "cannot take the shape (-2, -180)",
        ),
        (
            layer("Reshape", "x", "y", "reshape_param { shape { dim: -1 dim: -1 } }"),
            "shape [-1, -1] has more than one -1",
        ),
        (
            layer("Reshape", "x", "y", "reshape_param { shape { dim: 361 } }"),
            "(3, 4, 5, 6) with 360 values cannot take the shape (361,)",
        ),
        (
            layer("Reshape", "x", "y", "reshape_param { axis: 5 }"),
            "axis 5 out of range for a 4-D blob",
        ),
        (layer("Reshape", "x", "y", "reshape_param { num_axes: -2 }"), "num_axes -2 from axis 0"),
        (
            layer("Reshape", "x", "y", "reshape_param { axis: 2 num_axes: 3 }"),
            "num_axes 3 from axis 2 out of range",
        ),
        (
            layer("Reshape", "x", "y", "reshape_param { shape { dim: 1 dim: 0 } axis: 3 }"),
            "the 0 in place 1 of shape has no bottom axis 4",
        ),
    ],
)
def test_refused(text, message):
    with pytest.raises(ShapeError, match=re.escape("layer 'l' (")) as error:
        make(X + text)
    assert message in str(error.value)


@st.composite
def nets(draw):
    """A layer with parameters that its rules allow."""
    x = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    rank = len(x)
    axis = draw(st.integers(-rank, rank - 1))
    if draw(st.booleans()):
        end = draw(st.integers(axis % rank, rank - 1))
        param = f"flatten_param {{ axis: {axis} end_axis: {end} }}"
        return blob("x", *x) + layer("Flatten", "x", "y", param)
    start = draw(st.integers(0, rank))
    count = draw(st.integers(0, rank - start))
    sizes = " ".join(["dim: 0"] * draw(st.integers(0, count)) + ["dim: -1"])
    param = f"reshape_param {{ axis: {start} num_axes: {count} shape {{ {sizes} }} }}"
    return blob("x", *x) + layer("Reshape", "x", "y", param)


@given(nets())
@settings(max_examples=25)
def test_any_parameters(text):
    check_both(text)
    check_gradients(text)
