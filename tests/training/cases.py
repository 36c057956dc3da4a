"""Recorded trainings: their solvers, their batches, what real Caffe ended with."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import h5py
import numpy as np

from caffe_compat.training import parameters
from caffe_compat.training.solver import Solver

from ..cases import GOLDEN

ENGINES = ("numpy", "torch") if importlib.util.find_spec("torch") else ("numpy",)
TRAIN = sorted((GOLDEN / "train").iterdir())
MORE = sorted((GOLDEN / "train_more").iterdir())
LOGS = GOLDEN / "train_logs"
STATES = GOLDEN / "train_states"

_LAYER = re.compile(
    r'type: "HDF5Data" ((?:top: "\w+" )+).*?hdf5_data_param { source: "data.txt" batch_size: (\d+)'
)


class Rows:
    """What an HDF5Data layer reads: rows in order, from the start again behind the last."""

    def __init__(self, folder: Path, layer: int = 0) -> None:
        found = _LAYER.findall((folder / "net.prototxt").read_text())
        tops, size = found[min(layer, len(found) - 1)]
        with h5py.File(folder / "data.h5") as file:
            self._rows = {top: file[top][()] for top in re.findall(r'"(\w+)"', tops)}
        self._size, self._at = int(size), 0

    def __iter__(self):
        return self

    def __next__(self):
        count = len(next(iter(self._rows.values())))
        index = [(self._at + i) % count for i in range(self._size)]
        self._at = (self._at + self._size) % count
        return {top: rows[index].astype(np.float32) for top, rows in self._rows.items()}

    def state(self) -> bytes:
        """The row that comes next."""
        return str(self._at).encode()

    def restore(self, state: bytes) -> None:
        """Go to that row."""
        self._at = int(state)


def solver(folder, changes=None, prefix=None, **options):
    """The solver of a recorded training, some of its fields changed."""
    p = parameters.read(folder / "solver.prototxt")
    for name, value in (changes or {}).items():
        setattr(p, name, value)
    p.snapshot_prefix = str(prefix) if prefix else p.snapshot_prefix
    tests = [Rows(folder, layer + 1) for layer in range(len(p.test_iter))]
    options = {"data": Rows(folder), "test_data": tests, "device": "cpu", **options}
    return Solver(p, folder=folder, **options)


def recorded(folder):
    """What real Caffe recorded: arrays by name."""
    with np.load(folder / "out.npz") as file:
        return dict(file)


def blobs(trained: Solver):
    """The parameter blobs as the recordings name them, `conv1:0`."""
    return {
        f"{layer}:{i}": array
        for layer, arrays in trained.net.params.items()
        for i, array in enumerate(arrays.values())
    }


def close(got, want, tolerance):
    """Whether arrays agree to a share of the largest wanted value."""
    scale = max(float(np.abs(want).max(initial=0)), 1e-30)
    return float(np.abs(got - want.reshape(got.shape)).max(initial=0)) <= tolerance * scale
