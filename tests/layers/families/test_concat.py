"""Concat, Slice, Split and Tile."""

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
Z = blob("z", 3, 7, 5, 6)


FORMS = [
    # A layer, and its top's shape.
    (layer("Tile", "x", "y", "tile_param { axis: -1 tiles: 2 }"), (3, 4, 5, 12)),
    (layer("Tile", "x", "y", "tile_param { axis: 0 tiles: 3 }"), (9, 4, 5, 6)),
    (layer("Concat", "xz", "y", "concat_param { axis: -3 }"), (3, 11, 5, 6)),
    (layer("Concat", "xz", "y", "concat_param { concat_dim: 1 }"), (3, 11, 5, 6)),
    (layer("Concat", "x", "y"), (3, 4, 5, 6)),
]


@pytest.mark.parametrize(("text", "shape"), FORMS)
def test_forms(text, shape):
    text = X + (Z if '"z"' in text else "") + text
    assert check_both(text)["y"].shape == shape
    check_gradients(text)


@pytest.mark.parametrize(
    ("text", "tops"),
    [
        (layer("Slice", "x", "ab"), [2, 2]),
        (layer("Slice", "x", "abc", "slice_param { slice_point: 1 slice_point: 3 }"), [1, 2, 1]),
        (layer("Slice", "x", "ab", "slice_param { axis: -1 slice_point: 5 }"), [5, 1]),
        (layer("Slice", "x", "ab", "slice_param { slice_dim: 2 slice_point: 2 }"), [2, 3]),
    ],
)
def test_slice(text, tops):
    made = check_both(X + text)
    axis = next(i for i in range(4) if made["a"].shape[i] != (3, 4, 5, 6)[i])
    assert [made[name].shape[axis] for name in sorted(made)] == tops
    check_gradients(X + text)


def test_one_slice_is_the_bottom():
    assert operators(X + layer("Slice", "x", "y")) == ["Identity"]  # an output needs a name
    check_gradients(X + layer("Slice", "x", "y"))


def test_split_vanishes():
    text = X + layer("Split", "x", "ab") + layer("Flatten", "a", "c").replace('"l"', '"m"')
    assert sorted(operators(text)) == ["Flatten", "Identity"]
    check_both(text)
    check_gradients(text)
    check_gradients(X + layer("Split", "x", "a"))
    check_gradients(X + layer("Split", "x", "abc"))


@pytest.mark.parametrize(
    "text",
    [
        layer("Concat", "xz", "y", "concat_param { axis: 1 }"),
        layer("Slice", "x", "ab"),
        layer("Slice", "x", "ab", "slice_param { slice_point: 1 }"),
        layer("Tile", "x", "y", "tile_param { tiles: 2 }"),
        layer("Tile", "x", "y", "tile_param { axis: 0 tiles: 2 }"),
    ],
)
def test_any_batch(text):
    names = "xz" if '"z"' in text else "x"
    net = X + (blob("z", 3, 4, 5, 6) if '"z"' in text else "") + text
    opened = dict.fromkeys(names, (None, 4, 5, 6))
    check_varying(net, opened, [dict.fromkeys(names, (n, 4, 5, 6)) for n in (3, 7)])


def test_even_slices_of_a_batch_are_of_any_batch():
    """So that `verify` computes two images of a hundred, although the file is for a hundred."""
    lowered = lower(make(X + layer("Slice", "x", "abc", "slice_param { axis: 0 }")))
    (split,) = lowered.model.graph.node
    assert [attribute.name for attribute in split.attribute] == ["axis", "num_outputs"]


def test_even_slices_of_an_axis_that_varies():
    text = X + layer("Slice", "x", "abc", "slice_param { axis: 0 }")
    check_varying(text, {"x": (None, 4, 5, 6)}, [{"x": (9, 4, 5, 6)}])
    with pytest.raises(UnsupportedError, match="fixed size"):
        points = layer("Slice", "x", "ab", "slice_param { axis: 0 slice_point: 1 }")
        lower(make(X + points, inputs={"x": (None, 4, 5, 6)}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (layer("Slice", "x", "abc"), "3 tops do not divide the axis of 4 evenly"),
        (
            layer("Slice", "x", "abc", "slice_param { slice_point: 3 slice_point: 1 }"),
            "slice_point [3, 1] must rise, and lie between 0 and 4",
        ),
        (
            layer("Slice", "x", "ab", "slice_param { slice_point: 4 }"),
            "slice_point [4] must rise, and lie between 0 and 4",
        ),
        (
            layer("Slice", "x", "ab", "slice_param { slice_point: 1 slice_point: 2 }"),
            "slice_point is given 2 times for 2 tops",
        ),
        (
            layer("Slice", "x", "abcde", "slice_param { " + "slice_point: 1 " * 4 + "}"),
            "5 tops from an axis of 4",
        ),
        (
            layer("Slice", "x", "ab", "slice_param { axis: 2 slice_dim: 2 }"),
            "gives both axis 2 and slice_dim 2",
        ),
        (
            layer("Concat", "xz", "y", "concat_param { axis: 2 }"),
            "bottoms (3, 4, 5, 6) and (3, 7, 5, 6) differ besides axis 2",
        ),
        (layer("Concat", "xz", "y", "concat_param { concat_dim: 4 }"), "axis 4 out of range"),
        (
            layer("Concat", "xz", "y", "concat_param { concat_dim: 1 axis: 1 }"),
            "gives both axis 1 and concat_dim 1",
        ),
        (layer("Tile", "x", "y"), "tiles must be positive, and is 0"),
    ],
)
def test_refused(text, message):
    with pytest.raises(ShapeError, match=re.escape("layer 'l' (")) as error:
        make(X + Z + text)
    assert message in str(error.value)


@st.composite
def nets(draw):
    """A layer with parameters that its rules allow."""
    x = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    axis = draw(st.integers(-len(x), len(x) - 1))
    net, kind = blob("x", *x), draw(st.sampled_from(["Slice", "Concat", "Tile", "Split"]))
    if kind == "Slice":
        points = draw(st.sets(st.integers(1, max(1, x[axis] - 1)), max_size=x[axis] - 1))
        body = " ".join(f"slice_point: {p}" for p in sorted(points))
        tops = "abcdef"[: len(points) + 1]
        return net + layer(kind, "x", tops, f"slice_param {{ axis: {axis} {body} }}")
    if kind == "Concat":
        other = [*x]
        other[axis] = draw(st.integers(1, 6))
        return net + blob("z", *other) + layer(kind, "xz", "y", f"concat_param {{ axis: {axis} }}")
    if kind == "Split":
        return net + layer(kind, "x", "abc"[: draw(st.integers(1, 3))])
    tiles = draw(st.integers(1, 4))
    return net + layer(kind, "x", "y", f"tile_param {{ axis: {axis} tiles: {tiles} }}")


@given(nets())
@settings(max_examples=30)
def test_any_parameters(text):
    check_both(text)
    check_gradients(text)
