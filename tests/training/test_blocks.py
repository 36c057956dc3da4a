"""Updates in blocks: as a GPU takes them, the same as one by one."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from .cases import TRAIN, blobs, close, recorded, solver

torch = pytest.importorskip("torch")
torch_engine = importlib.import_module("caffe_compat.training.torch_engine")
torch_blocks = importlib.import_module("caffe_compat.training.torch_blocks")
BY_NAME = {folder.name: folder for folder in TRAIN}
# All six rules, L1 and L2, clipping, iter_size.
NAMES = ("sgd_24", "sgd_30", "nesterov_19", "adagrad_08", "rmsprop_21", "adadelta_10", "adam_05")


@pytest.mark.parametrize("name", NAMES)
def test_bundles_train_as_recorded(name, monkeypatch):
    monkeypatch.setattr(torch_engine, "cut", torch_blocks.bundle)
    want = recorded(BY_NAME[name])
    trained = solver(BY_NAME[name], engine="torch")
    losses = np.array([trained.step(1).loss for _ in want["loss"]])
    assert close(losses, want["loss"], 1e-5)
    for name, array in blobs(trained).items():
        if want[f"noise:{name}"] <= 1e-4:
            assert close(array, want[f"w:{name}"], 1e-4), name


def test_the_arithmetic_of_a_bundle():
    numbers = torch.Generator().manual_seed(3)
    a, b = ([torch.rand(n, generator=numbers) - 0.5 for n in (5, 1, 7)] for _ in range(2))
    x, y = torch_blocks.Bundle(a), torch_blocks.Bundle(b)
    both = list(zip(a, b, strict=True))
    results = {
        "add": (x + y, [p + q for p, q in both]),
        "shift": (x + 0.5, [p + 0.5 for p in a]),
        "subtract": (x - y, [p - q for p, q in both]),
        "scale": (2.0 * x, [2 * p for p in a]),
        "product": (x * y, [p * q for p, q in both]),
        "ratio": (x / y, [p / q for p, q in both]),
        "root": ((x * x) ** 0.5, [p.abs() for p in a]),
        "cube": (x**3, [p**3 for p in a]),
        "signs": ((x > 0) * 1.0 - (x < 0) * 1.0, [p.sign() for p in a]),
    }
    for name, (got, want) in results.items():
        for p, q in zip(got.tensors, want, strict=True):
            torch.testing.assert_close(p, q, msg=name)
    torch.testing.assert_close(x.sum(), sum(p.sum() for p in a))
    x[...] = y
    x -= y
    assert not any(p.any() for p in a)  # in place
