"""A net at changing shapes: when it is rebuilt, and how many sessions that costs."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError
from caffe_compat.runtime import reshaping
from caffe_compat.runtime.reshaping import Reshaping

from ..cases import make

NET = """
input: "data" input_shape { dim: 2 dim: 3 dim: 7 dim: 5 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "relu" }
"""


@pytest.fixture
def net():
    return make(NET)


def answer(reshaping, x, blob="relu"):
    reshaping.fit({"data": x})
    value = reshaping.net.graph.blob(blob)
    return reshaping.run({"data": x}, [value])[0]


def test_the_first_change_rebuilds_and_the_second_opens_axes(net, monkeypatch):
    opened = []
    session = reshaping.Session
    monkeypatch.setattr(
        reshaping, "Session", lambda *arguments: opened.append(1) or session(*arguments)
    )
    runner, rng = Reshaping(net), np.random.default_rng(0)
    dims, sessions = [], []
    for size in ((7, 5), (8, 6), (9, 7), (12, 11), (6, 9)):
        x = rng.standard_normal((2, 3, *size), np.float32)
        y = answer(runner, x)
        want = make(NET, inputs={"data": x.shape}).forward({"data": x})["relu"]
        np.testing.assert_allclose(y, want, atol=1e-5)
        dims.append(runner.net.graph.inputs[0].dims)
        sessions.append(len(opened))
    assert dims[:3] == [(2, 3, 7, 5), (2, 3, None, None), (2, 3, None, None)]
    assert sessions == [1, 2, 2, 2, 2]


def test_sessions_are_kept_by_outputs_up_to_a_limit(net, monkeypatch):
    monkeypatch.setattr(reshaping, "_SESSIONS", 1)
    runner, x = Reshaping(net), np.ones((2, 3, 7, 5), np.float32)
    for blob in ("relu", "conv", "relu"):
        answer(runner, x, blob)
        assert len(runner._sessions) == 1


def test_other_parameters_give_other_outputs(net):
    runner, x = Reshaping(net), np.ones((2, 3, 7, 5), np.float32)
    before = answer(runner, x, "conv")
    runner.change(1, [2 * net.arrays[1][0]])
    np.testing.assert_allclose(answer(runner, x, "conv"), 2 * before, rtol=1e-6)
    with pytest.raises(ShapeError, match=r"layer 'conv' .*has 2 blobs, and got 3"):
        runner.change(1, [np.zeros(1)] * 3)
    with pytest.raises(ShapeError, match=r"weight is \(4, 3, 3, 3\), and got \(5,\)"):
        runner.change(1, [np.zeros(5)])


def test_a_missing_input_is_named(net):
    with pytest.raises(ShapeError, match="input 'data' is not set"):
        Reshaping(net).fit({})
