"""CTCGreedyDecoder and ContinuationIndicator by loops, Lstm beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

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
        ('type: "CTCGreedyDecoder"', [(5, 3, 4), (5, 3)], UnsupportedError, "accuracy"),
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
