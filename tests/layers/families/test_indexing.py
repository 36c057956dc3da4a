"""Crop, Filter and BatchReindex."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError

from ...cases import check_both, check_gradients, check_varying, feed, graph_of, make


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
W = blob("w", 7, 2, 2, 1)


FORMS = [
    # A layer, and its top's shape.
    (layer("Crop", "xw", "y"), (3, 4, 2, 1)),
    (layer("Crop", "xw", "y", "crop_param { offset: 3 }"), (3, 4, 2, 1)),
    (
        layer("Crop", "xw", "y", "crop_param { axis: -3 offset: 1 offset: 2 offset: 5 }"),
        (3, 2, 2, 1),
    ),
    (layer("Crop", "xx", "y"), (3, 4, 5, 6)),
]


@pytest.mark.parametrize(("text", "shape"), FORMS)
def test_crop(text, shape):
    text = X + (W if '"w"' in text else "") + text
    assert check_both(text)["y"].shape == shape
    check_gradients(text, blobs=["x"])  # the second bottom only gives its sizes


def test_crop_of_any_batch():
    net = X + blob("z", 3, 4, 5, 2) + layer("Crop", "xz", "y", "crop_param { axis: 3 offset: 1 }")
    opened = {"x": (None, 4, 5, 6), "z": (None, 4, 5, 2)}
    check_varying(net, opened, [{"x": (n, 4, 5, 6), "z": (n, 4, 5, 2)} for n in (3, 7)])


def test_crop_to_a_size_that_varies():
    text = blob("x", 3, 4, 25, 26) + blob("z", 3, 1, 2, 5)
    text += layer("Crop", "xz", "y", "crop_param { offset: 1 }")
    opened = {"x": (3, 4, None, None), "z": (3, 1, None, None)}
    check_varying(text, opened, [{"x": (3, 4, 11, 13), "z": (3, 1, 7, 9)}])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            layer("Crop", "xw", "y", "crop_param { offset: 4 }"),
            "offset 4 and size 2 exceed the 5 of axis 2",
        ),
        (
            layer("Crop", "xw", "y", "crop_param { offset: 1 offset: 1 offset: 1 }"),
            "offset is given 3 times for 2 axes",
        ),
        (layer("Crop", "xv", "y"), "axis 2 out of range for a 1-D blob"),
        (layer("Filter", "xv", "y"), "bottom (3, 4, 5, 6) and selector (2,) differ in axis 0"),
        (layer("Filter", "xz", "y"), "the selector (3, 7, 5, 6) must be one value a row"),
        (layer("Filter", "xzv", "y"), "has 1 tops for 2 bottoms"),
        (layer("BatchReindex", "xz", "y"), "a 1-D index"),
    ],
)
def test_refused(text, message):
    with pytest.raises(ShapeError, match=re.escape("layer 'l' (")) as error:
        make(X + blob("z", 3, 7, 5, 6) + W + blob("v", 2) + text)
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


@pytest.mark.parametrize("index", [-1, 4, np.nan])
def test_batch_reindex_outside(index):
    feeds = feed(make(REINDEX))
    feeds["i"] = np.array([0, 1, index, 2, 3], np.float32)
    with pytest.raises(ShapeError, match=r"layer 'l' \(BatchReindex\): index outside the 0 to 3"):
        make(REINDEX).forward(feeds)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.data())
@settings(max_examples=25)
def test_any_crop(x, data):
    axis = data.draw(st.integers(-len(x), len(x) - 1))
    sizes = [data.draw(st.integers(1, n)) for n in x]
    offsets = [data.draw(st.integers(0, n - size)) for n, size in zip(x, sizes, strict=True)]
    body = " ".join(f"offset: {n}" for n in offsets[axis % len(x) :])
    text = blob("x", *x) + blob("z", *sizes)
    text += layer("Crop", "xz", "y", f"crop_param {{ axis: {axis} {body} }}")
    check_both(text)
    check_gradients(text, blobs=["x"])


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
