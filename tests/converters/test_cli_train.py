"""`train`, `test`, `time` and `plot`: their logs, files, signals and errors."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from caffe_compat import weights
from caffe_compat.training import curves

from ..training.cases import LOGS

NET = """
name: "small"
layer { name: "d" type: "DummyData" top: "x" top: "label" dummy_data_param {
  shape { dim: 8 dim: 3 } shape { dim: 8 }
  data_filler { type: "gaussian" } data_filler { type: "constant" value: 1 } } }
layer { name: "drop" type: "Dropout" bottom: "x" top: "x" }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 4
  weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "label" top: "loss" }
layer { name: "acc" type: "Accuracy" bottom: "y" bottom: "label" top: "accuracy"
  include { phase: TEST } }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.1 lr_policy: "step" gamma: 0.5 stepsize: 8 momentum: 0.9
max_iter: 20 display: 5 test_iter: 3 test_interval: 10 snapshot: 10 snapshot_prefix: "snap"
random_seed: 3
"""
GLOG = re.compile(r"[IWE]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ \S+:\d+\] ")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blobs(path):
    return [np.array(blob.array) for layer in weights.read(path).layers for blob in layer.blobs]


def test_train_test_and_plot(run, folder):
    status, out, err = run("train", "solver.prototxt", "--curves", "run.html")
    assert (status, out) == (0, "")
    notes, lines = [], []
    for line in err.splitlines():
        (notes if line.startswith("note: ") else lines).append(line)
    assert notes == [
        "note: reads net file: net.prototxt",
        "note: writes snap_iter_N.caffemodel and snap_iter_N.solverstate",
    ]
    texts = [GLOG.sub("", line) for line in lines if GLOG.match(line)]
    assert texts[0] == "Use CPU." and texts[-1] == "Optimization Done."
    assert "Solving small" in texts
    (folder / "run.log").write_text(err)
    read = curves.read(folder / "run.log")
    assert read.loss.iterations == [0, 5, 10, 15, 20]
    assert read.rate.iterations == [0, 5, 10, 15]
    assert read.rate.values == pytest.approx([0.1, 0.1, 0.05, 0.05])
    assert read.test[0, "accuracy"].iterations == [0, 10, 20]
    assert "<svg" in (folder / "run.html").read_text()
    status, out, _ = run("plot", "run.log", "-o", "run.png")
    assert status == 0 and out.startswith("run.png  ")
    assert (folder / "run.png").read_bytes().startswith(b"\x89PNG")
    status, _, err = run("test", "net.prototxt", "snap_iter_20.caffemodel", "--iterations", 2)
    texts = [GLOG.sub("", line) for line in err.splitlines()]
    assert status == 0
    assert [text.partition(" = ")[0] for text in texts if text.startswith("Batch")] == [
        "Batch 0, accuracy",
        "Batch 0, loss",
        "Batch 1, accuracy",
        "Batch 1, loss",
    ]
    assert texts[0] == "Use CPU." and "Running for 2 iterations." in texts
    assert texts[-3].startswith("Loss: ") and texts[-2].startswith("accuracy = ")
    assert re.fullmatch(r"loss = (\S+) \(\* 1 = \1 loss\)", texts[-1])


def test_going_on_ends_in_the_same_bits(run, folder):
    assert run("train", "--solver", "solver.prototxt")[0] == 0
    whole = blobs("snap_iter_20.caffemodel")
    options = ("--snapshot", "snap_iter_10.solverstate", "--snapshot-prefix", "again")
    status, _, err = run("train", "--solver=solver.prototxt", *options)
    assert status == 0 and "Resuming from snap_iter_10.solverstate" in err
    for a, b in zip(whole, blobs("again_iter_20.caffemodel"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_and_fed_rows(run, folder):
    fed = NET.replace(
        NET[NET.index('layer { name: "d"') : NET.index('layer { name: "drop"')],
        'layer { name: "in" type: "Input" top: "x" top: "label" input_param {'
        " shape { dim: 4 dim: 3 } shape { dim: 4 } } }\n",
    )
    (folder / "net.prototxt").write_text(fed)
    rng = np.random.default_rng(0)
    np.save("x.npy", rng.standard_normal((10, 3)))
    np.save("label.npy", rng.integers(0, 4, 10))
    feeds = ("--feed", "x=x.npy", "--feed", "label=label.npy")
    text = SOLVER.replace("test_iter: 3 test_interval: 10", "")
    (folder / "solver.prototxt").write_text(text)
    assert run("train", "solver.prototxt", *feeds)[0] == 0
    options = ("--weights", "snap_iter_20.caffemodel", "--snapshot-prefix", "tuned")
    status, _, err = run("train", "solver.prototxt", *feeds, *options)
    assert status == 0 and "Finetuning from snap_iter_20.caffemodel" in err
    status, _, err = run("test", "net.prototxt", "tuned_iter_20.caffemodel", *feeds)
    assert status == 0 and "Running for 50 iterations." in err
    status, _, err = run("train", "solver.prototxt")
    assert status == 1
    assert err.splitlines()[-1] == (
        "error: net file: net.prototxt: input 'x' (4, 3) is not fed; give its batches as data "
        "(--feed NAME=FILE.npy)"
    )


def test_time(run, folder):
    status, _, err = run("time", "net.prototxt", "--iterations", 2)
    lines = [line.partition("] ")[2] for line in err.splitlines()]
    assert status == 0
    assert lines[:3] == ["Use CPU.", "Performing Forward", lines[2]]
    assert "Testing for 2 iterations." in lines
    for name in ("d", "drop", "ip", "loss"):
        for way in ("forward", "backward"):
            assert any(re.fullmatch(rf"{name:>10}\t{way}: \S+ ms\.", line) for line in lines)
    assert not any("acc" in line for line in lines)  # TRAIN, as Caffe's
    assert lines[-1] == "*** Benchmark ends ***"


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["train"], "name one solver"),
        (["train", "solver.prototxt", "--solver", "solver.prototxt"], "name one solver"),
        (
            ["train", "solver.prototxt", "--weights", "a", "--snapshot", "b"],
            "--snapshot or --weights, not both",
        ),
        (["test", "net.prototxt"], "name a net and its weights"),
        (["time"], "name a net"),
        (["train", "solver.prototxt", "--feed", "x"], "'x' is not NAME=FILE.npy"),
    ],
)
def test_misuse(run, folder, words, match):
    status, _, err = run(*words)
    assert status == 2 and match in " ".join(err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["train", "none.prototxt"], "none.prototxt: no such file"),
        (["train", "net.prototxt"], "net.prototxt: a net; name the solver that trains it"),
        (["train", "solver.prototxt", "--snapshot", "x.solverstate"], "x.solverstate: no such"),
        (["train", "solver.prototxt", "--weights", "x.caffemodel"], "x.caffemodel: No such"),
        (["train", "solver.prototxt", "--snapshot-prefix", "no/where"], "no directory no"),
        (["train", "solver.prototxt", "--curves", "x.pdf"], "x.pdf: curves are written as"),
        (["train", "solver.prototxt", "--feed", "no=x.npy"], "--feed no: the net has no such blob"),
        (["plot", "net.prototxt", "-o", "x.png"], "net.prototxt: not the log of a training"),
    ],
)
def test_errors(run, folder, words, match):
    status, _, err = run(*words)
    last = err.splitlines()[-1]
    assert status == 1 and last.startswith("error: ") and match in last
    assert not list(folder.glob("snap*"))


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("step", "cosine", "solver.prototxt: lr_policy 'cosine' is not known"),
        ('net: "net.prototxt"', "", "solver.prototxt: the solver gives its net by one of"),
        ('net: "net.', 'net: "none.', "solver.prototxt: the solver names 'none.prototxt', and"),
    ],
)
def test_a_wrong_solver_is_named(run, folder, old, new, match):
    (folder / "solver.prototxt").write_text(SOLVER.replace(old, new, 1))
    status, _, err = run("train", "solver.prototxt")
    assert status == 1 and match in err.splitlines()[-1]


def test_a_bottom_that_nothing_makes(run, folder):
    (folder / "net.prototxt").write_text(NET.replace('bottom: "y" bottom', 'bottom: "z" bottom'))
    status, _, err = run("train", "solver.prototxt")
    assert status == 1
    assert err.splitlines()[-1].endswith("unknown bottom blob 'z' (bottom index 0)")


def test_tensorboard(run, folder):
    pytest.importorskip("tensorboardX")
    assert run("train", "solver.prototxt", "--tensorboard", "events")[0] == 0
    (path,) = (folder / "events").iterdir()
    data = path.read_bytes()
    for tag in (b"train/loss", b"train/learning_rate", b"test0/accuracy"):
        assert tag in data


def test_curves_of_caffes_own_logs():
    lines = (LOGS / "plateau" / "caffe.log").read_text().splitlines()
    read = curves.Curves()
    for line in lines:
        read.read(line)
    assert read.loss.iterations == list(range(41))
    assert read.rate.values[0] == 0.05 and read.rate.values[-1] == pytest.approx(0.05 / 8)
    old = curves.Curves()
    for line in (
        "I0914 solver.cpp:195] Iteration 20, loss = 1.5e-05",
        "I0914 solver.cpp:195] Iteration 40 (3.1 iter/s, 6s/20 iters), loss = nan",
        "I0914 solver.cpp:404]     Test net output #1: top-5 = 0.5 (* 1 = 0.5 loss)",
        "I0914 solver.cpp:195] Iteration 20 (3.1 iter/s, 6s/20 iters), loss = 2",
    ):
        old.read(line)
    assert (old.loss.iterations, old.loss.values) == ([20], [2])  # it went on from a snapshot


def started(folder, *words):
    code = "from caffe_compat.converters.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    for line in process.stderr:
        if "Iteration 20" in line:
            break
    return process


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP")
def test_signals(folder):
    text = SOLVER.replace("max_iter: 20", "max_iter: 1000000").replace("snapshot: 10 ", "")
    (folder / "solver.prototxt").write_text(text)
    process = started(folder, "train", "solver.prototxt")
    process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 60
    while not list(folder.glob("snap_iter_*.solverstate")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(list(folder.glob("snap_iter_*.solverstate"))) == 1
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Optimization stopped early." in err
    assert len(list(folder.glob("snap_iter_*.solverstate"))) == 2


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals")
def test_a_bar_on_a_terminal(folder):
    mine, theirs = os.openpty()
    code = "from caffe_compat.converters.cli import main; main()"
    text = SOLVER.replace("max_iter: 20", "max_iter: 2000")
    (folder / "solver.prototxt").write_text(text)
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", "solver.prototxt"],
        cwd=folder,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "140"},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(mine, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(mine)
    assert process.wait(60) == 0
    assert b"images/s" in shown and b"2000/2000" in shown


def test_engines_and_devices(run, folder):
    status, _, err = run("train", "solver.prototxt", "--engine", "numpy", "--device", "cpu")
    assert status == 0 and "Use CPU." in err
    whole = blobs("snap_iter_20.caffemodel")
    pytest.importorskip("torch")
    assert run("train", "solver.prototxt", "--engine", "torch")[0] == 0
    for a, b in zip(whole, blobs("snap_iter_20.caffemodel"), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    status, _, err = run("train", "solver.prototxt", "--amp", "bf16", "--rng", "fast")
    assert status == 0 and "Layers compute in bf16, the weights are float32." in err
    status, _, err = run("train", "solver.prototxt", "--engine", "numpy", "--device", "cuda")
    assert (status, err.splitlines()[-1]) == (1, "error: device cuda needs the torch engine")
    status, _, err = run("train", "solver.prototxt", "--device", "tpu")
    assert status == 1 and "error: device is 'tpu'; it is 'auto', 'cpu', 'cuda'" in err
    weights_file = "snap_iter_20.caffemodel"
    assert run("test", "net.prototxt", weights_file, "--engine", "numpy", "--iterations", 1)[0] == 0
