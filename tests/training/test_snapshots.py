"""Snapshots: a training goes on in the same bits, from ours and from real Caffe's states."""

from __future__ import annotations

import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from caffe_compat import weights
from caffe_compat.caffe_pb2 import SolverParameter, SolverState
from caffe_compat.errors import CaffeCompatError, WeightsError
from caffe_compat.training import snapshots
from caffe_compat.weights import solverstate

from .cases import ENGINES, MORE, STATES, TRAIN, Rows, blobs, close, recorded, solver

BINARY, HDF5 = SolverParameter.BINARYPROTO, SolverParameter.HDF5
BY_NAME = {folder.name: folder for folder in (*TRAIN, *MORE)}
CASES = ("sgd_30", "nesterov_19", "adagrad_08", "rmsprop_21", "adadelta_10", "adam_05")


def arrays(trained):
    return [np.array(trained.engine.numpy(a)) for a in trained.engine.params]


@pytest.mark.parametrize("name", [*CASES, "lstm", "rnn", "dummy_draws", "test_state"])
@pytest.mark.parametrize("form", [BINARY, HDF5])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rng", ["boost-1.64", "fast"])
def test_a_resumed_training_ends_in_the_same_bits(name, form, engine, rng, tmp_path):
    folder = BY_NAME[name]
    changes = {"snapshot_format": form, "display": 1}
    options = {"engine": engine, "rng": rng}
    whole = solver(folder, changes, tmp_path / "whole", **options)
    whole.step(14)
    half = solver(folder, changes, tmp_path / "half", **options)
    half.step(6)
    _, state = half.snapshot()
    lines = []
    changes["random_seed"] = 99
    again = solver(folder, changes, tmp_path / "again", log=lines.append, **options)
    again.restore(state)
    assert again.iter == 6
    again.step(8)
    for a, b in zip(arrays(whole), arrays(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any("Restoring previous solver status from" in line for line in lines)
    if whole.testers:
        for i in range(len(whole.testers)):
            mine, theirs = whole.test(i), again.test(i)
            assert {k: v.tolist() for k, v in mine.items()} == {
                k: v.tolist() for k, v in theirs.items()
            }


@pytest.mark.parametrize("suffix", ["", ".h5"])
@pytest.mark.parametrize("engine", ENGINES)
def test_real_caffes_state_is_gone_on_from(suffix, engine):
    folder = BY_NAME["adam_05"]
    want = recorded(folder)
    batches = Rows(folder)
    for _ in range(20 * 3):  # iter_size
        next(batches)
    trained = solver(folder, data=batches, engine=engine)
    trained.restore(STATES / f"snap_iter_20.solverstate{suffix}")
    losses = [trained.step(1).loss for _ in range(20)]
    assert close(np.array(losses), want["loss"][20:], 1e-5)
    for name, array in blobs(trained).items():
        if want[f"noise:{name}"] <= 1e-4:
            assert close(array, want[f"w:{name}"], 1e-4), name


def test_a_state_is_what_caffe_writes(tmp_path):
    """The same fields, of the same types: real Caffe goes on from ours."""
    trained = solver(BY_NAME["adam_05"], prefix=tmp_path / "ours")
    trained.step(20)
    _, path = trained.snapshot()
    ours, theirs = SolverState(), SolverState()
    ours.ParseFromString(path.read_bytes())
    theirs.ParseFromString((STATES / "snap_iter_20.solverstate").read_bytes())
    assert (ours.iter, ours.current_step) == (theirs.iter, theirs.current_step)
    assert [b.shape for b in ours.history] == [b.shape for b in theirs.history]
    for mine, their in zip(ours.history, theirs.history, strict=True):
        assert close(np.array(mine.data), np.array(their.data), 1e-4)
    assert not ours.HasField("minimum_loss")


def test_an_hdf5_state_is_what_caffe_writes(tmp_path):
    trained = solver(BY_NAME["adam_05"], {"snapshot_format": HDF5}, tmp_path / "ours")
    trained.step(20)
    _, path = trained.snapshot()
    with (
        h5py.File(path) as ours,
        h5py.File(STATES / "snap_iter_20.solverstate.h5") as theirs,
    ):
        assert set(theirs) <= set(ours)
        assert set(ours) - set(theirs) == {"caffe_compat"}
        assert list(ours["history"]) == list(theirs["history"])
        for name in ("iter", "current_step"):
            assert ours[name].dtype == theirs[name].dtype
            assert ours[name][()] == theirs[name][()]
        kind = ours["learned_net"].id.get_type()
        assert kind.get_strpad() == h5py.h5t.STR_NULLTERM
        assert kind.get_size() == len(f"{tmp_path / 'ours'}_iter_20.caffemodel.h5") + 1


@pytest.mark.parametrize("form", [BINARY, HDF5])
@pytest.mark.parametrize("engine", ENGINES)
def test_snapshot_diff(form, engine, tmp_path):
    changes = {"snapshot_diff": True, "snapshot_format": form}
    trained = solver(BY_NAME["shared"], changes, tmp_path / "s", engine=engine)
    trained.step(2)
    model, _ = trained.snapshot()
    grads = trained.gradients["c1"]["weight"]
    if form == HDF5:
        with h5py.File(model) as file:
            assert set(file["data/c1"]) == set(file["diff/c1"]) == {"0", "1"}
            assert not len(file["data/c2"])
            np.testing.assert_array_equal(file["diff/c2/0"][()], grads)  # shared or not
    else:
        from caffe_compat.caffe_pb2 import NetParameter

        net = NetParameter()
        net.ParseFromString(model.read_bytes())
        layers = {layer.name: layer for layer in net.layer}
        np.testing.assert_array_equal(np.array(layers["c2"].blobs[0].diff, "f"), grads.ravel())
    assert weights.read(model).shapes["c1"]


def test_paths_follow_prefix_and_format(tmp_path):
    p = SolverParameter(snapshot_prefix=f"{tmp_path}/x")
    assert [path.name for path in snapshots.paths(p, 7)] == [
        "x_iter_7.caffemodel",
        "x_iter_7.solverstate",
    ]
    p.snapshot_format = HDF5
    assert [path.name for path in snapshots.paths(p, 7)] == [
        "x_iter_7.caffemodel.h5",
        "x_iter_7.solverstate.h5",
    ]


def test_the_solver_takes_snapshots_as_caffe_does(tmp_path):
    trained = solver(BY_NAME["frozen"], {"snapshot": 2, "max_iter": 5}, tmp_path / "s")
    trained.param.snapshot_after_train = True
    trained.solve()
    steps = sorted(path.name for path in tmp_path.glob("*.solverstate"))
    assert steps == [f"s_iter_{n}.solverstate" for n in (2, 4, 5)]


def test_nothing_but_a_snapshot_is_replaced(tmp_path):
    trained = solver(BY_NAME["frozen"], prefix=tmp_path / "s")
    (tmp_path / "s_iter_0.caffemodel").write_text("my thesis")
    with pytest.raises(CaffeCompatError, match=r"s_iter_0.caffemodel: not a snapshot"):
        trained.snapshot()
    assert (tmp_path / "s_iter_0.caffemodel").read_text() == "my thesis"
    assert [path.name for path in tmp_path.iterdir()] == ["s_iter_0.caffemodel"]
    (tmp_path / "s_iter_0.caffemodel").unlink()
    trained.snapshot()
    trained.snapshot()  # over its own


def test_a_pair_is_of_one_training(tmp_path):
    first = solver(BY_NAME["frozen"], prefix=tmp_path / "a")
    first.snapshot()
    other = solver(BY_NAME["frozen"], {"random_seed": 5}, tmp_path / "b")
    other.snapshot()
    shutil.copy(tmp_path / "b_iter_0.caffemodel", tmp_path / "a_iter_0.caffemodel")
    with pytest.raises(WeightsError, match=r"not the weights that .* was written with"):
        first.restore(tmp_path / "a_iter_0.solverstate")


def test_weights_are_found_beside_a_state_that_moved(tmp_path):
    trained = solver(BY_NAME["frozen"], prefix=tmp_path / "s")
    trained.step(3)
    trained.snapshot()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in tmp_path.glob("s_iter_3*"):
        path.rename(moved / path.name)
    again = solver(BY_NAME["frozen"])
    again.restore(moved / "s_iter_3.solverstate")
    np.testing.assert_array_equal(arrays(again)[0], arrays(trained)[0])
    (moved / "s_iter_3.caffemodel").unlink()
    with pytest.raises(WeightsError, match=r"its weights, '.*s_iter_3.caffemodel', are not there"):
        again.restore(moved / "s_iter_3.solverstate")


def test_a_state_of_another_net_or_solver(tmp_path):
    trained = solver(BY_NAME["frozen"], prefix=tmp_path / "s")
    _, state = trained.snapshot()
    with pytest.raises(WeightsError, match=r"its history has 8 arrays, and a solver of type"):
        solver(BY_NAME["shared"]).restore(state)
    with pytest.raises(WeightsError, match=r"of type Adam for this net has 16"):
        solver(BY_NAME["frozen"], {"type": "Adam"}).restore(state)
    wider = tmp_path / "wider"
    shutil.copytree(BY_NAME["lstm"], wider)
    text = (wider / "net.prototxt").read_text()
    (wider / "net.prototxt").write_text(text.replace("num_output: 5", "num_output: 6"))
    _, state = solver(BY_NAME["lstm"], prefix=tmp_path / "s").snapshot()
    match = r"history of the blob 'W_xc' of layer 'rec' is \(20, 4\), and \(24, 4\) in this net"
    with pytest.raises(WeightsError, match=match):
        solver(wider).restore(state)


@pytest.mark.parametrize("data", [b"", b"\x89PNG....", b"not protobuf", b"\x12\x04abcd"])
def test_a_damaged_state(data, tmp_path):
    path = tmp_path / "x.solverstate"
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"x\.solverstate: not a solver state"):
        solverstate.read(path)


def test_a_damaged_hdf5_state(tmp_path):
    path = tmp_path / "x.solverstate.h5"
    with h5py.File(path, "w") as file:
        file["iter"] = np.array([3])
        file["history"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(WeightsError, match="a link that leads elsewhere"):
        solverstate.read(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 40)
    with pytest.raises(WeightsError, match="damaged"):
        solverstate.read(path)


KILLED = """
import sys, os, signal
from pathlib import Path
from caffe_compat.training import snapshots
sys.path.insert(0, {root!r})
from tests.training.cases import TRAIN, solver
from caffe_compat import files
s = solver([f for f in TRAIN if f.name == "sgd_06"][0], prefix={prefix!r})
s.step(4)
s.snapshot()
renames = 0
replace = Path.replace
def stop(self, target):
    global renames
    renames += 1
    if renames == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
Path.replace = stop
if {again}:
    s.iter = 4
else:
    s.step(2)
s.snapshot()
"""


@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("again", [False, True])
def test_a_kill_leaves_no_state_without_its_weights(at, again, tmp_path):
    root = str(TRAIN[0].parents[3])
    code = KILLED.format(root=root, prefix=str(tmp_path / "s"), at=at, again=again)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.returncode == -9, done.stderr
    states = sorted(tmp_path.glob("s_iter*.solverstate"))
    assert again or [path.name for path in states] == ["s_iter_4.solverstate"]
    for path in states:
        snapshots.restore(path)  # whole, and with its own weights


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
def test_a_full_disk_leaves_no_part_of_a_pair(tmp_path):
    import resource

    trained = solver(BY_NAME["frozen"], {"type": "Adam"}, prefix=tmp_path / "s")
    model, state = trained.snapshot()
    sizes = [path.stat().st_size for path in (model, state)]
    assert sizes[0] < sizes[1]
    trained.step(1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (sum(sizes) // 2, before[1]))
    try:
        match = rf"^{tmp_path}/s_iter_1.solverstate: cannot be written: File too large"
        with pytest.raises(CaffeCompatError, match=match):
            trained.snapshot()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(tmp_path.iterdir()) == sorted([model, state])
    trained.snapshot()  # and all goes on
