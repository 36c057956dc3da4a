"""Modules with gradients of their own: the values and the gradients of what they replace."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from google.protobuf import text_format

from caffe_compat.caffe_pb2 import LayerParameter
from caffe_compat.layers.families.softmax import SoftmaxWithLoss
from caffe_compat.training import large

from .cases import TRAIN, blobs, close, recorded, solver

torch = pytest.importorskip("torch")
modules = importlib.import_module("caffe_compat.training.torch_modules")
BY_NAME = {folder.name: folder for folder in TRAIN}


def both(module, own, x):
    """The output and the input's gradient of two modules."""
    results = []
    for each in (module, own):
        start = x.clone().requires_grad_()
        y = each(start)
        y.backward(torch.linspace(-1, 2, y.numel()).view(y.shape))
        results.append((y.detach(), start.grad))
    return results


@pytest.mark.parametrize("size", [1, 3, 5, 9])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_lrn(size, layout):
    numbers = torch.Generator().manual_seed(3)
    x = torch.randn((2, 4, 5, 3), generator=numbers).to(memory_format=layout)
    norm = torch.nn.LocalResponseNorm(size, alpha=0.3, beta=0.6, k=1.5)
    (y, dx), (own, own_dx) = both(norm, modules.LRN(norm), x)
    torch.testing.assert_close(own, y)
    torch.testing.assert_close(own_dx, dx)


@pytest.mark.parametrize("bias", [True, False])
def test_a_gradient_adds_up_in_memory_that_stays(bias):
    numbers = torch.Generator().manual_seed(3)
    x = torch.randn((3, 5), generator=numbers)
    linear = torch.nn.Linear(5, 2, bias=bias)
    own = modules.Linear(linear, large.Product(0, (2, 5), torch.empty, torch.matmul))
    (y, dx), (own_y, own_dx) = both(linear, own, x)
    torch.testing.assert_close(own_y, y)
    torch.testing.assert_close(own_dx, dx)
    places = set()
    for passes in (1, 3):
        linear.weight.grad = None
        for _ in range(passes):
            own(x).backward(torch.ones(3, 2))
        want = passes * x.sum(0).expand(2, 5)
        torch.testing.assert_close(linear.weight.grad, want)
        places.add(linear.weight.grad.data_ptr())
    assert len(places) == 1


@pytest.mark.parametrize("name", ["sgd_30", "adagrad_08", "adam_05", "sgd_24"])
def test_trainings_with_such_products_are_as_recorded(name, monkeypatch):
    monkeypatch.setattr(large, "_LARGE", 0)
    want = recorded(BY_NAME[name])
    trained = solver(BY_NAME[name], engine="torch")
    parts = trained.engine._run.module.modules()
    assert any(isinstance(part, modules.Linear) for part in parts)
    losses = np.array([trained.step(1).loss for _ in want["loss"]])
    assert close(losses, want["loss"], 1e-5)
    for blob, array in blobs(trained).items():
        if want[f"noise:{blob}"] <= 1e-4:
            assert close(array, want[f"w:{blob}"], 1e-4), blob


@pytest.mark.parametrize("mode", ["FULL", "VALID", "BATCH_SIZE", "NONE"])
@pytest.mark.parametrize("device", ["cpu", "meta"])  # any but the CPU takes torch's own
@pytest.mark.parametrize("shape, axis", [((2, 4, 5, 3), 1), ((2, 4, 5, 3), 2), ((6, 5, 1), 1)])
def test_softmax_with_loss(mode, shape, axis, device):
    layer = SoftmaxWithLoss(
        text_format.Parse(
            'name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "y" top: "loss" '
            f"softmax_param {{ axis: {axis} }} loss_param {{ normalization: {mode} }}",
            LayerParameter(),
        )
    )
    numbers = np.random.default_rng(0)
    x = numbers.standard_normal(shape).astype(np.float32)
    x.flat[0] = 300  # the others there have probabilities below FLT_MIN
    shape = tuple(n for i, n in enumerate(x.shape) if i != axis)
    y = numbers.integers(1, x.shape[axis], shape).astype(np.float32)
    scores = torch.from_numpy(x).requires_grad_()
    own = modules.SoftmaxWithLoss(layer, x.shape, torch.device(device))
    loss = own(scores, torch.from_numpy(y))
    loss.backward(torch.tensor(0.5))
    np.testing.assert_allclose(loss.item(), layer.forward(x, y), rtol=1e-6)
    dx, _ = layer.backward(np.float32(0.5), x, y)
    np.testing.assert_allclose(scores.grad.numpy(), dx, atol=1e-6 * np.abs(dx).max())


def test_the_train_net_takes_them():
    parts = list(solver(BY_NAME["adagrad_02"], engine="torch").engine._run.module.children())
    kinds = {type(part) for part in parts}
    assert {modules.LRN, modules.SoftmaxWithLoss} <= kinds
    assert modules.Linear not in kinds  # its products are small
