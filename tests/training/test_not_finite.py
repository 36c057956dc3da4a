"""Trainings that diverge end in one clear error, and in no warning of numpy's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from google.protobuf import text_format

from caffe_compat.caffe_pb2 import SolverParameter
from caffe_compat.errors import CaffeCompatError
from caffe_compat.training.solver import Solver

from .cases import ENGINES

NET = """
layer { name: "in" type: "Input" top: "x" top: "label" input_param {
  shape { dim: 6 dim: 2 dim: 8 dim: 7 } shape { dim: 6 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "c" convolution_param {
  num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" }
layer { name: "sc" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }
layer { name: "relu" type: "PReLU" bottom: "c" top: "c" }
layer { name: "more" type: "Power" bottom: "c" top: "p" power_param { power: 2 } }
layer { name: "sum" type: "Eltwise" bottom: "c" bottom: "p" top: "s" }
layer { name: "ip" type: "InnerProduct" bottom: "s" top: "y" inner_product_param {
  num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "label" top: "loss" }
"""
SOLVER = """
base_lr: 1e20 lr_policy: "fixed" weight_decay: 0.1 random_seed: 3 display: 1 max_iter: 30
snapshot_after_train: false
"""
TYPES = ("SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam")


def solver(kind, engine, factor=1.0, **fields):
    p = text_format.Parse(SOLVER, SolverParameter())
    p.type = kind
    if kind not in ("AdaGrad", "RMSProp"):
        p.momentum = 0.9
    for name, value in fields.items():
        setattr(p, name, value)
    text_format.Parse(NET, p.net_param)
    numbers = np.random.default_rng(0)
    x = (factor * numbers.standard_normal((6, 2, 8, 7))).astype(np.float32)
    feeds = {"x": x, "label": numbers.integers(0, 3, 6).astype(np.float32)}
    data = itertools.repeat(feeds)
    return Solver(p, data=data, engine=engine, device="cpu", log=lambda line: None)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", TYPES)
def test_a_rate_that_is_too_high(kind, engine):
    with pytest.raises(
        CaffeCompatError, match=r"^iteration \d+: the loss is (nan|-?inf), first at"
    ):
        solver(kind, engine).step(30)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "fields",
    [
        {"clip_gradients": 1e30},
        {"iter_size": 3},
        {"regularization_type": "L1"},
        {"debug_info": True},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_whatever_the_solver_does_on_the_way(fields, engine):
    with pytest.raises(CaffeCompatError, match="the loss is"):
        solver("SGD", engine, **fields).step(30)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("factor", [np.nan, np.inf])
def test_inputs_that_are_not_finite(factor, engine):
    with pytest.raises(CaffeCompatError, match="iteration 0: the loss is nan, first at layer 'in'"):
        solver("SGD", engine, factor).step(1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("passes", [1, 2])
def test_losses_whose_sum_alone_is_infinite(passes, engine):
    p = text_format.Parse(SOLVER, SolverParameter())
    p.base_lr, p.weight_decay, p.iter_size, p.average_loss = 0, 0, passes, 3
    text_format.Parse(
        'layer { name: "in" type: "Input" top: "x" top: "y" input_param { '
        "shape { dim: 2 dim: 3 } shape { dim: 2 dim: 3 } } } "
        'layer { name: "scale" type: "Scale" bottom: "x" top: "s" } '
        'layer { name: "loss" type: "EuclideanLoss" bottom: "s" bottom: "y" top: "loss" '
        "loss_weight: 2e38 }",
        p.net_param,
    )
    ones = np.ones((2, 3), np.float32)
    data = itertools.repeat({"x": ones, "y": ones + 0.9})
    trained = Solver(p, data=data, engine=engine, device="cpu", log=lambda line: None)
    if passes == 1:  # the mean of several is as finite as they are
        trained.step(5)
        assert 2e38 < trained.smoothed_loss < 3e38
        return
    with pytest.raises(CaffeCompatError, match=r"^iteration 0: the loss is inf"):
        trained.step(1)
