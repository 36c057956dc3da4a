"""CTCGreedyDecoder and ContinuationIndicator by loops, Lstm beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, check_both, check_gradients, check_varying, feed, make, one_layer


@pytest.mark.parametrize(
    "param", ["", "blank_index: -1", "blank_index: 2 ctc_merge_repeated: false"]
)
@pytest.mark.parametrize("tail", [(), (1,)])
def test_decoder_by_loops(param, tail):
    text = one_layer(f'type: "CTCGreedyDecoder" ctc_decoder_param {{ {param} }}', (11, 3, 4, *tail))
    x = feed(make(text))["a"]
    x[1] = x[0]  # repetitions
    x[6:9] = x[5]
    blank = {"": 0, "blank_index: -1": 3}.get(param, 2)
    want = np.full((3, 11, 1, 1), -1, np.float32)
    for n in range(3):
        labels, last = [], -1
        for t in range(11):
            best = int(np.argmax(x[t, n].ravel()))
            if best != blank and not (best == last and "false" not in param):
                labels.append(best)
            last = best
        assert 0 < len(labels) < 11
        want[n, : len(labels), 0, 0] = labels
    assert np.array_equal(check_both(text, feeds={"a": x})["y"], want)


def edits(a, b):
    """Return the edit distance, by its recursion."""
    if not a or not b:
        return len(a) + len(b)
    rest = edits(a[:-1], b[:-1]) + (a[-1] != b[-1])
    return min(edits(a[:-1], b) + 1, edits(a, b[:-1]) + 1, rest)


def collapsed(rows, blank):
    """Return the labels of each row of best classes."""
    return [
        [int(c) for i, c in enumerate(row) if c != blank and (i == 0 or c != row[i - 1])]
        for row in rows
    ]


@pytest.mark.parametrize("tail", [(), (1, 1)])
def test_decoder_as_accuracy(tail):
    param = "ctc_decoder_param { blank_index: 2 }"
    text = one_layer(f'type: "CTCGreedyDecoder" {param}', (6, 5, 4), (5, 4, *tail))
    x = feed(make(text))["a"]
    decoded = collapsed(x.argmax(axis=2).T, 2)
    rows = np.full((5, 4), 2, np.float32)
    rows[0, : len(decoded[0])] = decoded[0][:4]  # right
    rows[1] = [1, 2, -1, 3]  # 1 alone
    rows[2] = [0, 2, 2, 1]
    rows[3] = [3, 3, 3, 0]
    x[:, 4] = [0, 0, 1, 0]  # nothing read, nothing wanted
    decoded[4] = []
    wanted = [decoded[0], [1], [0, 1], [3, 3, 3, 0], []]
    distances = [edits(a, b) / max(len(a), len(b), 1) for a, b in zip(decoded, wanted, strict=True)]
    got = make(text).forward({"a": x, "b": rows.reshape(5, 4, *tail)})["y"]
    assert got.shape == (1, 2, 1, 1)
    np.testing.assert_allclose(got.ravel(), [1 - sum(distances) / 5, 1 / 5], 1e-6)
    with pytest.raises(UnsupportedError, match="no ONNX form with labels"):
        lower(make(text))


@pytest.mark.parametrize("tail", [(), (1,)])
@pytest.mark.parametrize("width", [3, 8])
def test_whole_sequences(tail, width):
    param = "labelsequence_accuracy_param { blank_label: 1 }"
    text = one_layer(f'type: "LabelsequenceAccuracy" {param}', (5, 6, 4, *tail), (5, width))
    x = feed(make(text), seed=2)["a"]
    x[3, :, 1] += 9  # nothing read
    decoded = collapsed(x.reshape(5, 6, 4).argmax(axis=2), 1)
    rows = np.ones((5, width), np.float32)
    for n in (0, 1, 3):
        rows[n, : len(decoded[n])] = decoded[n][:width]
    rows[4, 0] = 3
    right = sum(decoded[n] == [int(c) for c in rows[n] if c != 1] for n in range(5))
    assert 0 < right < 5
    got = check_both(text, feeds={"a": x, "b": rows})["y"]
    np.testing.assert_allclose(got, right / 5, 1e-6)


def test_indicators():
    param = "continuation_indicator_param { time_step: 3 batch_size: 2 }"
    text = one_layer(f'type: "ContinuationIndicator" {param}', (3, 2, 5))
    assert check_both(text)["y"].tolist() == [[0, 0], [1, 1], [1, 1]]
    with pytest.raises(ShapeError, match="must be positive"):
        make(one_layer('type: "ContinuationIndicator"', (3, 2, 5)))


@pytest.mark.parametrize("axis", [1, -2])
def test_indicators_of_the_bottoms_batch(axis):
    param = f"continuation_indicator_param {{ time_step: 3 axis: {axis} %s }}"
    text = one_layer(f'type: "ContinuationIndicator" {param}', (7, 2, 5))
    assert check_both(text % "")["y"].tolist() == [[0, 0], [1, 1], [1, 1]]
    check_varying(text % "", {"a": (7, None, 5)}, [{"a": (7, 4, 5)}])
    with pytest.raises(ShapeError, match="of two forks"):
        make(text % "batch_size: 2")


LSTM = (
    'type: "Lstm" lstm_param { num_output: 6 weight_filler { type: "gaussian" std: 0.5 } '
    'bias_filler { type: "gaussian" } %s }'
)


def test_lstm_as_torch():
    """PyTorch's gates are i f g o where Caffe's are i f o g."""
    torch = pytest.importorskip("torch")
    text = one_layer(LSTM % "", (5, 3, 7))
    net = make(text)
    arrays = [torch.from_numpy(a) for a in net.arrays[-1]]
    reference = torch.nn.LSTM(7, 6)

    def reorder(x):
        i, f, o, g = torch.chunk(x, 4)
        return torch.cat([i, f, g, o])

    with torch.no_grad():
        reference.weight_ih_l0.copy_(reorder(arrays[0]))
        reference.weight_hh_l0.copy_(reorder(arrays[1]))
        reference.bias_ih_l0.copy_(reorder(arrays[2]))
        reference.bias_hh_l0.zero_()
        want, _ = reference(torch.from_numpy(feed(net)["a"]))
    assert_close(check_both(text)["y"], want.numpy(), axis=None)
    check_gradients(text)


def test_lstm_with_indicators():
    """A 0 starts anew: as the sequences before and behind it each alone."""
    text = one_layer(LSTM % "", (5, 3, 7), (5, 3))
    x = feed(make(text))["a"]
    cont = np.ones((5, 3), np.float32)
    cont[0] = cont[2] = 0
    whole = check_both(text, feeds={"a": x, "b": cont})["y"]
    parts = [
        make(one_layer(LSTM % "", part.shape)).forward({"a": part})["y"] for part in (x[:2], x[2:])
    ]
    assert_close(whole, np.concatenate(parts), axis=None)


@pytest.mark.parametrize(
    ("body", "shapes", "error", "words"),
    [
        ('type: "CTCGreedyDecoder"', [(5, 3, 4), (5, 3), (5, 3)], UnsupportedError, "to one top"),
        ('type: "CTCGreedyDecoder"', [(5, 3)], ShapeError, "steps, streams"),
        (LSTM % "", [(5, 3)], ShapeError, "3 axes"),
        (LSTM % "", [(5, 3, 7), (4, 3)], ShapeError, "one indicator"),
    ],
)
def test_refused(body, shapes, error, words):
    with pytest.raises(error, match=words):
        make(one_layer(body, *shapes))


def test_clipped_gradients_are_refused():
    net = make(one_layer(LSTM % "clipping_threshold: 1", (5, 3, 7)))
    values = net.run(feed(net))
    with pytest.raises(UnsupportedError, match="clipping_threshold"):
        net.backward(values, {"y": np.ones((5, 3, 6), np.float32)})
