"""Training on a GPU: the recorded trainings, snapshots, precision."""

from __future__ import annotations

import numpy as np
import pytest

from .cases import MORE, TRAIN, blobs, close, recorded, solver
from .test_recorded import NOISE, ROUNDING_DECIDES

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
BY_NAME = {folder.name: folder for folder in (*TRAIN, *MORE)}
FOLDERS = [folder for folder in (*TRAIN, *MORE) if folder.name not in ROUNDING_DECIDES]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_losses_and_weights(folder):
    want = recorded(folder)
    trained = solver(folder, device="cuda")
    losses = np.array([trained.step(1).loss for _ in want["loss"]])
    assert close(losses, want["loss"], 1e-4)
    for name, array in blobs(trained).items():
        if want[f"noise:{name}"] <= NOISE:
            assert close(array, want[f"w:{name}"], 1e-4), name


@pytest.mark.parametrize("rng", ["boost-1.64", "fast"])
@pytest.mark.parametrize("name", ["sgd_12", "adam_05", "nesterov_25", "lstm", "adagrad_08"])
def test_a_resumed_training_ends_in_the_same_bits(name, rng, tmp_path):
    options = {"device": "cuda", "rng": rng}
    whole = solver(BY_NAME[name], prefix=tmp_path / "whole", **options)
    whole.step(14)
    half = solver(BY_NAME[name], prefix=tmp_path / "half", **options)
    half.step(6)
    _, state = half.snapshot()
    again = solver(BY_NAME[name], {"random_seed": 99}, tmp_path / "again", **options)
    again.restore(state)
    again.step(8)
    for (key, a), b in zip(blobs(whole).items(), blobs(again).values(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=key)


def test_the_precision_of_torch_is_left_as_it_was():
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    solver(BY_NAME["sgd_18"], device="cuda").step(1)
    assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == before


def test_bfloat16():
    exact = solver(BY_NAME["sgd_18"], device="cuda")
    rounded = solver(BY_NAME["sgd_18"], device="cuda", amp="bf16")
    losses = [(exact.step(1).loss, rounded.step(1).loss) for _ in range(10)]
    assert 1e-5 < max(abs(a - b) / a for a, b in losses) < 0.03
