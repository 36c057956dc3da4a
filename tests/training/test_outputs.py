"""HDF5Output in training: one pass's bottoms in a file."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe_compat import Solver
from caffe_compat.errors import CaffeCompatError, ShapeError, UnsupportedError

from .cases import ENGINES

NET = """
layer { name: "data" type: "DummyData" top: "x" top: "label" dummy_data_param {
  shape { dim: 3 dim: 2 } shape { dim: 3 }
  data_filler { type: "gaussian" } data_filler { type: "constant" value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "out" type: "HDF5Output" bottom: "y" bottom: "label"
  hdf5_output_param { file_name: "%s" } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "label" top: "loss" }
"""
FILE = Path("out.h5")
CAFFE = np.array(  # what real Caffe writes at seed 1701
    [[1.3271073, 1.648981], [-0.87595713, -0.4000578], [1.6797667, 1.2981565]], np.float32
).reshape(3, 2, 1, 1)
SOLVER = """
net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 3 random_seed: 1701
snapshot_after_train: false
"""


def solver(folder, file="out.h5", **options):
    (folder / "net.prototxt").write_text(NET % file)
    (folder / "solver.prototxt").write_text(SOLVER)
    return Solver(folder / "solver.prototxt", device="cpu", **options)


@pytest.fixture(autouse=True)
def current(tmp_path, monkeypatch):
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")


@pytest.mark.parametrize("engine", ENGINES)
def test_the_first_pass_is_written(engine, tmp_path):
    trained = solver(tmp_path, engine=engine)
    assert not FILE.exists()
    trained.step(1)
    with h5py.File(FILE) as file:
        assert list(file) == ["data", "label"]
        data, label = file["data"][()], file["label"][()]
    assert data.dtype == label.dtype == np.float32
    np.testing.assert_allclose(data, CAFFE, rtol=1e-6)
    np.testing.assert_array_equal(label, np.ones((3, 1, 1, 1)))


@pytest.mark.parametrize("engine", ENGINES)
def test_caffe_ends_at_the_second_pass(engine, tmp_path):
    trained = solver(tmp_path, engine=engine)
    trained.step(1)
    before = FILE.read_bytes()
    with pytest.raises(UnsupportedError, match=r"layer 'out' .*: 'out\.h5' has the rows"):
        trained.step(1)
    assert FILE.read_bytes() == before


def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(CaffeCompatError, match=r"layer 'out' \(HDF5Output\): nowhere/out.h5: "):
        solver(tmp_path, "nowhere/out.h5")
    with pytest.raises(ShapeError, match=r"layer 'out' \(HDF5Output\): gives no file_name"):
        solver(tmp_path, "")


def test_two_layers_do_not_write_one_file(tmp_path):
    net = NET % "out.h5"
    again = net[net.index('layer { name: "out"') : net.index('layer { name: "loss"')]
    (tmp_path / "net.prototxt").write_text(net + again.replace('"out"', '"again"'))
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    with pytest.raises(CaffeCompatError, match=r"out\.h5: is named for two outputs"):
        Solver(tmp_path / "solver.prototxt", engine="numpy")
