"""pycaffe's solvers, beside recorded trainings by real Caffe."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import caffe_compat.pycaffe as caffe
from caffe_compat.errors import UnsupportedError
from caffe_compat.pycaffe import engine

from ..cases import GOLDEN

CASES = ["sgd_00", "nesterov_07", "adagrad_08", "rmsprop_09", "adadelta_10", "adam_05"]

NET = """
layer { name: 'data' type: 'DummyData' top: 'x' top: 'label' dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 } data_filler { type: 'gaussian' std: 1 }
  data_filler { type: 'constant' value: 1 } } }
layer { name: 'ip' type: 'InnerProduct' bottom: 'x' top: 'ip'
  inner_product_param { num_output: 3 weight_filler { type: 'xavier' } } }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 'label' top: 'loss' }
"""

SOLVER = """
net: 'net.prototxt' base_lr: 0.1 lr_policy: 'fixed' max_iter: 6 random_seed: 3
test_iter: 2 test_interval: 3 snapshot_prefix: 'snap' snapshot_after_train: false
"""


@pytest.fixture(autouse=True)
def quiet():
    caffe.init_log(2)
    yield
    caffe.init_log(0)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fast", [False, True], ids=["numpy", "onnxruntime and torch"])
def test_steps_follow_real_caffe(case, fast, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "SEGMENTS", fast)
    monkeypatch.setattr(engine, "TORCH", fast)
    shutil.copytree(GOLDEN / "train" / case, tmp_path / "case")
    monkeypatch.chdir(tmp_path / "case")
    solver = caffe.get_solver("solver.prototxt")
    with np.load("out.npz") as file:
        recorded = dict(file)
    losses = []
    for _ in recorded["loss"]:
        solver.step(1)
        net = solver.net
        losses.append(sum(w * net.blobs[b].data.sum() for b, w in net.blob_loss_weights.items()))
    scale = np.abs(recorded["loss"]).max()
    assert np.abs(losses - recorded["loss"]).max() <= 1e-4 * scale
    for key, want in recorded.items():
        kind, _, place = key.partition(":")
        if kind == "w" and recorded[f"noise:{place}"] <= 1e-4:
            layer, i = place.rsplit(":", 1)
            got = solver.net.params[layer][int(i)].data
            assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max(), key


def test_what_a_solver_shows_and_takes(files):
    solver = caffe.SGDSolver("solver.prototxt")
    assert (solver.iter, solver.lr, solver.base_lr) == (0, pytest.approx(0.1), pytest.approx(0.1))
    assert solver.param.max_iter == 6
    calls = []
    solver.add_callback(lambda: calls.append("start"), lambda: calls.append("ready"))
    solver.solve()
    assert solver.iter == 6
    assert calls == ["start", "ready"] * 6
    (test_net,) = solver.test_nets
    assert np.shares_memory(test_net.params["ip"][0].data, solver.net.params["ip"][0].data)
    solver.base_lr = 0.5
    assert solver.lr == pytest.approx(0.5)


def test_apply_update_takes_the_gradients_as_they_stand(files):
    solver = caffe.SGDSolver("solver.prototxt")
    weight, bias = solver.net.params["ip"]
    weight.data[...], weight.diff[...], bias.diff[...] = 0, 1, 0
    solver.apply_update()
    assert np.allclose(weight.data, -0.1)


def test_a_snapshot_is_gone_on_from(files):
    solver = caffe.AdamSolver("solver.prototxt")
    solver.step(3)
    solver.snapshot()
    assert (files / "snap_iter_3.caffemodel").exists()
    other = caffe.AdamSolver("solver.prototxt")
    other.restore("snap_iter_3.solverstate")
    assert other.iter == 3
    assert np.array_equal(other.net.params["ip"][0].data, solver.net.params["ip"][0].data)
    with pytest.raises(RuntimeError, match="Could not open file nowhere"):
        caffe.get_solver("nowhere")


def test_several_ranks_are_refused_by_name(files):
    caffe.set_solver_count(1)
    with pytest.raises(UnsupportedError, match=r"set_solver_count\(2\)"):
        caffe.set_solver_count(2)
    with pytest.raises(UnsupportedError, match="NCCL"):
        caffe.NCCL(caffe.SGDSolver("solver.prototxt"), "uid")


def test_debug_info_is_logged_while_iterations_are_displayed(files, capfd):
    (files / "solver.prototxt").write_text(SOLVER + "debug_info: true display: 2\n")
    caffe.init_log(0)
    solver = caffe.SGDSolver("solver.prototxt")
    solver.step(2)
    lines = [line.partition("] ")[2].strip() for line in capfd.readouterr().err.splitlines()]
    kinds = [line.partition("]")[0] for line in lines if line.startswith("[")]
    # Two batches of the test net and one to train on, of 6 lines each; then a quiet iteration.
    assert kinds == ["[Forward"] * 18 + ["[Backward"] * 4
    assert any(line.startswith("[Backward] All net params (data, diff): L1 norm") for line in lines)
