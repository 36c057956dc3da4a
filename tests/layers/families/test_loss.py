"""The losses without a softmax, of numbers, labels and pairs, in one table."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError

from ...cases import (
    assert_close,
    check_both,
    check_gradients,
    feed,
    make,
    one_layer,
    run_onnx,
)

MODES = ["FULL", "VALID", "BATCH_SIZE", "NONE"]


# A layer, its bottoms' shapes, {bottom: number of classes}
LOSSES = [
    *[
        (f'type: "SigmoidCrossEntropyLoss" loss_param {{ {field} }}', [(5, 3, 2), (5, 6)], {"b": 2})
        for field in (
            "",
            "normalize: true",
            "normalize: false",
            *[f"normalization: {m} ignore_label: 1" for m in MODES],
        )
    ],
    ('type: "EuclideanLoss"', [(5, 4), (5, 4)], {}),
    ('type: "EuclideanLoss"', [(5, 4, 2, 3), (5, 4, 6)], {}),
    ('type: "EuclideanLoss" loss_weight: 2', [(5,), (5,)], {}),
    ('type: "SmoothL1Loss"', [(5, 4), (5, 4)], {}),
    ('type: "SmoothL1Loss" loss_weight: 2', [(5, 4, 2, 3), (5, 4, 2, 3)], {}),
    ('type: "SmoothL1Loss"', [(5, 4), (5, 4, 1)], {}),
    ('type: "SmoothL1Loss"', [(5,), (5,)], {}),
    ('type: "HingeLoss"', [(5, 4), (5,)], {"b": 4}),
    ('type: "HingeLoss" hinge_loss_param { norm: L2 }', [(5, 2, 3), (5, 1)], {"b": 6}),
    ('type: "HingeLoss" hinge_loss_param { norm: L2 }', [(5, 4), (5, 3)], {"b": 4}),
    ('type: "ContrastiveLoss"', [(5, 4), (5, 4), (5,)], {"c": 2}),
    (
        'type: "ContrastiveLoss" contrastive_loss_param { margin: 3.5 }',
        [(5, 4), (5, 4, 1, 1), (5, 1)],
        {"c": 2},
    ),
    (
        'type: "ContrastiveLoss" contrastive_loss_param { margin: 4 legacy_version: true }',
        [(5, 4, 1, 1), (5, 4, 1, 1), (7,)],
        {"c": 2},
    ),
]


@pytest.mark.parametrize(("body", "shapes", "integers"), LOSSES)
def test_numpy_and_onnxruntime_agree(body, shapes, integers):
    check_both(one_layer(body, *shapes), integers=integers)


@pytest.mark.parametrize(("body", "shapes", "integers"), LOSSES)
def test_gradients(body, shapes, integers):
    # Caffe's 1e-4 beside the distance of a dissimilar pair is within the tolerance.
    check_gradients(one_layer(body, *shapes), integers=integers)


@pytest.mark.parametrize("shapes", [[(5, 4), (5,)], [(2, 3, 4, 1), (2, 1, 4)]])
def test_multinomial_logistic_loss(shapes):
    body = 'type: "MultinomialLogisticLoss"'
    shapes = [shapes[0], (shapes[0][0], 1)]
    given = feed(make(one_layer(body, *shapes)), integers={"b": 4})
    given["a"] = np.abs(given["a"]) + np.float32(0.1)
    given["a"][0] = 0  # below the threshold, where Caffe's logarithm stops
    check_both(one_layer(body, *shapes), feeds=given)
    given["a"][0] = 1
    check_gradients(one_layer(body, *shapes), feeds=given, blobs=["a"])


def test_a_loss_without_a_top_gets_one():
    net = make(one_layer('type: "EuclideanLoss" loss_weight: 3', (2, 3), (2, 3), top=()))
    assert [v.shape for v in net.graph.nodes[-1].tops] == [()]
    assert not net.graph.outputs  # as in Caffe: nobody can name it
    grads, _ = net.backward(net.run(feed(net)), {})
    assert_close(grads["a"], -grads["b"])


VARYING = [
    ('type: "SigmoidCrossEntropyLoss"', [(5, 3, 2), (5, 6)], {"b": 2}),
    ('type: "EuclideanLoss"', [(5, 4, 2, 3), (5, 4, 6)], {}),
    ('type: "HingeLoss"', [(5, 2, 3), (5, 1)], {"b": 6}),
    ('type: "MultinomialLogisticLoss"', [(5, 2, 3), (5, 1, 1)], {"b": 6}),
    ('type: "ContrastiveLoss"', [(5, 4), (5, 4, 1, 1), (5, 1)], {"c": 2}),
]


@pytest.mark.parametrize(("body", "shapes", "integers"), VARYING)
def test_the_batch_may_vary(body, shapes, integers):
    names = "abc"[: len(shapes)]
    batched = [s[0] == 5 for s in shapes]
    opened = {n: (None, *s[1:]) for n, s, b in zip(names, shapes, batched, strict=True) if b}
    net = make(one_layer(body, *shapes), inputs=opened)
    larger = [(8, *s[1:]) if b else s for s, b in zip(shapes, batched, strict=True)]
    other = make(one_layer(body, *larger))
    feeds = feed(other, integers=integers)
    feeds["a"] = np.abs(feeds["a"])
    assert_close(run_onnx(net, feeds)["y"], other.forward(feeds)["y"])


REFUSED = [
    ('type: "EuclideanLoss"', [(3, 4), (3, 5)], r"same dimension: \(3, 4\) and \(3, 5\)"),
    ('type: "EuclideanLoss"', [(3, 4, 1, 2, 1), (3, 8)], "4 axes at most"),
    ('type: "SmoothL1Loss"', [(3, 4), (3, 5)], r"same dimension: \(3, 4\) and \(3, 5\)"),
    ('type: "SmoothL1Loss"', [(3, 4, 2), (3, 8)], r"same dimension: \(3, 4, 2\) and \(3, 8\)"),
    ('type: "SmoothL1Loss"', [(3, 4), (2, 4)], "first dimension: 3 and 2"),
    ('type: "EuclideanLoss"', [(), ()], "axis 0 out of range"),
    ('type: "HingeLoss"', [(3, 4), (2,)], "same first dimension: 3 and 2"),
    ('type: "HingeLoss"', [(3, 4, 1, 2, 1), (3,)], "4 axes at most"),
    ('type: "MultinomialLogisticLoss"', [(3, 4), (3, 2)], "one label for each item"),
    ('type: "ContrastiveLoss"', [(3, 4), (3, 5), (3,)], "vectors of equal length"),
    ('type: "ContrastiveLoss"', [(3, 4, 2), (3, 4, 2), (3,)], "vectors of equal length"),
    ('type: "ContrastiveLoss"', [(3, 4), (3, 4), (3, 2)], "one label for each of 3 pairs"),
    ('type: "ContrastiveLoss"', [(3, 4), (3, 4), (2,)], "one label for each of 3 pairs"),
    ('type: "SigmoidCrossEntropyLoss"', [(3, 4), (3, 5)], "same count"),
]


@pytest.mark.parametrize(("body", "shapes", "message"), REFUSED)
def test_refused(body, shapes, message):
    with pytest.raises(ShapeError, match=f"layer 'l' .*{message}"):
        make(one_layer(body, *shapes))


@settings(max_examples=25)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    mode=st.sampled_from(MODES),
    ignore=st.sampled_from(["", "ignore_label: 0", "ignore_label: -1"]),
    flag=st.sampled_from(["true", "false"]),
    norm=st.sampled_from(["L1", "L2"]),
    seed=st.integers(0, 99),
)
def test_any_shape(shape, mode, ignore, flag, norm, seed):
    count, columns = shape[0], math.prod(shape[1:])
    param = f"loss_param {{ normalization: {mode} {ignore} }}"
    pairs = [(count, columns), (count, columns), (count,)]
    for body, bottoms, below in (
        (f'type: "SigmoidCrossEntropyLoss" {param}', [shape, shape], {"b": 2}),
        ('type: "EuclideanLoss"', [shape, shape], {}),
        ('type: "SmoothL1Loss"', [shape, shape], {}),
        (
            f'type: "HingeLoss" hinge_loss_param {{ norm: {norm} }}',
            [shape, (count,)],
            {"b": columns},
        ),
        ('type: "MultinomialLogisticLoss"', [shape, (count, 1)], {"b": columns}),
        (
            'type: "ContrastiveLoss" '
            f"contrastive_loss_param {{ legacy_version: {flag} margin: 2 }}",
            pairs,
            {"c": 2},
        ),
    ):
        text = one_layer(body, *bottoms)
        check_both(text, feeds=feed(make(text), seed, below))
