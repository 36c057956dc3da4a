"""Concat, Slice, Split, Flatten, Reshape, Tile; Crop, Filter, BatchReindex."""

from __future__ import annotations

import re

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, check_both, check_gradients, feed, graph_of, inline, make


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


def run_model(model, feeds):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def check_varying(text, inputs, other):
    """A model with open axes computes at other sizes what numpy does for a net of those sizes."""
    model = inline(lower(make(text, inputs=inputs)))
    for sizes in (None, other):
        net = make(text, inputs=sizes)
        feeds = feed(net)
        wanted = net.forward(feeds)
        for made, output in zip(run_model(model, feeds), net.graph.outputs, strict=True):
            assert_close(made, wanted[output.blob], 1e-5, output.blob)
    return model


def operators(text, **options):
    return [node.op_type for node in lower(make(text, **options)).model.graph.node]


def differentiable(text):
    """The inputs that a gradient reaches: not the one that only gives Crop its sizes."""
    return ["x"] if '"Crop"' in text else None


FORMS = [
    # what, the top's shape, the ONNX operators
    (layer("Flatten", "x", "y"), (3, 120), ["Flatten"]),
    (layer("Flatten", "x", "y", "flatten_param { axis: 0 }"), (360,), ["Reshape"]),
    (layer("Flatten", "x", "y", "flatten_param { axis: -2 }"), (3, 4, 30), ["Reshape"]),
    (layer("Flatten", "x", "y", "flatten_param { end_axis: 2 }"), (3, 20, 6), ["Reshape"]),
    (layer("Flatten", "x", "y", "flatten_param { end_axis: 1 }"), (3, 4, 5, 6), ["Identity"]),
    # An empty range of axes is one of size 1, as Blob::count has it.
    (
        layer("Flatten", "x", "y", "flatten_param { axis: 2 end_axis: 1 }"),
        (3, 4, 1, 5, 6),
        ["Reshape"],
    ),
    (
        layer("Reshape", "x", "y", "reshape_param { shape { dim: 0 dim: -1 } }"),
        (3, 120),
        ["Reshape"],
    ),
    (
        layer("Reshape", "x", "y", "reshape_param { shape { dim: -1 dim: 0 dim: 0 dim: 0 } }"),
        (3, 4, 5, 6),
        ["Reshape"],
    ),
    (
        layer("Reshape", "x", "y", "reshape_param { shape { dim: 5 dim: 4 } axis: 1 num_axes: 2 }"),
        (3, 5, 4, 6),
        ["Reshape"],
    ),
    (
        layer("Reshape", "x", "y", "reshape_param { shape { dim: 1 } axis: -1 num_axes: 0 }"),
        (3, 4, 5, 6, 1),
        ["Reshape"],
    ),
    (
        layer(
            "Reshape",
            "x",
            "y",
            "reshape_param { shape { dim: 2 dim: 2 dim: -1 } axis: 1 num_axes: 1 }",
        ),
        (3, 2, 2, 1, 5, 6),
        ["Reshape"],
    ),
    (layer("Tile", "x", "y", "tile_param { axis: -1 tiles: 2 }"), (3, 4, 5, 12), ["Tile"]),
    (layer("Tile", "x", "y", "tile_param { axis: 0 tiles: 3 }"), (9, 4, 5, 6), ["Tile"]),
    (layer("Concat", "xz", "y", "concat_param { axis: -3 }"), (3, 11, 5, 6), ["Concat"]),
    (layer("Concat", "xz", "y", "concat_param { concat_dim: 1 }"), (3, 11, 5, 6), ["Concat"]),
    (layer("Concat", "x", "y"), (3, 4, 5, 6), ["Identity"]),
    (layer("Crop", "xw", "y"), (3, 4, 2, 1), ["Slice"]),
    (layer("Crop", "xw", "y", "crop_param { offset: 3 }"), (3, 4, 2, 1), ["Slice"]),
    (
        layer("Crop", "xw", "y", "crop_param { axis: -3 offset: 1 offset: 2 offset: 5 }"),
        (3, 2, 2, 1),
        ["Slice"],
    ),
    (layer("Crop", "xx", "y"), (3, 4, 5, 6), ["Identity"]),
    (
        layer("Permute", "x", "y", "permute_param { order: 0 order: 2 order: 3 order: 1 }"),
        (3, 5, 6, 4),
        ["Transpose"],
    ),
    (
        layer("Permute", "x", "y", "permute_param { order: 3 order: 1 }"),
        (6, 4, 3, 5),
        ["Transpose"],
    ),
    (layer("Permute", "x", "y", "permute_param { order: 0 }"), (3, 4, 5, 6), ["Identity"]),
    (layer("Permute", "x", "y"), (3, 4, 5, 6), ["Identity"]),
]
OTHERS = blob("z", 3, 7, 5, 6) + blob("w", 7, 2, 2, 1)


@pytest.mark.parametrize(("text", "shape", "nodes"), FORMS)
def test_forms(text, shape, nodes):
    net = X + "".join(b for b in OTHERS.splitlines(True) if f'"{b.split(chr(34))[1]}"' in text)
    assert check_both(net + text)["y"].shape == shape
    assert operators(net + text) == nodes
    check_gradients(net + text, blobs=differentiable(text))


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
    assert operators(X + text) == ["Split"]
    check_gradients(X + text)


def test_one_slice_is_the_bottom():
    assert operators(X + layer("Slice", "x", "y")) == ["Identity"]
    check_gradients(X + layer("Slice", "x", "y"))


def test_split_vanishes():
    text = X + layer("Split", "x", "ab") + layer("Flatten", "a", "c").replace('"l"', '"m"')
    assert sorted(operators(text)) == ["Flatten", "Identity"]
    check_both(text)
    check_gradients(text)
    check_gradients(X + layer("Split", "x", "a"))
    check_gradients(X + layer("Split", "x", "abc"))


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        (layer("Flatten", "x", "y"), ["Flatten"]),
        (layer("Flatten", "x", "y", "flatten_param { axis: 0 end_axis: 1 }"), ["Reshape"]),
        (layer("Flatten", "x", "y", "flatten_param { axis: 2 }"), ["Reshape"]),
        (layer("Reshape", "x", "y", "reshape_param { shape { dim: 0 dim: -1 } }"), ["Reshape"]),
        (layer("Reshape", "x", "y", "reshape_param { shape { dim: -1 dim: 6 } }"), ["Reshape"]),
        (
            layer("Reshape", "x", "y", "reshape_param { shape { dim: 2 dim: -1 } axis: 1 }"),
            ["Reshape"],
        ),
        (layer("Concat", "xz", "y", "concat_param { axis: 1 }"), ["Concat"]),
        (layer("Slice", "x", "ab"), ["Split"]),
        (layer("Slice", "x", "ab", "slice_param { slice_point: 1 }"), ["Split"]),
        (layer("Tile", "x", "y", "tile_param { tiles: 2 }"), ["Tile"]),
        (layer("Tile", "x", "y", "tile_param { axis: 0 tiles: 2 }"), ["Tile"]),
        (layer("Crop", "xz", "y", "crop_param { axis: 3 offset: 1 }"), ["Slice"]),
        (layer("Permute", "x", "y", "permute_param { order: 1 order: 0 }"), ["Transpose"]),
    ],
)
def test_any_batch(text, nodes):
    net = X + (blob("z", 3, 4, 5, 2) if '"z"' in text else "")
    if "Concat" in text:
        net = net.replace("dim: 5 dim: 2", "dim: 5 dim: 6")
    opened = {"x": (None, 4, 5, 6)}
    other = {"x": (7, 4, 5, 6)}
    if '"z"' in text:
        opened["z"] = (None, 4, 5, 6 if "Concat" in text else 2)
        other["z"] = (7, *opened["z"][1:])
    model = check_varying(net + text, opened, other)
    assert [node.op_type for node in model.graph.node] == nodes


def test_even_slices_of_an_axis_that_varies():
    text = X + layer("Slice", "x", "abc", "slice_param { axis: 0 }")
    check_varying(text, {"x": (None, 4, 5, 6)}, {"x": (9, 4, 5, 6)})
    with pytest.raises(UnsupportedError, match="fixed size"):
        points = layer("Slice", "x", "ab", "slice_param { axis: 0 slice_point: 1 }")
        lower(make(X + points, inputs={"x": (None, 4, 5, 6)}))


def test_crop_to_a_size_that_varies():
    text = blob("x", 3, 4, 25, 26) + blob("z", 3, 1, 2, 5)
    text += layer("Crop", "xz", "y", "crop_param { offset: 1 }")
    model = check_varying(
        text,
        {"x": (3, 4, None, None), "z": (3, 1, None, None)},
        {"x": (3, 4, 11, 13), "z": (3, 1, 7, 9)},
    )
    assert [node.op_type for node in model.graph.node] == ["Shape", "Add", "Slice"]


def test_two_axes_that_vary_and_move_are_refused():
    text = X + layer("Flatten", "x", "y", "flatten_param { axis: 0 end_axis: 1 }")
    check_varying(text, {"x": (None, 4, 5, 6)}, {"x": (7, 4, 5, 6)})
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
        (
            layer("Crop", "xw", "y", "crop_param { offset: 4 }"),
            "offset 4 and size 2 exceed the 5 of axis 2",
        ),
        (
            layer("Crop", "xw", "y", "crop_param { offset: 1 offset: 1 offset: 1 }"),
            "offset is given 3 times for 2 axes",
        ),
        (layer("Crop", "xv", "y"), "axis 2 out of range for a 1-D blob"),
        (
            layer("Permute", "x", "y", "permute_param { order: 4 }"),
            "order [4] must name axes of a 4-D blob, each once",
        ),
        (
            layer("Permute", "x", "y", "permute_param { order: 1 order: 1 }"),
            "order [1, 1] must name axes of a 4-D blob, each once",
        ),
        (layer("Filter", "xv", "y"), "bottom (3, 4, 5, 6) and selector (2,) differ in axis 0"),
        (layer("Filter", "xz", "y"), "the selector (3, 7, 5, 6) must be one value a row"),
        (layer("Filter", "xzv", "y"), "has 1 tops for 2 bottoms"),
        (layer("BatchReindex", "xz", "y"), "a 1-D index"),
    ],
)
def test_refused(text, message):
    with pytest.raises(ShapeError, match=re.escape("layer 'l' (")) as error:
        make(X + OTHERS + blob("v", 2) + text)
    assert message in str(error.value)


FILTER = blob("x", 6, 3, 2) + blob("z", 6, 5) + blob("s", 6, 1) + layer("Filter", "xzs", "ab")


@pytest.mark.parametrize("chosen", [[0, 3, 4], [0, 1, 2, 3, 4, 5], []])
def test_filter(chosen):
    feeds = feed(make(FILTER))
    feeds["s"][:] = 0
    feeds["s"][chosen] = -2.5
    made = check_both(FILTER, feeds=feeds)
    assert np.array_equal(made["a"], feeds["x"][chosen])
    assert np.array_equal(made["b"], feeds["z"][chosen])
    net = make(FILTER)
    grads, _ = net.backward(net.run(feeds), {"a": made["a"], "b": 2 * made["b"]})
    keep = np.isin(np.arange(6), chosen)
    assert np.array_equal(grads["x"], feeds["x"] * keep[:, None, None])
    assert np.array_equal(grads["z"], 2 * feeds["z"] * keep[:, None])
    assert "s" not in grads


def test_what_a_filter_leaves_is_of_any_size():
    text = FILTER + layer("Flatten", "a", "c").replace('"l"', '"m"')
    dims = {value.name: value.dims for value in graph_of(text).values}
    assert dims == {
        "x": (6, 3, 2),
        "z": (6, 5),
        "s": (6, 1),
        "a": (None, 3, 2),
        "b": (None, 5),
        "c": (None, 6),
    }
    feeds = feed(make(text))
    feeds["s"][[1, 2]] = 0
    assert check_both(text, feeds=feeds)["c"].shape == (4, 6)


REINDEX = blob("x", 4, 3, 2) + blob("i", 5) + layer("BatchReindex", "xi", "y")


def test_batch_reindex():
    text, feeds = REINDEX, feed(make(REINDEX))
    feeds["i"] = np.array([3, 0, 3, 2.75, 0], np.float32)
    made = check_both(text, feeds=feeds)
    assert np.array_equal(made["y"], feeds["x"][[3, 0, 3, 2, 0]])
    check_gradients(text, feeds=feeds, blobs=["x"])
    assert operators(text) == ["Cast", "Gather"]


@pytest.mark.parametrize("index", [-1, 4, np.nan])
def test_batch_reindex_outside(index):
    feeds = feed(make(REINDEX))
    feeds["i"] = np.array([0, 1, index, 2, 3], np.float32)
    with pytest.raises(ShapeError, match=r"layer 'l' \(BatchReindex\): index outside the 0 to 3"):
        make(REINDEX).forward(feeds)


@st.composite
def nets(draw):
    """A layer of this family with parameters that its rules allow."""
    x = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    rank = len(x)
    axis = draw(st.integers(-rank, rank - 1))
    kinds = ["Flatten", "Reshape", "Slice", "Concat", "Tile", "Crop", "Permute"]
    kind = draw(st.sampled_from(kinds))
    net = blob("x", *x)
    if kind == "Flatten":
        end = draw(st.integers(axis % rank, rank - 1))
        return net + layer(kind, "x", "y", f"flatten_param {{ axis: {axis} end_axis: {end} }}")
    if kind == "Reshape":
        start = draw(st.integers(0, rank))
        count = draw(st.integers(0, rank - start))
        keep = draw(st.integers(0, count))
        sizes = " ".join(["dim: 0"] * keep + ["dim: -1"])
        return net + layer(
            kind,
            "x",
            "y",
            f"reshape_param {{ axis: {start} num_axes: {count} shape {{ {sizes} }} }}",
        )
    if kind == "Slice":
        points = draw(st.sets(st.integers(1, max(1, x[axis] - 1)), max_size=x[axis] - 1))
        body = " ".join(f"slice_point: {p}" for p in sorted(points))
        return net + layer(
            kind, "x", "abcdef"[: len(points) + 1], f"slice_param {{ axis: {axis} {body} }}"
        )
    if kind == "Concat":
        other = [*x]
        other[axis] = draw(st.integers(1, 6))
        return net + blob("z", *other) + layer(kind, "xz", "y", f"concat_param {{ axis: {axis} }}")
    if kind == "Permute":
        order = draw(st.permutations(range(rank)))[: draw(st.integers(0, rank))]
        body = " ".join(f"order: {axis}" for axis in order)
        return net + layer(kind, "x", "y", f"permute_param {{ {body} }}")
    if kind == "Tile":
        tiles = draw(st.integers(1, 4))
        return net + layer(kind, "x", "y", f"tile_param {{ axis: {axis} tiles: {tiles} }}")
    sizes = [draw(st.integers(1, n)) for n in x]
    offsets = [draw(st.integers(0, n - size)) for n, size in zip(x, sizes, strict=True)]
    body = " ".join(f"offset: {n}" for n in offsets[axis % rank :])
    return net + blob("z", *sizes) + layer(kind, "xz", "y", f"crop_param {{ axis: {axis} {body} }}")


@given(nets())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_parameters(text):
    check_both(text)
    check_gradients(text, blobs=differentiable(text))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.data())
@settings(max_examples=25)
def test_any_rows(shape, data):
    rows = shape[0]
    indices = data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=7))
    text = blob("x", *shape) + blob("i", len(indices)) + layer("BatchReindex", "xi", "y")
    made = check_both(text, feeds=feed(make(text)) | {"i": np.array(indices, np.float32)})
    assert made["y"].shape == (len(indices), *shape[1:])
    chosen = data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    text = blob("x", *shape) + blob("z", rows, 3) + blob("s", rows) + layer("Filter", "xzs", "ab")
    made = check_both(text, feeds=feed(make(text)) | {"s": np.array(chosen, np.float32)})
    assert made["b"].shape == (sum(chosen), 3)
    check_both(blob("x", *shape) + layer("Split", "x", "abc"[: data.draw(st.integers(1, 3))]))
