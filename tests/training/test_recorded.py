"""Trainings that real Caffe recorded: the start, the losses, the weights."""

from __future__ import annotations

import numpy as np
import pytest

from .cases import ENGINES, MORE, TRAIN, blobs, close, recorded, solver

NOISE = 1e-4  # above, a second run of real Caffe on another BLAS kernel ended elsewhere

# Where one activation or one gradient is zero but for its rounding, that decides. oneDNN's
# convolutions sum in another order than Caffe's im2col and product, which torch has too.
ROUNDING_DECIDES = {"adagrad_02", "rmsprop_27"}


@pytest.fixture(params=ENGINES)
def engine(request):
    """The engine, on one thread, as Caffe's were recorded: more sum in another order."""
    if request.param != "torch":
        yield request.param
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield request.param
    torch.set_num_threads(threads)


@pytest.mark.parametrize("folder", [*TRAIN, *MORE], ids=lambda folder: folder.name)
def test_losses_and_weights(folder, engine, monkeypatch):
    if engine == "torch" and folder.name in ROUNDING_DECIDES:
        import torch

        monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    want = recorded(folder)
    trained = solver(folder, engine=engine)
    for name, array in blobs(trained).items():
        np.testing.assert_array_equal(array, want[f"init:{name}"].reshape(array.shape))
    losses = np.array([trained.step(1).loss for _ in want["loss"]])
    assert close(losses, want["loss"], 1e-5)
    compared = 0
    for name, array in blobs(trained).items():
        if want[f"noise:{name}"] <= NOISE:
            assert close(array, want[f"w:{name}"], 1e-4), name
            compared += 1
    assert compared or folder.name == "adagrad_02"  # the losses alone


def test_no_more_than_twenty_blobs_are_too_noisy_to_compare():
    noise = [v for folder in TRAIN for k, v in recorded(folder).items() if k.startswith("noise:")]
    assert sum(float(v) > NOISE for v in noise) <= 20 < 300 < len(noise)


@pytest.mark.parametrize("folder", MORE, ids=lambda folder: folder.name)
def test_gradients_are_what_was_subtracted(folder, engine):
    want = recorded(folder)
    trained = solver(folder, engine=engine)
    trained.step(len(want["loss"]))
    names = {layer: list(arrays) for layer, arrays in trained.net.params.items()}
    for layer, grads in trained.gradients.items():
        for name, grad in grads.items():
            key = f"{layer}:{names[layer].index(name)}"
            if want[f"noise:{key}"] <= NOISE and want[f"diff:{key}"].any():
                assert close(grad, want[f"diff:{key}"], 5e-4), key
