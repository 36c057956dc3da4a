"""The losses of sequences beside a sum over every alignment."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, make, one_layer

DEEPDETECT = "ctc_loss_param { alphabet_size: 4 time_step: 5 blank_label: %d }"
TRAIN = "use_ctc_loss: true warpctc_loss_param { alphabet_size: 4 time_step: 5 blank_label: %d }"
OCR = "ctc_loss_param { blank_index: %d }"
FORKS = {"CtcLoss": DEEPDETECT, "CtcLoss ": TRAIN, "WarpCTCLoss": OCR}


def text_of(kind, blank, x=(5, 6, 4), y=(6, 3)):
    return one_layer(f'type: "{kind.strip()}" {FORKS[kind] % blank}', x, y)


def collapse(path, blank):
    """Return the labels of an alignment: repetitions once, blanks out."""
    steps = [c for i, c in enumerate(path) if i == 0 or c != path[i - 1]]
    return [c for c in steps if c != blank]


def by_enumeration(x, rows, blank):
    """Return each stream's cost and its gradient, from all 4^5 alignments."""
    x = x.astype(np.float64)
    shares = np.exp(x) / np.exp(x).sum(axis=2, keepdims=True)
    costs, grads = np.zeros(x.shape[1]), np.zeros_like(x)
    for n in range(x.shape[1]):
        labels = [int(c) for c in rows[n].ravel() if c != blank]
        total, present = 0.0, np.zeros((len(x), x.shape[2]))
        for path in product(range(x.shape[2]), repeat=len(x)):
            if collapse(path, blank) != labels:
                continue
            chance = np.prod([shares[t, n, c] for t, c in enumerate(path)])
            total += chance
            for t, c in enumerate(path):
                present[t, c] += chance
        if total:
            costs[n] = -np.log(total)
            grads[:, n] = shares[:, n] - present / total
    return costs, grads


def example(blank, y=(6, 3)):
    """Return scores of 6 streams: plain, with a repetition, too long for 5 steps, and empty."""
    one, two, three = [c for c in range(4) if c != blank]
    rows = [
        [one, two, blank],
        [two, two, three],
        [three, blank, one],
        [one, one, one],
        [blank, blank, blank],
        [three, blank, blank],
    ]
    x = np.random.default_rng(4).standard_normal((5, 6, 4)).astype(np.float32)
    return x, np.array(rows, np.float32).reshape(y)


@pytest.mark.parametrize("kind", FORKS)
@pytest.mark.parametrize("blank", [0, 3])
def test_every_alignment(kind, blank):
    net = make(text_of(kind, blank))
    x, y = example(blank)
    costs, grads = by_enumeration(x, y, blank)
    np.testing.assert_allclose(net.forward({"a": x, "b": y})["y"], costs.mean(), 1e-5)
    dx, _ = net.graph.nodes[-1].layer.backward(np.float32(3), x, y)
    assert_close(dx, grads * (1 if kind == "WarpCTCLoss" else 3), axis=None)


def test_a_sequence_that_is_too_long():
    """Three equal labels need two blanks: five steps are enough, four are not."""
    text = text_of("CtcLoss", 0).replace("time_step: 5", "time_step: 4")
    x, y = example(0)
    rows = np.repeat(y[3:4], 6, axis=0)
    layer = make(text).graph.nodes[-1].layer
    assert layer.forward(x, rows) == 0
    assert not layer.backward(np.float32(1), x, rows)[0].any()
    assert make(text_of("CtcLoss", 0)).graph.nodes[-1].layer.forward(x, rows) > 0


def test_steps_behind_time_step_do_not_count():
    text = text_of("CtcLoss", 0).replace("time_step: 5", "time_step: 4")
    x, y = example(0)
    costs, grads = by_enumeration(x[:4], y, 0)
    layer = make(text).graph.nodes[-1].layer
    np.testing.assert_allclose(layer.forward(x, y), costs.mean(), 1e-5)
    dx, _ = layer.backward(np.float32(1), x, y)
    assert_close(dx[:4], grads, axis=None)
    assert not dx[4].any()


def test_scores_with_a_last_axis_of_one():
    x, y = example(0, (6, 3, 1))
    net = make(text_of("CtcLoss", 0, (5, 6, 4, 1), (6, 3, 1)))
    want = by_enumeration(x, y, 0)[0].mean()
    np.testing.assert_allclose(net.forward({"a": x[..., None], "b": y})["y"], want, 1e-5)


@pytest.mark.parametrize(
    ("kind", "shapes", "words"),
    [
        ("CtcLoss", [(5, 6, 3), (6, 3)], "alphabet_size 4"),
        ("CtcLoss", [(4, 6, 4), (6, 3)], "time_step 5"),
        ("WarpCTCLoss", [(5, 6, 4, 2), (6, 3)], "steps, streams, classes"),
        ("WarpCTCLoss", [(5, 6, 4), (5, 3)], r"labels \(6, at most L\)"),
    ],
)
def test_refused_shapes(kind, shapes, words):
    with pytest.raises(ShapeError, match=words):
        make(text_of(kind, 0, *shapes))


def test_refused_labels():
    x, _ = example(0)
    net = make(text_of("CtcLoss", 0))
    with pytest.raises(ShapeError, match="label 4 is outside the 4 classes"):
        net.forward({"a": x, "b": np.full((6, 3), 4, np.float32)})
    with pytest.raises(ShapeError, match="no label but blanks"):
        net.forward({"a": x, "b": np.zeros((6, 3), np.float32)})


def test_refused_forms():
    with pytest.raises(UnsupportedError, match="no ONNX form"):
        lower(make(text_of("CtcLoss", 0)))
    with pytest.raises(UnsupportedError, match="supports 2 bottoms"):
        make(one_layer('type: "WarpCTCLoss"', (5, 6, 4), (5, 6), (5, 6)))
