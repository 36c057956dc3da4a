"""Accuracy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import (
    assert_close,
    check_both,
    feed,
    make,
    one_layer,
    run_onnx,
)

MODES = ["FULL", "VALID", "BATCH_SIZE", "NONE"]


@pytest.mark.parametrize("top_k", [1, 2, 4])
@pytest.mark.parametrize("ignore", ["", "ignore_label: 1"])
@pytest.mark.parametrize(
    ("axis", "shapes"), [(1, [(3, 4, 2, 5), (3, 1, 2, 5)]), (-1, [(3, 5, 4), (3, 5)])]
)
def test_accuracy(axis, shapes, ignore, top_k):
    body = f'type: "Accuracy" accuracy_param {{ top_k: {top_k} axis: {axis} {ignore} }}'
    for tops in (("y",), ("y", "z")):
        given = one_layer(body, *shapes, top=tops)
        feeds = feed(make(given), integers={"b": 4})
        feeds["a"] = np.round(2 * feeds["a"])  # many ties
        check_both(given, feeds=feeds)


def test_a_tie_counts_against_the_label():
    given = one_layer('type: "Accuracy"', (2, 3), (2,))
    scores = np.array([[1, 1, 0], [2, 1, 1]], np.float32)
    assert check_both(given, feeds={"a": scores, "b": np.zeros(2, np.float32)})["y"] == 0.5


@pytest.mark.parametrize("ignore", [-1, 255])
def test_an_ignored_label_may_be_no_class(ignore):
    body = f'type: "Accuracy" accuracy_param {{ ignore_label: {ignore} }}'
    text = one_layer(body, (5, 4), (5,), top=("y", "z"))
    labels = np.array([0, ignore, 3, ignore, 1], np.float32)
    check_both(text, feeds={**feed(make(text)), "b": labels})


def test_accuracy_has_no_backward_pass():
    net = make(one_layer('type: "Accuracy"', (2, 3), (2,)))
    values = net.run(feed(net, integers={"b": 3}))
    with pytest.raises(UnsupportedError, match=r"layer 'l' \(Accuracy\): has no backward pass"):
        net.backward(values, {"y": np.float32(1)})


def test_the_batch_may_vary():
    body = 'type: "Accuracy" accuracy_param { ignore_label: 0 }'
    net = make(one_layer(body, (5, 4, 2), (5, 2)), inputs={"a": (None, 4, 2), "b": (None, 2)})
    other = make(one_layer(body, (8, 4, 2), (8, 2)))
    feeds = feed(other, integers={"b": 4})
    assert_close(run_onnx(net, feeds)["y"], other.forward(feeds)["y"])


REFUSED = [
    ('type: "Accuracy" accuracy_param { top_k: 5 }', [(3, 4), (3,)], "top_k 5 .* classes, 4"),
    ('type: "Accuracy" accuracy_param { axis: 2 }', [(3, 4), (3,)], "axis 2 out of range"),
    ('type: "Accuracy"', [(3, 4, 2), (3,)], "3 labels .* for 6 predictions"),
]


@pytest.mark.parametrize(("body", "shapes", "message"), REFUSED)
def test_refused(body, shapes, message):
    with pytest.raises(ShapeError, match=f"layer 'l' .*{message}"):
        make(one_layer(body, *shapes))


@settings(max_examples=15)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    axis=st.integers(1, 3),
    ignore=st.sampled_from(["", "ignore_label: 0", "ignore_label: -1"]),
    seed=st.integers(0, 99),
)
def test_any_shape(shape, axis, ignore, seed):
    axis = min(axis, len(shape) - 1)
    labels = [n for i, n in enumerate(shape) if i != axis]
    body = f'type: "Accuracy" accuracy_param {{ axis: {axis} {ignore} }}'
    text = one_layer(body, shape, labels)
    check_both(text, feeds=feed(make(text), seed, {"b": shape[axis]}))


SEG = 'type: "SegAccuracy" seg_accuracy_param { %s }'


def test_positions_of_pictures():
    """The three shares by a loop over the positions; class 3 has no label and no best score."""
    shapes = (2, 4, 3, 5), (2, 1, 3, 5)
    net = make(one_layer(SEG % "ignore_label: 255 ignore_label: 2", *shapes))
    feeds = feed(net, integers={"b": 3})
    feeds["a"] = np.round(feeds["a"])  # many ties
    feeds["a"][:, 3] = -9
    feeds["b"][0, 0, 0, :2] = 255
    matrix = np.zeros((4, 4))
    for n, h, w in np.ndindex(2, 3, 5):
        label, scores = int(feeds["b"][n, 0, h, w]), feeds["a"][n, :, h, w]
        if label not in (2, 255):
            matrix[label, max(range(4), key=lambda c: (scores[c], c))] += 1
    right, rows, columns = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    overlaps = [right[c] / (rows[c] + columns[c] - right[c]) for c in range(3)]
    want = [right.sum() / matrix.sum(), np.mean(right[:2] / rows[:2]), (sum(overlaps) + 1) / 4]
    assert_close(net.forward(feeds)["y"].ravel(), want, axis=0)
    feeds["b"][:] = 255
    assert np.array_equal(net.forward(feeds)["y"].ravel(), np.float32([0, 0, 1]))
    feeds["b"][:] = 7
    with pytest.raises(ShapeError, match="label 7 is outside the 4 classes"):
        net.forward(feeds)
    with pytest.raises(UnsupportedError, match="no ONNX form") as error:
        run_onnx(net, feeds)
    assert error.value.changes == ({"deploy": True},)
    with pytest.raises(UnsupportedError, match="reset"):
        make(one_layer(SEG % "reset: false", *shapes)).forward(feeds)
    with pytest.raises(ShapeError, match=r"labels \(N, 1, H, W\)"):
        make(one_layer(SEG % "", (2, 4, 3, 5), (2, 3, 5)))
