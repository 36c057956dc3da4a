"""Large weights, updated while their gradient is computed: the same numbers as otherwise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from google.protobuf import text_format

from caffe_compat.caffe_pb2 import SolverParameter
from caffe_compat.errors import CaffeCompatError
from caffe_compat.training import large
from caffe_compat.training.solver import Solver
from caffe_compat.training.updates import RowUpdates

from .cases import ENGINES, TRAIN, blobs, close, recorded, solver

BY_NAME = {folder.name: folder for folder in TRAIN}
NET = """
layer { name: "in" type: "Input" top: "x" top: "label" input_param {
  shape { dim: 6 dim: 5 } shape { dim: 6 dim: 3 } } }
layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param {
  num_output: 7 weight_filler { type: "msra" } } }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" inner_product_param {
  num_output: 4 weight_filler { type: "msra" } bias_term: false } }
layer { name: "one" type: "InnerProduct" bottom: "b" top: "c" param { name: "w" }
  inner_product_param { num_output: 4 weight_filler { type: "msra" } bias_term: false } }
layer { name: "two" type: "InnerProduct" bottom: "c" top: "d" param { name: "w" }
  inner_product_param { num_output: 4 weight_filler { type: "msra" } bias_term: false } }
layer { name: "still" type: "InnerProduct" bottom: "d" top: "e" param { lr_mult: 0 }
  inner_product_param { num_output: 3 weight_filler { type: "msra" } bias_term: false } }
layer { name: "loss" type: "EuclideanLoss" bottom: "e" bottom: "label" top: "loss" }
"""
SOLVER = """
base_lr: 0.02 lr_policy: "step" gamma: 0.5 stepsize: 2 momentum: 0.9 weight_decay: 0.01
random_seed: 3 max_iter: 30 snapshot_after_train: false
"""


@pytest.fixture(params=ENGINES)
def engine(request, monkeypatch):
    """An engine to which every weight is large, with blocks of two rows or so."""
    monkeypatch.setattr(large, "_LARGE", 1)
    monkeypatch.setattr(large, "_BLOCK", 14)
    return request.param


def small(engine, scale=1.0, **fields):
    p = text_format.Parse(SOLVER, SolverParameter())
    for name, value in fields.items():
        setattr(p, name, value)
    text_format.Parse(NET, p.net_param)
    numbers = np.random.default_rng(0)
    x = scale * numbers.standard_normal((6, 5)).astype(np.float32)
    data = itertools.repeat({"x": x, "label": numbers.standard_normal((6, 3)).astype(np.float32)})
    return Solver(p, data=data, engine=engine, device="cpu")


def early(trained):
    """The layers whose weights a pass updates."""
    layers, engine = set(), trained.engine
    update = RowUpdates.update

    def note(self, index, start, grads):
        layers.add(engine.learnables[index].layer)
        update(self, index, start, grads)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RowUpdates, "update", note)
        trained.step(1)
    return layers


@pytest.mark.parametrize("name", ["sgd_00", "sgd_06", "sgd_12", "sgd_24", "sgd_30"])
def test_trainings_are_as_recorded(name, engine):
    want, trained = recorded(BY_NAME[name]), solver(BY_NAME[name], engine=engine)
    losses = np.array([trained.step(1).loss for _ in want["loss"]])
    assert close(losses, want["loss"], 1e-5)
    for blob, array in blobs(trained).items():
        if want[f"noise:{blob}"] <= 1e-4:
            assert close(array, want[f"w:{blob}"], 1e-4), blob


def test_weights_that_two_layers_use_or_that_do_not_learn_wait(engine):
    assert early(small(engine)) == {"a", "b"}


@pytest.mark.parametrize("again", [0, 1, 3])
def test_gradients_are_what_was_subtracted(again, engine, monkeypatch):
    trained = small(engine)
    trained.step(2)
    before = {name: array.copy() for name, array in blobs(trained).items()}
    trained.step(1)
    for layer, arrays in trained.gradients.items():
        for i, change in enumerate(arrays.values()):
            after = blobs(trained)[f"{layer}:{i}"]
            assert close(before[f"{layer}:{i}"] - after, change, 1e-4), layer
    for _ in range(again):  # Caffe's ApplyUpdate takes what it left as gradients
        trained.apply_update()
    monkeypatch.setattr(large, "_LARGE", 1 << 30)
    other = small(engine)
    other.step(3)
    for _ in range(again):
        other.apply_update()
    for blob, array in blobs(trained).items():
        assert close(array, blobs(other)[blob], 1e-6), blob


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "Adam"},
        {"type": "Nesterov"},
        {"clip_gradients": 1e-3},
        {"iter_size": 2},
        {"lr_policy": "plateau"},
        {"debug_info": True, "display": 1},
    ],
    ids=lambda fields: next(iter(fields.values())),
)
def test_where_the_whole_gradient_is_needed(fields, engine):
    assert not early(small(engine, **fields))


def test_callbacks_see_the_whole_gradient(engine):
    trained, sums = small(engine), []
    trained.add_callback(
        on_gradients=lambda: sums.append(np.abs(trained.gradients["a"]["weight"]).sum())
    )
    assert not early(trained) and sums[0] > 0


def test_a_loss_that_is_not_finite_changes_nothing(engine):
    trained = small(engine, scale=1e30)
    before = {name: array.copy() for name, array in blobs(trained).items()}
    with pytest.raises(CaffeCompatError, match="the loss is"):
        trained.step(1)
    for blob, array in blobs(trained).items():
        np.testing.assert_array_equal(array, before[blob])
