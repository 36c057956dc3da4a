"""`training.optimizer`: the Solver's own weights from a loop of one's own."""

from __future__ import annotations

import copy
import importlib

import numpy as np
import pytest

from caffe_compat.caffe_pb2 import SolverParameter
from caffe_compat.errors import ShapeError
from caffe_compat.net.net import Net
from caffe_compat.training import optimizer, scheduler

from .cases import TRAIN, Rows, blobs, close, solver

torch = pytest.importorskip("torch")
torch_engine = importlib.import_module("caffe_compat.training.torch_engine")
BY_NAME = {folder.name: folder for folder in TRAIN}
# All six rules, all seven policies, L1 and L2, clipping and iter_size.
NAMES = (
    "sgd_00", "sgd_24", "sgd_30", "nesterov_19", "adagrad_08", "rmsprop_09", "rmsprop_21",
    "adadelta_10", "adam_05", "adam_29",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_of_the_solver(name, monkeypatch):
    from caffe_compat.torch import to_torch

    # Else the solver's module has its images in oneDNN's order, and other roundings; so have the
    # modules that train faster.
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    monkeypatch.setattr(torch_engine, "replace", lambda *arguments: [])
    folder = BY_NAME[name]
    trained = solver(folder, engine="torch")
    module = to_torch(Net(trained.net.graph, copy.deepcopy(trained.net.arrays)))
    p = trained.param
    own = optimizer(module, p)
    policy = scheduler(own)
    rows = Rows(folder)
    for _ in range(10):
        own.zero_grad()
        for _ in range(p.iter_size):
            batch = {blob: torch.from_numpy(array) for blob, array in next(rows).items()}
            module.total_loss(module(**batch)).backward()
        assert own.param_groups[0]["lr"] == trained.lr * own.param_groups[0]["lr_mult"]
        own.step()
        policy.step()
        trained.step(1)
    net = module.to_net()
    for name, array in blobs(trained).items():
        layer, _, i = name.rpartition(":")
        assert close([*net.params[layer].values()][int(i)], array, 1e-5), name


def test_a_state_goes_on(tmp_path):
    parameter = torch.nn.Linear(3, 2)
    p = SolverParameter(type="Adam", base_lr=0.1, lr_policy="exp", gamma=0.9, momentum=0.9)

    def run(module, own, policy, count):
        for _ in range(count):
            own.zero_grad()
            module(torch.ones(4, 3)).square().sum().backward()
            own.step()
            policy.step()

    whole = copy.deepcopy(parameter)
    own = optimizer(whole, p)
    run(whole, own, scheduler(own), 6)
    half = copy.deepcopy(parameter)
    own = optimizer(half, p)
    policy = scheduler(own)
    run(half, own, policy, 3)
    torch.save([half.state_dict(), own.state_dict(), policy.state_dict()], tmp_path / "x.pt")
    again = torch.nn.Linear(3, 2)
    own = optimizer(again, p)
    policy = scheduler(own)
    states = torch.load(tmp_path / "x.pt", weights_only=False)
    for each, state in zip((again, own, policy), states, strict=True):
        each.load_state_dict(state)
    run(again, own, policy, 3)
    np.testing.assert_array_equal(again.weight.detach(), whole.weight.detach())


def test_what_caffe_checks():
    with pytest.raises(ShapeError, match="iter_size must be at least 1"):
        optimizer(torch.nn.Linear(1, 1), SolverParameter(lr_policy="fixed", iter_size=0))
