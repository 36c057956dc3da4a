"""Softmax, the losses and Accuracy beyond the golden cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, check_both, check_gradients, feed, make, run_onnx


def text(body, *shapes, tops=("y",)):
    """A layer on inputs a, b, c of these shapes."""
    names = "abc"[: len(shapes)]
    lines = []
    for name, shape in zip(names, shapes, strict=True):
        dims = " ".join(f"dim: {n}" for n in shape)
        lines.append(
            f'layer {{ name: "{name}" type: "Input" top: "{name}" '
            f"input_param {{ shape {{ {dims} }} }} }}"
        )
    ends = " ".join([*(f'bottom: "{n}"' for n in names), *(f'top: "{t}"' for t in tops)])
    return "\n".join([*lines, f'layer {{ name: "l" {ends} {body} }}'])


def ops(*args, **kwargs):
    return [node.op_type for node in lower(make(text(*args, **kwargs))).model.graph.node]


MODES = ["FULL", "VALID", "BATCH_SIZE", "NONE"]
# (layer, shapes of the bottoms, {bottom: number of classes})
LOSSES = [
    ('type: "SoftmaxWithLoss"', [(5, 4), (5,)], {"b": 4}),
    ('type: "SoftmaxWithLoss" softmax_param { axis: -1 }', [(5, 3, 4), (5, 3)], {"b": 4}),
    ('type: "SoftmaxWithLoss" softmax_param { axis: 2 }', [(5, 3, 4, 2), (5, 6)], {"b": 4}),
    ('type: "SoftmaxWithLoss" loss_weight: 0.5', [(2, 4, 3, 5), (2, 1, 3, 5)], {"b": 4}),
    *[
        (f'type: "SoftmaxWithLoss" loss_param {{ {field} }}', [(2, 4, 3, 5), (2, 3, 5)], {"b": 4})
        for field in (
            *[f"normalization: {m}" for m in MODES],
            *[f"normalization: {m} ignore_label: 1" for m in MODES],
            "normalize: true",
            "normalize: false",
            "normalize: false ignore_label: 3",
        )
    ],
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
INFOGAIN = [
    ('type: "InfogainLoss"', [(5, 4), (5,), (4, 4)]),
    ('type: "InfogainLoss" infogain_loss_param { axis: -1 }', [(5, 3, 4), (5, 3), (16,)]),
    *[
        (
            f'type: "InfogainLoss" loss_param {{ normalization: {m} ignore_label: 1 }}',
            [(5, 4, 2, 3), (5, 6), (1, 1, 4, 4)],
        )
        for m in MODES
    ],
]


@pytest.mark.parametrize(("body", "shapes", "integers"), LOSSES)
def test_numpy_and_onnxruntime_agree(body, shapes, integers):
    check_both(text(body, *shapes), integers=integers)


@pytest.mark.parametrize(("body", "shapes", "integers"), LOSSES)
def test_gradients_are_the_differences(body, shapes, integers):
    # Caffe's 1e-4 beside the distance of a dissimilar pair is within the tolerance.
    check_gradients(text(body, *shapes), integers=integers)


def test_smooth_l1_by_hand():
    feeds = {"a": np.float32([[0.5, -3], [1, 0]]), "b": np.float32([[0, 0], [0, 0.25]])}
    made = check_both(text('type: "SmoothL1Loss"', (2, 2), (2, 2)), feeds=feeds)
    assert made["y"] == np.float32((0.125 + 2.5 + 0.5 + 0.03125) / 2)


@pytest.mark.parametrize(("body", "shapes"), INFOGAIN)
def test_infogain(body, shapes):
    both = text(body, *shapes)
    check_both(both, integers={"b": 4})
    check_gradients(both, integers={"b": 4}, blobs=["a"])


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_softmax(axis):
    body = f'type: "Softmax" softmax_param {{ axis: {axis} }}'
    made = check_both(text(body, (3, 4, 5)))
    assert_close(made["y"].sum(axis=axis), np.ones_like(made["y"].sum(axis=axis)))
    check_gradients(text(body, (3, 4, 5)))
    assert ops(body, (3, 4, 5)) == ["Softmax"]


def test_softmax_runs_in_place():
    body = 'layer { name: "s" type: "Softmax" bottom: "y" top: "y" }'
    check_both(text('type: "Power" power_param { shift: 1 }', (3, 4)) + body)


@pytest.mark.parametrize("shapes", [[(5, 4), (5,)], [(2, 3, 4, 1), (2, 1, 4)]])
def test_multinomial_logistic_loss(shapes):
    body = 'type: "MultinomialLogisticLoss"'
    shapes = [shapes[0], (shapes[0][0], 1)]
    given = feed(make(text(body, *shapes)), integers={"b": 4})
    given["a"] = np.abs(given["a"]) + np.float32(0.1)
    given["a"][0] = 0  # below the threshold, where Caffe's logarithm stops
    check_both(text(body, *shapes), feeds=given)
    given["a"][0] = 1
    check_gradients(text(body, *shapes), feeds=given, blobs=["a"])


def test_the_second_top_is_the_probabilities():
    given = text('type: "SoftmaxWithLoss" loss_weight: [1, 0]', (5, 4), (5,), tops=("y", "p"))
    made = check_both(given, integers={"b": 4})
    assert_close(made["p"].sum(axis=1), np.ones(5))
    check_both(
        text('type: "InfogainLoss" loss_weight: [1, 0]', (5, 4), (5,), (4, 4), tops=("y", "p")),
        integers={"b": 4},
    )


def test_gradients_at_the_probabilities_are_dropped_as_in_caffe():
    net = make(text('type: "SoftmaxWithLoss" loss_weight: [1, 0]', (5, 4), (5,), tops=("y", "p")))
    values = net.run(feed(net, integers={"b": 4}))
    plain, _ = net.backward(values, {"y": np.float32(1)})
    more, _ = net.backward(values, {"y": np.float32(1), "p": np.ones((5, 4), np.float32)})
    np.testing.assert_array_equal(plain["a"], more["a"])


@pytest.mark.parametrize("ignore", [-1, 255])
def test_an_ignored_label_may_be_no_class(ignore):
    labels = np.array([0, ignore, 3, ignore, 1], np.float32)
    for layer in ("SoftmaxWithLoss", "InfogainLoss"):
        shapes = [(5, 4), (5,)] + [(4, 4)] * (layer == "InfogainLoss")
        given = text(f'type: "{layer}" loss_param {{ ignore_label: {ignore} }}', *shapes)
        check_both(given, feeds={**feed(make(given)), "b": labels})
    given = text(
        f'type: "Accuracy" accuracy_param {{ ignore_label: {ignore} }}',
        (5, 4),
        (5,),
        tops=("y", "z"),
    )
    check_both(given, feeds={**feed(make(given)), "b": labels})


@pytest.mark.parametrize("mode", MODES)
def test_all_labels_ignored_is_no_loss_and_no_gradient(mode):
    given = text(
        f'type: "SoftmaxWithLoss" loss_param {{ ignore_label: 2 normalization: {mode} }}',
        (5, 4),
        (5,),
    )
    net = make(given)
    feeds = {**feed(net), "b": np.full(5, 2, np.float32)}
    assert check_both(given, feeds=feeds)["y"] == 0
    grads, _ = net.backward(net.run(feeds), {"y": np.float32(1)})
    assert not grads["a"].any()


def test_a_probability_of_zero_costs_log_flt_min():
    given = text('type: "SoftmaxWithLoss"', (2, 3), (2,))
    scores = np.array([[0, 200, 0], [0, 0, 300]], np.float32)
    made = check_both(given, feeds={"a": scores, "b": np.zeros(2, np.float32)})
    assert made["y"] == pytest.approx(-np.log(np.finfo(np.float32).tiny))


def test_labels_are_cut_to_whole_numbers():
    given = text('type: "SoftmaxWithLoss"', (3, 4), (3,))
    scores = feed(make(given))["a"]
    cut = check_both(given, feeds={"a": scores, "b": np.array([1.9, -0.5, 3], np.float32)})
    whole = check_both(given, feeds={"a": scores, "b": np.array([1, 0, 3], np.float32)})
    assert cut["y"] == whole["y"]


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_that_no_class_has_is_refused(label):
    net = make(text('type: "SoftmaxWithLoss"', (3, 4), (3,)))
    with pytest.raises(ShapeError, match=rf"layer 'l' .*label {label} is outside the 4 classes"):
        net.forward({**feed(net), "b": np.array([0, label, 1], np.float32)})


@pytest.mark.parametrize("top_k", [1, 2, 4])
@pytest.mark.parametrize("ignore", ["", "ignore_label: 1"])
@pytest.mark.parametrize(
    ("axis", "shapes"), [(1, [(3, 4, 2, 5), (3, 1, 2, 5)]), (-1, [(3, 5, 4), (3, 5)])]
)
def test_accuracy(axis, shapes, ignore, top_k):
    body = f'type: "Accuracy" accuracy_param {{ top_k: {top_k} axis: {axis} {ignore} }}'
    for tops in (("y",), ("y", "z")):
        given = text(body, *shapes, tops=tops)
        feeds = feed(make(given), integers={"b": 4})
        feeds["a"] = np.round(2 * feeds["a"])  # many ties
        check_both(given, feeds=feeds)


def test_a_tie_counts_against_the_label():
    given = text('type: "Accuracy"', (2, 3), (2,))
    scores = np.array([[1, 1, 0], [2, 1, 1]], np.float32)
    assert check_both(given, feeds={"a": scores, "b": np.zeros(2, np.float32)})["y"] == 0.5


def test_accuracy_has_no_backward_pass():
    net = make(text('type: "Accuracy"', (2, 3), (2,)))
    values = net.run(feed(net, integers={"b": 3}))
    with pytest.raises(UnsupportedError, match=r"layer 'l' \(Accuracy\): has no backward pass"):
        net.backward(values, {"y": np.float32(1)})


def test_a_loss_without_a_top_gets_one():
    net = make(text('type: "EuclideanLoss" loss_weight: 3', (2, 3), (2, 3), tops=()))
    assert [v.shape for v in net.graph.nodes[-1].tops] == [()]
    assert not net.graph.outputs  # as in Caffe: nobody can name it
    grads, _ = net.backward(net.run(feed(net)), {})
    assert_close(grads["a"], -grads["b"])


def test_the_lowering_is_what_one_writes_by_hand():
    assert ops('type: "SoftmaxWithLoss"', (5, 4, 3), (5, 3)) == [
        "Softmax",
        "Unsqueeze",
        "Cast",
        "GatherElements",
        "Max",
        "Log",
        "ReduceMean",
        "Neg",
    ]
    assert ops('type: "EuclideanLoss"', (5, 4), (5, 4)) == [
        "Sub",
        "ReduceSumSquare",
        "ReduceMean",
        "Mul",
    ]


VARYING = [
    *LOSSES[:4],
    *[row for row in LOSSES if "ignore_label" in row[0] and "Softmax" in row[0]],
    ('type: "SigmoidCrossEntropyLoss"', [(5, 3, 2), (5, 6)], {"b": 2}),
    ('type: "EuclideanLoss"', [(5, 4, 2, 3), (5, 4, 6)], {}),
    ('type: "HingeLoss"', [(5, 2, 3), (5, 1)], {"b": 6}),
    ('type: "MultinomialLogisticLoss"', [(5, 2, 3), (5, 1, 1)], {"b": 6}),
    ('type: "ContrastiveLoss"', [(5, 4), (5, 4, 1, 1), (5, 1)], {"c": 2}),
    ('type: "InfogainLoss"', [(5, 4, 2), (5, 2), (4, 4)], {"b": 4}),
    ('type: "Accuracy" accuracy_param { ignore_label: 0 }', [(5, 4, 2), (5, 2)], {"b": 4}),
]


@pytest.mark.parametrize(("body", "shapes", "integers"), VARYING)
def test_the_batch_may_vary(body, shapes, integers):
    names = "abc"[: len(shapes)]
    batched = [s[0] == 5 for s in shapes]
    opened = {n: (None, *s[1:]) for n, s, b in zip(names, shapes, batched, strict=True) if b}
    net = make(text(body, *shapes), inputs=opened)
    larger = [(8, *s[1:]) if b else s for s, b in zip(shapes, batched, strict=True)]
    other = make(text(body, *larger))
    feeds = feed(other, integers=integers)
    feeds["a"] = np.abs(feeds["a"])
    assert_close(run_onnx(net, feeds)["y"], other.forward(feeds)["y"])


REFUSED = [
    ('type: "SoftmaxWithLoss"', [(3, 4), (4,)], "same first dimension: 3 and 4"),
    ('type: "SoftmaxWithLoss"', [(3, 4, 5), (3,)], "3 labels .* for 15 predictions"),
    ('type: "SoftmaxWithLoss" softmax_param { axis: 2 }', [(3, 4), (3,)], "axis 2 out of range"),
    ('type: "Softmax" softmax_param { axis: -3 }', [(3, 4)], "axis -3 out of range"),
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
    ('type: "InfogainLoss"', [(3, 4), (3,), (4, 5)], "H must be 4x4, and is"),
    ('type: "InfogainLoss"', [(3, 4), (3,)], "needs the infogain matrix"),
    ('type: "InfogainLoss" loss_param { normalize: true }', [(3, 4), (3,), (4, 4)], "deprecated"),
    ('type: "Accuracy" accuracy_param { top_k: 5 }', [(3, 4), (3,)], "top_k 5 .* classes, 4"),
    ('type: "Accuracy" accuracy_param { axis: 2 }', [(3, 4), (3,)], "axis 2 out of range"),
    ('type: "Accuracy"', [(3, 4, 2), (3,)], "3 labels .* for 6 predictions"),
]


@pytest.mark.parametrize(("body", "shapes", "message"), REFUSED)
def test_refused(body, shapes, message):
    with pytest.raises(ShapeError, match=f"layer 'l' .*{message}"):
        make(text(body, *shapes))


def test_the_infogain_file_is_not_read():
    body = 'type: "InfogainLoss" infogain_loss_param { source: "/etc/passwd" }'
    with pytest.raises(UnsupportedError, match=r"source '/etc/passwd'; feed H as a third bottom"):
        make(text(body, (3, 4), (3,)))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    axis=st.integers(1, 3),
    mode=st.sampled_from(MODES),
    ignore=st.sampled_from(["", "ignore_label: 0", "ignore_label: -1"]),
    seed=st.integers(0, 99),
)
def test_any_shape(shape, axis, mode, ignore, seed):
    axis = min(axis, len(shape) - 1)
    labels = [n for i, n in enumerate(shape) if i != axis]
    param = f"loss_param {{ normalization: {mode} {ignore} }}"
    classes = shape[axis]
    for body, bottoms in (
        (f'type: "SoftmaxWithLoss" softmax_param {{ axis: {axis} }} {param}', [labels]),
        (
            f'type: "InfogainLoss" infogain_loss_param {{ axis: {axis} }} {param}',
            [labels, (classes, classes)],
        ),
        (f'type: "Accuracy" accuracy_param {{ axis: {axis} {ignore} }}', [labels]),
        (f'type: "SigmoidCrossEntropyLoss" {param}', [shape]),
    ):
        given_text = text(body, shape, *bottoms)
        check_both(given_text, feeds=feed(make(given_text), seed, {"b": classes}))


@settings(max_examples=25)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    axis=st.integers(-2, 1),
    flag=st.sampled_from(["true", "false"]),
    norm=st.sampled_from(["L1", "L2"]),
    seed=st.integers(0, 99),
)
def test_any_shape_without_a_softmax_loss(shape, axis, flag, norm, seed):
    count, columns = shape[0], math.prod(shape[1:])
    for body, bottoms, below in (
        (f'type: "Softmax" softmax_param {{ axis: {axis} }}', [shape], {}),
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
            [(count, columns), (count, columns), (count,)],
            {"c": 2},
        ),
    ):
        given_text = text(body, *bottoms)
        check_both(given_text, feeds=feed(make(given_text), seed, below))
