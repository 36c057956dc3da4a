"""Nets that train and test on what their own data layers read."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from caffe_compat import Solver
from caffe_compat.errors import CaffeCompatError, ParseError, UnsupportedError
from caffe_compat.fillers.rng import make_rng
from caffe_compat.prototxt.phase import select
from caffe_compat.training import parameters
from caffe_compat.training.log import Log
from caffe_compat.training.readers import Readers

from ..cases import GOLDEN
from .cases import MORE, TRAIN, blobs, close, recorded

pytest.importorskip("cv2")

CASES = sorted((GOLDEN / "train_data").iterdir())
needs_data = pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)


def solver(folder, prefix=None, **changes):
    """The solver of a case, on its own data layers."""
    p = parameters.read(folder / "solver.prototxt")
    for name, value in changes.items():
        setattr(p, name, value)
    if prefix is not None:
        p.snapshot_prefix = str(prefix)
    return Solver(p, folder=folder)


@needs_data
def test_losses_tests_and_weights_are_those_of_real_caffe(folder):
    want = recorded(folder)
    trained, scores = solver(folder), []
    test = trained.test
    trained.test = lambda index=0: scores.append(test(index)) or scores[-1]
    for name, array in blobs(trained).items():
        np.testing.assert_array_equal(array, want[f"init:{name}"].reshape(array.shape))
    losses = np.array([trained.step(1).loss for _ in want["loss"]])
    assert close(losses, want["loss"], 1e-5)
    trained.test_all()
    tested = np.array([[score["accuracy"], score["loss"]] for score in scores], np.float32)
    np.testing.assert_allclose(tested, want["test"], rtol=1e-5)
    for name, array in blobs(trained).items():
        assert close(array, want[f"w:{name}"], 1e-4), name


@needs_data
@pytest.mark.parametrize("at", [5, 8])
def test_a_training_that_goes_on_ends_in_the_same_bits(folder, at, tmp_path):
    through = solver(folder)
    through.step(14)
    before = solver(folder, tmp_path / "snap")
    before.step(at)
    _, state = before.snapshot()
    after = solver(folder, tmp_path / "snap")
    after.step(2)  # reads on, and draws, before it is told where it was
    after.restore(state)
    after.step(14 - at)
    for name, array in blobs(through).items():
        np.testing.assert_array_equal(blobs(after)[name], array)
    scores = [each.test()["loss"] for each in (through, after)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("folder", [*TRAIN[:3], *MORE[:3]], ids=lambda folder: folder.name)
def test_hdf5_layers_read_their_files(folder):
    want = recorded(folder)
    trained = solver(folder)
    losses = np.array([trained.step(1).loss for _ in want["loss"]])
    assert close(losses, want["loss"], 1e-5)


def test_the_current_folder_comes_first(tmp_path, monkeypatch):
    folder = GOLDEN / "train_data" / "lmdb_crop_mirror"
    lines = []
    Solver(folder / "solver.prototxt", log=lines.append)
    assert any(line.endswith(f"Opened lmdb {folder / 'train_lmdb'}") for line in lines)
    shutil.copytree(folder / "train_lmdb", tmp_path / "train_lmdb")
    monkeypatch.chdir(tmp_path)
    lines.clear()
    Solver(folder / "solver.prototxt", log=lines.append)
    assert any(line.endswith("db_lmdb.cpp:0] Opened lmdb train_lmdb") for line in lines)
    assert any(line.endswith(f"Opened lmdb {folder / 'test_lmdb'}") for line in lines)


def test_a_missing_source_names_net_layer_and_path(tmp_path):
    folder = GOLDEN / "train_data" / "images_shuffled"
    for name in ("net.prototxt", "solver.prototxt"):
        shutil.copy(folder / name, tmp_path / name)
    match = r"net file: .*net\.prototxt: layer 'data' \(ImageData\): mean_file 'mean.binaryproto': "
    with pytest.raises(ParseError, match=match):
        solver(tmp_path)


def test_a_damaged_record_ends_the_training_with_its_key(tmp_path, caplog):
    folder = tmp_path / "case"
    shutil.copytree(GOLDEN / "train_data" / "images_shuffled", folder)
    (folder / "images" / "07.png").write_bytes(b"no image")
    trained = solver(folder, test_initialization=False, test_interval=100)
    with pytest.raises(
        CaffeCompatError, match=r"layer 'data' \(ImageData\): .*train\.txt: line 8: "
    ):
        trained.step(12)
    going = Solver(trained.param, folder=folder, skip_bad=True)
    going.step(12)
    assert ["line 8" in record.message for record in caplog.records] == [True]


MEMORY = """
layer { name: "m" type: "MemoryData" top: "data" top: "label"
  memory_data_param { batch_size: 2 channels: 1 height: 2 width: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def test_arrays_of_a_memory_data_layer_are_the_caller_s(tmp_path):
    (tmp_path / "net.prototxt").write_text(MEMORY)
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" random_seed: 1 '
        "snapshot_after_train: false"
    )
    match = r"layer 'm' \(MemoryData\): reads no file; give its batches as data"
    with pytest.raises(UnsupportedError, match=match):
        Solver(tmp_path / "solver.prototxt")
    batch = {"data": np.ones((2, 1, 2, 2), np.float32), "label": np.zeros(2, np.float32)}
    trained = Solver(tmp_path / "solver.prototxt", data=[batch])
    assert trained.step(1).loss > 2 * trained.step(20).loss


def test_ranks_share_the_records_out(tmp_path):
    folder = GOLDEN / "train_data" / "lmdb_crop_mirror"
    p = parameters.read(folder / "solver.prototxt")
    source = parameters.train_net(p, folder)
    net = select(source.net, source.net.state.phase, 0)
    seed = p.random_seed

    def labels(rank, ranks, passes):
        first = make_rng("boost-1.64", seed) if rank else None
        readers = Readers(folder, Log(None), rank=rank, ranks=ranks, first=first)
        with readers.open(net, make_rng("boost-1.64", seed + rank), "data") as batches:
            return np.concatenate([next(batches)["label"] for _ in range(passes)])

    whole = labels(0, 1, 4)
    np.testing.assert_array_equal(labels(0, 2, 2), whole[0::2])
    np.testing.assert_array_equal(labels(1, 2, 2), whole[1::2])
