"""Which engine and device a solver trains on, and what they have in common."""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pytest
from google.protobuf import text_format

from caffe_compat.caffe_pb2 import SolverParameter
from caffe_compat.errors import CaffeCompatError, DeviceError
from caffe_compat.training import backends
from caffe_compat.training.solver import Solver

from .cases import ENGINES, MORE, TRAIN, solver

BY_NAME = {folder.name: folder for folder in (*TRAIN, *MORE)}
GPU = SolverParameter(solver_mode=SolverParameter.GPU, device_id=7)
torch_alone = pytest.mark.skipif("torch" not in ENGINES, reason="a test of the extra torch")


def test_names_that_are_not_known():
    with pytest.raises(CaffeCompatError, match="engine is 'jax'; it is 'auto', 'torch' or 'numpy'"):
        backends.choose(SolverParameter(), "jax")
    for device in ("gpu", "cuda:x", "cpu:0", "cuda:", "cuda:-1"):
        with pytest.raises(CaffeCompatError, match=f"device is '{device}'"):
            backends.place(SolverParameter(), "numpy", device)
    with pytest.raises(CaffeCompatError, match="amp is 'fp16'; it is 'bf16' or None"):
        backends.choose(SolverParameter(), amp="fp16")


def test_what_numpy_cannot_do():
    with pytest.raises(DeviceError, match="device cuda:1 needs the torch engine"):
        backends.place(SolverParameter(), "numpy", "cuda:1")
    with pytest.raises(DeviceError, match="amp bf16 needs the torch engine"):
        backends.choose(SolverParameter(), "numpy", amp="bf16")


def test_without_torch(monkeypatch, caplog):
    monkeypatch.setattr(backends, "_installed", lambda: False)
    install = r": python -m pip install 'caffe_compat\[torch\]'"
    with pytest.raises(DeviceError, match=f"engine torch needs PyTorch{install}"):
        backends.place(SolverParameter(), "torch")
    with pytest.raises(DeviceError, match=f"device cuda needs the torch engine{install}"):
        backends.place(SolverParameter(), "auto", "cuda")
    make, place = backends.choose(GPU)
    assert (make, place) == (backends.NumpyEngine, "cpu")
    assert "solver_mode is GPU; the numpy engine trains on the CPU" in caplog.text


@torch_alone
def test_the_device_of_the_solver(monkeypatch, caplog):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert backends.place(SolverParameter()) == "cpu"
    assert not caplog.text
    assert backends.place(GPU) == "cpu"
    assert "solver_mode is GPU, and there is none; trains on the CPU" in caplog.text
    with pytest.raises(DeviceError, match="device cuda:0: this machine has 0 GPUs"):
        backends.place(GPU, device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    caplog.set_level(logging.WARNING)
    assert backends.place(GPU) == "cuda:7"
    assert backends.place(GPU, device="cuda:2") == "cuda:2"
    assert backends.place(GPU, device="cpu") == "cpu"
    assert backends.place(SolverParameter(solver_mode=SolverParameter.CPU)) == "cpu"
    monkeypatch.setenv("LOCAL_RANK", "3")  # torchrun's
    assert backends.place(GPU) == "cuda:3"
    assert backends.place(GPU, device="cuda") == "cuda:3"


@torch_alone
def test_bfloat16():
    lines = []
    exact = solver(BY_NAME["sgd_18"], engine="torch")
    rounded = solver(BY_NAME["sgd_18"], engine="torch", amp="bf16", log=lines.append)
    assert any("Layers compute in bf16, the weights are float32." in line for line in lines)
    losses = [(exact.step(1).loss, rounded.step(1).loss) for _ in range(10)]
    errors = [abs(a - b) / a for a, b in losses]
    assert 1e-5 < max(errors) < 0.02
    assert {array.dtype for array in rounded.net.arrays[1]} == {np.dtype(np.float32)}


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_user_changes_counts(engine):
    """On a CPU the arrays of `net` are the engine's own."""
    trained = solver(BY_NAME["frozen"], engine=engine)
    before = trained.step(1).loss
    trained.net.params["score"]["bias"][...] = 5, 0, 0, 0, 0
    assert trained.step(1).loss > before + 1


@torch_alone
@pytest.mark.parametrize("name", ["bn_global_false_test", "lstm", "inplace_tanh_dropout", "shared"])
def test_debug_info_is_the_same(name):
    """Lines of both engines: the same words, and numbers to their rounding."""
    logs = {}
    for engine in ENGINES:
        lines = []
        changes = {"debug_info": True, "display": 1, "test_interval": 2}
        trained = solver(BY_NAME[name], changes, engine=engine, log=lines.append)
        trained.step(3)
        logs[engine] = [line.partition("] ")[2].split() for line in lines if "[" in line]
    assert len(logs["numpy"]) == len(logs["torch"]) > 20
    for mine, theirs in zip(*logs.values(), strict=True):
        assert len(mine) == len(theirs)
        for a, b in zip(mine, theirs, strict=True):
            if a != b:
                a, b = (float(each.strip("(),;")) for each in (a, b))
                assert abs(a - b) <= 2e-4 * max(abs(b), 1e-3), (mine, theirs)


@torch_alone
def test_a_shared_blob_that_one_layer_does_not_train():
    net = """
    layer { name: "in" type: "Input" top: "x" top: "t"
      input_param { shape { dim: 2 dim: 3 } shape { dim: 2 dim: 3 } } }
    layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" param { name: "w" lr_mult: 0 }
      inner_product_param { num_output: 3 bias_term: false weight_filler { type: "xavier" } } }
    layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" }
      inner_product_param { num_output: 3 bias_term: false } }
    layer { name: "loss" type: "EuclideanLoss" bottom: "b" bottom: "t" }"""
    p = text_format.Parse('base_lr: 1 lr_policy: "fixed"', SolverParameter())
    text_format.Parse(net, p.net_param)
    data = itertools.repeat({"x": np.ones((2, 3)), "t": np.zeros((2, 3))})
    Solver(p, data=data, engine="numpy").step(1)
    with pytest.raises(CaffeCompatError, match=r"'a' .*'weight' is shared, and has lr_mult 0 here"):
        Solver(p, data=data, engine="torch")
