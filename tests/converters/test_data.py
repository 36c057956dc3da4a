"""`data`, `extract-features` and `--data net`: by the command alone, from images to features."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import caffe_compat
from caffe_compat.caffe_pb2 import Datum
from caffe_compat.data import batches
from caffe_compat.data.database import records
from caffe_compat.weights import read_mean

from ..data.cases import DATA, IMAGES, database

pytest.importorskip("lmdb")

NAMES = DATA / "sources" / "names.txt"
SIZE = ("--resize_height", "12", "--resize-width", "9")
NET = """name: "small"
layer { name: "d" type: "Data" top: "data" top: "label"
  transform_param { mean_file: "mean.binaryproto" scale: 0.01 }
  data_param { source: "db" batch_size: 4 backend: LMDB } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 16 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy"
  include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


@pytest.fixture
def here(tmp_path, monkeypatch, run):
    """A folder with a database, its mean and a net on both, all by the command."""
    monkeypatch.chdir(tmp_path)
    # ImageData's list begins at label -1, which no loss takes.
    lines = [line.rsplit(" ", 1) for line in NAMES.read_text().splitlines()]
    (tmp_path / "list.txt").write_text("".join(f"{name} {int(n) + 1}\n" for name, n in lines))
    status, out, err = run("data", "convert-imageset", f"{IMAGES}/", "list.txt", "db", *SIZE)
    assert (status, out, err) == (0, "db  8 records\n", "")
    status, out, err = run("data", "compute-image-mean", "db", "mean.binaryproto")
    assert (status, err) == (0, "")
    assert out.splitlines()[:2] == ["mean.binaryproto  1,307 bytes", "8 images of 3x12x9"]
    assert out.count("mean_value channel [") == 3
    (tmp_path / "net.prototxt").write_text(NET)
    return tmp_path


def test_show_counts_and_draws(here, run):
    status, out, _ = run("data", "show", "db", "--sheet", "sheet.png", "--images", "4")
    assert status == 0
    words = [line.split() for line in out.splitlines()]
    assert words[0][:4] == ["db", "lmdb,", "8", "records,"]
    assert ["3x12x9", "8"] in words
    assert [str(i) for i in range(8)] == [label for label, *rest in words if rest == ["1"]]
    with Image.open("sheet.png") as sheet:
        assert sheet.size == (192, 216)


def test_shapes_come_from_the_data_when_asked(here, run):
    status, out, err = run("show", "net.prototxt")
    assert (status, out) == (1, "")
    assert "the shape of 'data' is not in the prototxt" in err
    assert "(--input NAME=1x3x224x224, --data net)" in err
    status, out, err = run("show", "net.prototxt", "--data", "net")
    assert (status, err) == (0, "")
    assert "data 4x3x12x9, label 4" in out
    for command in (
        ("convert", "net.prototxt", "-o", "net.onnx"),
        ("init", "net.prototxt", "-o", "w.caffemodel"),
    ):
        assert run(*command)[0] == 1
        assert run(*command, "--data", "net")[0] == 0


def test_no_path_of_a_prototxt_is_opened_unasked(here, run):
    text = NET.replace("mean_file", "crop_size: 9 mean_file")
    means = "mean_value: 1 mean_value: 2 mean_value: 3"
    text = text.replace('mean_file: "mean.binaryproto"', means).replace('"db"', '"nowhere"')
    (here / "net.prototxt").write_text(text)
    status, out, _ = run("show", "net.prototxt")
    assert (status, "data 4x3x9x9, label 4" in out) == (0, True)
    status, _, err = run("show", "net.prototxt", "--data", "net")
    assert status == 1
    assert "layer 'd' (Data): source 'nowhere': no such file or folder" in err


def test_an_input_of_the_caller_stays_and_its_labels_follow(here, run):
    status, out, _ = run("show", "net.prototxt", "--data", "net", "--input", "data=2x3x12x9")
    assert (status, "data 2x3x12x9, label 2" in out) == (0, True)


def test_run_and_extract_features_read_what_the_library_reads(here, run):
    assert run("init", "net.prototxt", "--data", "net", "-o", "w.caffemodel")[0] == 0
    weights = ("--weights", "w.caffemodel", "--device", "cpu")
    status, out, err = run("run", "net.prototxt", *weights, "--data", "net", "--batches", "3")
    assert (status, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()] == [["accuracy", "3"], ["loss", "3"]]
    status, out, err = run(
        "run",
        "net.prototxt",
        *weights,
        "--data",
        "net",
        "--batches",
        "2",
        "--blob",
        "ip",
        "--out",
        "out",
    )
    assert status == 0
    found = np.load("out/ip.npy")
    arguments = ("w.caffemodel", "net.prototxt", "ip", "features", "--batches", "2")
    status, out, err = run("extract-features", *arguments, "--device", "cpu")
    assert (status, out, err) == (0, "features  8 records of ip\n", "")
    other = Path("other.prototxt")
    other.write_text(Path("net.prototxt").read_text().replace('name: "ip"', 'name: "other"'))
    arguments = ("w.caffemodel", other, "ip", "others", "--batches", "1", "--device", "cpu")
    status, _, err = run("extract-features", *arguments)
    assert (status, "--allow-missing" in err, Path("others").exists()) == (1, True, False)
    assert run("extract-features", *arguments, "--allow-missing")[0] == 0
    stored = [Datum.FromString(bytes(value)).float_data for _, value in records("features")]
    np.testing.assert_allclose(np.array(stored), found, rtol=1e-6)
    with batches("net.prototxt", phase="TEST") as reader:
        data = np.concatenate([next(reader)["data"] for _ in range(2)])
    mean = read_mean("mean.binaryproto")[0]
    raw = [
        np.frombuffer(Datum.FromString(bytes(value)).data, np.uint8).reshape(mean.shape)
        for _, value in records("db")
    ]
    np.testing.assert_array_equal(data, (np.stack(raw) - mean) * np.float32(0.01))


def test_batches_with_unlike_numbers_of_boxes(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(DATA / "sources/boxes_png", "boxes")
    Path("net.prototxt").write_text(
        """
layer { name: "data" type: "AnnotatedData" top: "data" top: "label"
  transform_param { resize_param { prob: 1 resize_mode: WARP height: 16 width: 18
    interp_mode: LINEAR } }
  data_param { source: "boxes" batch_size: 1 backend: LMDB } annotated_data_param { } }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "twice" type: "Power" bottom: "label" top: "twice" power_param { scale: 2 } }
"""
    )
    own = ("run", "net.prototxt", "--device", "cpu", "--data", "net", "--batches", "4")
    status, out, err = run(*own)
    assert (status, err) == (0, "")
    shapes = {line.split()[0]: line.split()[1] for line in out.splitlines()}
    assert shapes == {
        "twice[0]": "1x1x1x8", "twice[1]": "1x1x3x8", "twice[2]": "1x1x4x8", "twice[3]": "1x1x1x8",
        "pool": "4x3x1x1",
    }  # fmt: skip
    assert run(*own, "--blob", "twice", "--out", "out")[0] == 0
    with batches("net.prototxt", phase="TEST") as reader:
        labels = [next(reader)["label"] for _ in range(4)]
    assert sorted(path.name for path in Path("out").iterdir()) == [
        f"twice[{i}].npy" for i in range(4)
    ]
    for i, label in enumerate(labels):
        assert np.array_equal(np.load(f"out/twice[{i}].npy"), 2 * label)


def test_the_doctor_examines_a_net_on_its_own_data(here, run):
    status, out, err = run("doctor", "net.prototxt", "--phase", "TRAIN", "--data", "net")
    assert status in (0, 3)
    assert err == ""
    assert "1 layers with weights" in out


def test_time_reads_a_net_s_own_data(here, run):
    status, _, err = run("time", "net.prototxt", "--data", "net", "--iterations", "3")
    assert status == 0
    texts = [line.partition("] ")[2] for line in err.splitlines()]
    with batches("net.prototxt", phase="TRAIN") as reader:
        batch = next(reader)
    inputs = {name: array.shape for name, array in batch.items()}
    net = caffe_compat.load("net.prototxt", phase="TRAIN", inputs=inputs)
    loss = float(net.forward(batch)["loss"])
    assert f"Initial loss: {loss:g}" in texts
    (reading,) = (float(text.split()[2]) for text in texts if text.split()[:2] == ["d", "forward:"])
    assert reading > 0


def test_run_and_train_pass_over_what_cannot_be_read(here, run):
    values = [bytes(value) for _, value in records("db")]
    values[2] = b"no datum"
    database(here / "bad", values)
    net = NET.replace('"db"', '"bad"').replace("batch_size: 4", "batch_size: 7")
    (here / "net.prototxt").write_text(net)
    assert run("init", "net.prototxt", "--data", "net", "-o", "w.caffemodel")[0] == 0
    run_ = ("run", "net.prototxt", "--weights", "w.caffemodel", "--device", "cpu", "--data", "net")
    assert run(*run_)[0] == 1
    status, out, err = run(*run_, "--skip-bad")
    assert (status, len(out.splitlines())) == (0, 2)
    assert "00000002" in err
    (here / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 2 test_iter: 1 '
        'test_interval: 2 snapshot_prefix: "snap"'
    )
    status, _, err = run("train", "solver.prototxt")
    assert (status, "layer 'd' (Data): " in err, "00000002" in err) == (1, True, True)
    status, _, err = run("train", "solver.prototxt", "--skip-bad")
    assert (status, err.count("00000002")) == (0, 1)  # of both nets, said once


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("run", "net.prototxt", "--data", "net", "--feed", "data=x.npy"), "is for a prototxt"),
        (("run", "net.onnx", "--data", "net"), "is for a prototxt"),
        (("show", "net.prototxt", "--data", "file"), "'file' is not"),
    ],
)
def test_misuse(here, run, arguments, says):
    np.save("x.npy", np.zeros(1))
    status, _, err = run(*arguments)
    assert status == 2
    assert says in err


def test_bad_images(here, run):
    (here / "bad.txt").write_text("a.png 1\ngone.png 2\n")
    status, out, err = run("data", "convert-imageset", IMAGES, "bad.txt", "new")
    assert (status, out) == (1, "")
    assert err.startswith("error: bad.txt: line 2: ")
    status, out, err = run("data", "convert-imageset", IMAGES, "bad.txt", "new", "--skip-bad")
    assert (status, out) == (0, "new  1 records, and 1 that cannot be read\n")
    assert err.startswith("warning: skipped: bad.txt: line 2: ")
    status, _, err = run("data", "convert-imageset", IMAGES, "bad.txt", "new")
    assert (status, err) == (
        1,
        "error: new: exists; a database is never overwritten, so remove it\n",
    )
