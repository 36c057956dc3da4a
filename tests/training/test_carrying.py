"""Recurrent layers that go on from the state of the pass before, by torch as by numpy."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from google.protobuf import text_format

from caffe_compat.caffe_pb2 import SolverParameter
from caffe_compat.errors import UnsupportedError
from caffe_compat.training.carrying import expose
from caffe_compat.training.feeding import Rows
from caffe_compat.training.solver import Solver

from .cases import ENGINES, blobs, close

STEPS, STREAMS = 4, 3
NET = """
name: "recurrent"
layer { name: "in" type: "Input" top: "x" top: "cont" top: "label" input_param {
  shape { dim: 4 dim: 3 dim: 5 } shape { dim: 4 dim: 3 } shape { dim: 4 dim: 3 } } }
layer { name: "rec" type: "%s" bottom: "x" bottom: "cont" top: "h" recurrent_param {
  num_output: 6 weight_filler { type: "uniform" min: -0.4 max: 0.4 } } }
layer { name: "score" type: "InnerProduct" bottom: "h" top: "score" inner_product_param {
  num_output: 2 axis: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss"
  softmax_param { axis: 2 } }
"""
SOLVER = """
type: "SGD" base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 random_seed: 3 max_iter: 40
test_iter: 3 test_interval: 100 snapshot_after_train: false
"""


def rows(ends=(0, 1)):
    numbers = np.random.default_rng(4)
    steps = 7 * STEPS
    return Rows(
        {
            "x": numbers.standard_normal((steps, STREAMS, 5)),
            "cont": numbers.choice(ends, (steps, STREAMS), p=(0.2, 0.8)),
            "label": numbers.integers(0, 2, (steps, STREAMS)),
        },
        STEPS,
    )


def solver(kind, engine, ends=(0, 1), **options):
    p = text_format.Parse(SOLVER, SolverParameter())
    text_format.Parse(NET % kind, p.net_param)
    test = [rows(ends)]
    return Solver(p, data=rows(ends), test_data=test, engine=engine, device="cpu", **options)


@pytest.mark.parametrize("kind", ["LSTM", "RNN"])
def test_torch_trains_as_numpy_does(kind, caplog):
    pytest.importorskip("torch")
    with caplog.at_level(logging.WARNING, "caffe_compat"):
        ours, other = solver(kind, "torch"), solver(kind, "numpy")
    assert not caplog.records  # none runs in numpy
    for _ in range(20):
        assert ours.step(1).loss == pytest.approx(other.step(1).loss, rel=1e-5)
    for name, array in blobs(other).items():
        assert close(blobs(ours)[name], array, 1e-5), name
    # A test net goes on from its own last pass.
    for _ in range(2):
        assert float(ours.test()["loss"]) == pytest.approx(float(other.test()["loss"]), rel=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["LSTM", "RNN"])
def test_a_restored_training_goes_on_from_the_state(kind, engine, tmp_path):
    whole = solver(kind, engine)
    whole.param.snapshot_prefix = str(tmp_path / "snap")
    whole.step(9)
    whole.snapshot()
    whole.step(6)
    again = solver(kind, engine)
    again.restore(tmp_path / "snap_iter_9.solverstate")
    again.step(6)
    for name, array in blobs(whole).items():
        np.testing.assert_array_equal(blobs(again)[name], array)


def test_an_lstm_with_other_factors_than_0_and_1_trains_in_numpy_alone():
    """Caffe's gradient of the forget gate is the derivative for these alone."""
    pytest.importorskip("torch")
    solver("LSTM", "numpy", (0, 0.5)).step(1)
    solver("RNN", "torch", (0, 0.5)).step(1)
    ours = solver("LSTM", "torch", (0, 0.5))
    ours.test()  # without a gradient there is nothing to differ
    message = r"layer 'rec' \(LSTM\): 'cont' has values other than 0 and 1; engine='numpy'"
    with pytest.raises(UnsupportedError, match=message):
        ours.step(1)


def test_an_exposed_net_has_its_states_as_inputs_and_tops():
    net = solver("LSTM", "numpy").net
    exposed, carried = expose(net)
    (index,) = carried
    states = carried[index]
    assert [value.shape for value in states.entering.values()] == [(1, STREAMS, 6)] * 2
    assert list(states.entering) == list(net.graph.nodes[index].layer.state(*shapes(net, index)))
    assert exposed.graph.inputs == (*net.graph.inputs, *states.entering.values())
    assert exposed.graph.nodes[index].tops[1:] == tuple(states.leaving.values())
    assert not net.graph.nodes[index].layer.p.expose_hidden  # the caller's stays as it is


def shapes(net, index):
    return [value.shape for value in net.graph.nodes[index].bottoms]
