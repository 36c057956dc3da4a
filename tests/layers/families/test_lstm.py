"""LSTMUnit, and the LSTM as steps of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError

from ...cases import assert_close, check_both, check_gradients, feed, make, run_onnx
from .test_recurrent import CONTS, feeds_of, text

UNIT = """
    layer {{ name: "in" type: "Input" top: "c" top: "x" top: "cont" input_param {{
        shape {{ {c} }} shape {{ {x} }} shape {{ {cont} }} }} }}
    layer {{ name: "l" type: "LSTMUnit" bottom: "c" bottom: "x" bottom: "cont"
             top: "cn" top: "hn" }}"""


def unit(c=(1, 3, 5), x=(1, 3, 20), cont=(1, 3)):
    dims = {
        name: " ".join(f"dim: {n}" for n in shape)
        for name, shape in (("c", c), ("x", x), ("cont", cont))
    }
    return UNIT.format(**dims)


@pytest.mark.parametrize("cont", [[[0, 1, 1]], [[0.5, 1.5, 0]]])
def test_lstm_unit(cont):
    feeds = {**feed(make(unit())), "cont": np.array(cont, np.float32)}
    check_both(unit(), feeds=feeds)


def test_lstm_unit_gradients():
    feeds = {**feed(make(unit())), "cont": np.array([[0, 1, 1]], np.float32)}
    check_gradients(unit(), feeds=feeds, blobs=["c", "x"])


def test_lstm_unit_far_from_zero():
    feeds = feed(make(unit()))
    feeds = {**feeds, "x": 200 * feeds["x"], "cont": np.array([[0, 1, 1]], np.float32)}
    net = make(unit())
    want = net.forward(feeds)
    for name, array in run_onnx(net, feeds).items():
        # Below -18 onnxruntime's Sigmoid is 0 where it should be up to 1e-8, beside gates of 1.
        assert_close(array, want[name], what=name, axis=None)


def test_an_lstm_is_steps_of_lstm_unit():
    prototxt = text("LSTM")
    net, feeds = make(prototxt), feeds_of(prototxt, CONTS["resets"])
    weights, biases, recurrent = net.arrays[-1]
    step = make(unit((1, 3, 4), (1, 3, 16), (1, 3)))
    h = c = np.zeros((1, 3, 4), np.float32)
    want = net.forward(feeds)["y"]
    for t, cont in enumerate(feeds["cont"]):
        gates = feeds["x"][t] @ weights.T + biases + (cont[:, None] * h[0]) @ recurrent.T
        out = step.forward({"c": c, "x": gates[None], "cont": cont[None]})
        h, c = out["hn"], out["cn"]
        assert_close(h[0], want[t], 1e-6)


@pytest.mark.parametrize(
    ("prototxt", "message"),
    [
        (unit(cont=(1, 4)), "the same streams"),
        (unit(x=(1, 3, 19)), "4 x 5 wide, and are 19"),
        (unit((2, 3, 5), (2, 3, 20), (2, 3)), "one step"),
        (unit(cont=(1, 3, 1)), "3, 3 and 2 axes"),
    ],
)
def test_refused(prototxt, message):
    with pytest.raises(ShapeError, match=f"layer 'l' .*{message}"):
        make(prototxt)


@settings(max_examples=15)
@given(streams=st.integers(1, 5), hidden=st.integers(1, 5), seed=st.integers(0, 99))
def test_any_shape(streams, hidden, seed):
    one_step = unit((1, streams, hidden), (1, streams, 4 * hidden), (1, streams))
    check_both(one_step, feeds=feed(make(one_step), seed, {"cont": 2}))
