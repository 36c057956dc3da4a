"""Softmax, SoftmaxWithLoss and InfogainLoss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import (
    assert_close,
    check_both,
    check_gradients,
    feed,
    make,
    one_layer,
    operators,
    run_onnx,
)

MODES = ["FULL", "VALID", "BATCH_SIZE", "NONE"]


# A layer, its bottoms' shapes, {bottom: number of classes}
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
    check_both(one_layer(body, *shapes), integers=integers)


@pytest.mark.parametrize(("body", "shapes", "integers"), LOSSES)
def test_gradients(body, shapes, integers):
    check_gradients(one_layer(body, *shapes), integers=integers)


@pytest.mark.parametrize(("body", "shapes"), INFOGAIN)
def test_infogain(body, shapes):
    both = one_layer(body, *shapes)
    check_both(both, integers={"b": 4})
    check_gradients(both, integers={"b": 4}, blobs=["a"])


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_softmax(axis):
    body = f'type: "Softmax" softmax_param {{ axis: {axis} }}'
    made = check_both(one_layer(body, (3, 4, 5)))
    assert_close(made["y"].sum(axis=axis), np.ones_like(made["y"].sum(axis=axis)))
    check_gradients(one_layer(body, (3, 4, 5)))
    assert operators(one_layer(body, (3, 4, 5))) == ["Softmax"]  # stable, and in one pass


def test_softmax_runs_in_place():
    body = 'layer { name: "s" type: "Softmax" bottom: "y" top: "y" }'
    check_both(one_layer('type: "Power" power_param { shift: 1 }', (3, 4)) + body)


@pytest.mark.parametrize("weights", ["", "loss_weight: [1, 0]"])
def test_a_second_top_is_refused_as_in_caffe(weights):
    """Real Caffe aborts, with and without two loss weights: `top.size() == num_loss_weights`."""
    with pytest.raises(ShapeError, match=r"takes 1 top blob\(s\), and has 2"):
        make(one_layer(f'type: "SoftmaxWithLoss" {weights}', (5, 4), (5,), top=("y", "p")))


def test_infogain_has_its_probabilities_as_a_second_top_if_both_have_loss_weights():
    body, shapes = 'type: "InfogainLoss"', [(5, 4), (5,), (4, 4)]
    net = make(one_layer(f"{body} loss_weight: [2, 0]", *shapes, top=("y", "p")))
    feeds = feed(net, integers={"b": 4})
    values = net.run(feeds)
    assert_close(values["p"].sum(axis=1), np.ones(5))
    one = make(one_layer(f"{body} loss_weight: 2", *shapes))
    flows = [n.backward(n.run(feeds), {})[0]["a"] for n in (net, one)]
    np.testing.assert_array_equal(*flows)
    with pytest.raises(ShapeError, match="loss_weight for each of its 2 top"):
        make(one_layer(body, *shapes, top=("y", "p")))


@pytest.mark.parametrize("ignore", [-1, 255])
def test_an_ignored_label_may_be_no_class(ignore):
    labels = np.array([0, ignore, 3, ignore, 1], np.float32)
    for layer in ("SoftmaxWithLoss", "InfogainLoss"):
        shapes = [(5, 4), (5,)] + [(4, 4)] * (layer == "InfogainLoss")
        given = one_layer(f'type: "{layer}" loss_param {{ ignore_label: {ignore} }}', *shapes)
        check_both(given, feeds={**feed(make(given)), "b": labels})


@pytest.mark.parametrize("mode", MODES)
def test_all_labels_ignored_is_no_loss_and_no_gradient(mode):
    given = one_layer(
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
    given = one_layer('type: "SoftmaxWithLoss"', (2, 3), (2,))
    scores = np.array([[0, 200, 0], [0, 0, 300]], np.float32)
    made = check_both(given, feeds={"a": scores, "b": np.zeros(2, np.float32)})
    assert made["y"] == pytest.approx(-np.log(np.finfo(np.float32).tiny))


def test_labels_are_cut_to_whole_numbers():
    given = one_layer('type: "SoftmaxWithLoss"', (3, 4), (3,))
    scores = feed(make(given))["a"]
    cut = check_both(given, feeds={"a": scores, "b": np.array([1.9, -0.5, 3], np.float32)})
    whole = check_both(given, feeds={"a": scores, "b": np.array([1, 0, 3], np.float32)})
    assert cut["y"] == whole["y"]


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_that_no_class_has_is_refused(label):
    net = make(one_layer('type: "SoftmaxWithLoss"', (3, 4), (3,)))
    with pytest.raises(ShapeError, match=rf"layer 'l' .*label {label} is outside the 4 classes"):
        net.forward({**feed(net), "b": np.array([0, label, 1], np.float32)})


VARYING = [
    *LOSSES[:4],
    *[row for row in LOSSES if "ignore_label" in row[0]],
    ('type: "InfogainLoss"', [(5, 4, 2), (5, 2), (4, 4)], {"b": 4}),
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
    ('type: "SoftmaxWithLoss"', [(3, 4), (4,)], "same first dimension: 3 and 4"),
    ('type: "SoftmaxWithLoss"', [(3, 4, 5), (3,)], "3 labels .* for 15 predictions"),
    ('type: "SoftmaxWithLoss" softmax_param { axis: 2 }', [(3, 4), (3,)], "axis 2 out of range"),
    ('type: "Softmax" softmax_param { axis: -3 }', [(3, 4)], "axis -3 out of range"),
    ('type: "InfogainLoss"', [(3, 4), (3,), (4, 5)], "H must be 4x4, and is"),
    ('type: "InfogainLoss"', [(3, 4), (3,)], "needs the infogain matrix"),
    ('type: "InfogainLoss" loss_param { normalize: true }', [(3, 4), (3,), (4, 4)], "deprecated"),
]


@pytest.mark.parametrize(("body", "shapes", "message"), REFUSED)
def test_refused(body, shapes, message):
    with pytest.raises(ShapeError, match=f"layer 'l' .*{message}"):
        make(one_layer(body, *shapes))


def test_the_infogain_file_is_not_read():
    body = 'type: "InfogainLoss" infogain_loss_param { source: "/etc/passwd" }'
    with pytest.raises(UnsupportedError, match=r"'/etc/passwd' .* not opened here; feed H"):
        make(one_layer(body, (3, 4), (3,)))


@settings(max_examples=25)
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
        (f'type: "Softmax" softmax_param {{ axis: {axis} }}', []),
        (f'type: "SoftmaxWithLoss" softmax_param {{ axis: {axis} }} {param}', [labels]),
        (
            f'type: "InfogainLoss" infogain_loss_param {{ axis: {axis} }} {param}',
            [labels, (classes, classes)],
        ),
    ):
        text = one_layer(body, shape, *bottoms)
        check_both(text, feeds=feed(make(text), seed, {"b": classes}))
