"""`run --feed`: a net on arrays."""

from __future__ import annotations

import numpy as np

from .models import CIFAR, MODEL


def test_features_of_arrays(run, folder):
    with np.load(CIFAR / "io.npz") as io:
        np.save(folder / "data.npy", io["in:data"])
        want = io["out:prob"]
    status, _, _ = run(
        "run",
        *MODEL,
        "--feed",
        f"data={folder / 'data.npy'}",
        "--blob",
        "prob,ip1",
        "--out",
        folder / "f",
        "--format",
        "npz",
    )
    assert status == 0
    with np.load(folder / "f" / "outputs.npz") as made:
        assert sorted(made) == ["ip1", "prob"]
        np.testing.assert_allclose(made["prob"], want, atol=1e-5)
