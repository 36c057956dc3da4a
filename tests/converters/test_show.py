"""`show`: tables of layers, fillers and weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe_compat import pipeline
from caffe_compat.caffe_pb2 import BlobProto

from ..cases import GOLDEN
from ..slope_nets import INPUT, conv, layer
from .models import NET

SLOPES = (
    INPUT
    + conv("one", "data")
    + layer("PReLU", "one", "one", "param { decay_mult: 0 }")
    + layer("Pooling", "one", "p", "pooling_param { kernel_size: 2 stride: 2 }")
    + conv("two", "p", norm="AVERAGE")
    + layer("Sigmoid", "two", "two")
    + conv("three", "two", outputs=2, kernel=1).replace("msra", "xavier")
)


@pytest.fixture
def slopes(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(SLOPES)
    return path


def test_show_fillers(run, slopes):
    status, out, err = run("show", "--fillers", slopes)
    assert (status, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["layer", "blob", "filler", "norm", "n", "rectifier", "a", "std", "filler's"]
    assert rows[1] == [
        "one",
        "weight",
        "msra",
        "FAN_IN",
        "27",
        "linear",
        "1",
        "0.19245",
        "0.272166",
    ]
    assert rows[2] == [
        "two",
        "weight",
        "msra",
        "AVERAGE",
        "36",
        "prelu",
        "|",
        "sigmoid",
        "0.25",
        "|",
        "E[f²]=0.293379",
        "0.259558",
        "0.235702",
    ]
    assert rows[3] == [
        "three",
        "weight",
        "xavier",
        "FAN_IN",
        "4",
        "sigmoid",
        "E[f²]=0.293379",
        "0.923114",
        "0.5",
    ]


def test_slopes_with_weights(run, slopes, tmp_path):
    """Slopes that were trained count, for what is drawn and for what is shown."""
    from caffe_compat.pipeline import load, save

    trained = load(slopes)
    trained.arrays[2][0][:] = 1
    file = tmp_path / "trained.caffemodel"
    save(trained, file)
    assert " 1 | E[f²]" in run("show", "--fillers", "--weights", file, slopes)[1]
    assert run("show", "--weights", file, slopes)[0] == 2
    assert run("show", "--fillers", file)[0] == 2


def test_prelu_slopes_that_decay(run, tmp_path):
    path = tmp_path / "slopes.prototxt"
    path.write_text(
        INPUT
        + layer("PReLU", "data", "x", "", "p1")
        + layer("PReLU", "x", "y", "param { decay_mult: 0 }", "p2")
    )
    status, _, err = run("show", path)
    assert status == 0
    assert err == (
        "warning: weight decay reaches the slopes of PReLU layers without "
        "param { decay_mult: 0 }: p1\n"
    )
    stock = tmp_path / "stock.prototxt"
    assert run("init", path, "--stock", stock, "--fix-decay")[0] == 0
    assert run("show", stock)[2] == ""


def test_show(run, net, tmp_path):
    status, out, _ = run("show", net)
    assert status == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[2:]}
    assert rows["conv1"] == [
        "Convolution",
        "data",
        "conv1",
        "2x5x6x7",
        "weight",
        "5x3x3x3,",
        "bias",
        "5",
        "140",
        "msra,",
        "constant",
    ]
    assert rows["prob"] == ["Softmax", "fc", "prob", "2x4"]
    assert rows["inputs"] == ["data", "2x3x8x9"]
    assert "5 layers, 989 parameters (3,956 bytes)" in out
    run("init", net, "-o", tmp_path / "w.caffemodel")
    status, out, _ = run("show", tmp_path / "w.caffemodel")
    assert status == 0
    assert "989 parameters" in out
    assert out.splitlines()[-1].split() == ["1", "relu1", "5", "0.2500", "0.2500", "0.2500"]


def test_show_splits_has_caffes_full_list_of_blobs(run, net):
    second = 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" }'
    net.write_text(NET + second)
    _, plain, _ = run("show", net)
    assert "split" not in plain
    status, out, _ = run("show", net, "--splits")
    assert status == 0
    split = "data_input_0_split"
    row = next(line.split() for line in out.splitlines() if line.startswith(split))
    assert row == [split, "Split", "data", f"{split}_0", "2x3x8x9,", f"{split}_1", "2x3x8x9"]


def test_one_long_name_does_not_widen_every_row(run, net):
    rows = "".join(
        f'layer {{ name: "r{i}" type: "ReLU" bottom: "data" top: "r{i}" }}' for i in range(50)
    )
    net.write_text(NET.replace('name: "conv1"', f'name: "{"x" * 10_000}"') + rows)
    status, out, _ = run("show", net)
    assert status == 0
    assert len(out) < 50_000


MTCNN = Path(__file__).parents[2] / "examples" / "mtcnn" / "models" / "det1"


def test_costs_as_a_table_and_as_json(run):
    status, out, _ = run("show", MTCNN / "net.prototxt", "--costs")
    assert status == 0
    assert "conv2 *" in out
    assert "11 layers, 44,760 multiply-adds" in out
    status, out, _ = run("show", MTCNN / "net.prototxt", "--costs", "--json")
    assert (status, json.loads(out)["parameters"]) == (0, 6632)


def test_a_page_with_weights(run, tmp_path):
    pytest.importorskip("fast_sugiyama")
    page = tmp_path / "p.html"
    status, out, _ = run(
        "show", MTCNN / "net.prototxt", MTCNN / "weights.caffemodel", "--html", page
    )
    assert (status, out.split()[0]) == (0, str(page))
    assert '"counts":[' in page.read_text()


@pytest.mark.parametrize("view", [("--filters", "conv1"), ("--slopes",)])
def test_pictures_of_weights(run, tmp_path, view):
    picture = tmp_path / "p.png"
    status, out, _ = run("show", MTCNN / "weights.caffemodel", *view, "-o", picture)
    assert (status, out.split()[0]) == (0, str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("weights.caffemodel", ["--costs"]),
        ("weights.caffemodel", ["--slopes"]),
        ("net.prototxt", ["--slopes", "-o", "x.png"]),
        ("net.prototxt", ["--json"]),
        ("net.prototxt", ["weights.caffemodel"]),
    ],
)
def test_views_that_do_not_fit_are_misuse(run, file, words):
    assert run("show", MTCNN / file, *words)[0] == 2


def test_filters_of_a_layer_that_is_not_there(run, tmp_path):
    status, _, err = run(
        "show", MTCNN / "weights.caffemodel", "--filters", "none", "-o", tmp_path / "p.png"
    )
    assert status == 1
    assert "no blobs of a layer 'none'" in err
    assert not (tmp_path / "p.png").exists()


def write(folder, name):
    """Write a file of a kind that this tool writes, and return its path."""
    path = folder / name
    net = pipeline.load(MTCNN / "net.prototxt", MTCNN / "weights.caffemodel")
    if name.startswith("snap"):
        shutil.copy(GOLDEN / "train_states" / name, path)
    elif name.endswith((".npz", ".h5", ".caffemodel", ".onnx")):
        pipeline.save(net, path)
    elif name.endswith(".npy"):
        np.save(path, np.float32([[1, 2], [3, 6]]))
    elif name == "data.hdf5":
        with h5py.File(path, "w") as file:
            file.create_dataset("data", data=np.ones((4, 3)))
    elif name.endswith(".binaryproto"):
        mean = BlobProto(num=1, channels=2, height=1, width=2, data=[1, 3, 4, 6])
        path.write_bytes(mean.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("name", "rename", "says"),
    [
        ("w.caffemodel", "w", "net 'PNet', V2"),
        ("w.caffemodel", "w.bin", "net 'PNet', V2"),
        ("w.npz", None, "net '', NPZ"),
        ("w.h5", "w.weights", "net '', HDF5"),
        ("n.onnx", None, "ONNX model 'PNet' by caffe_compat, opset ai.onnx "),
        ("n.onnx", "model", "ONNX model 'PNet' by caffe_compat, opset ai.onnx "),
        ("a.npy", "a", "array float32, 2x2\nmean 3  std "),
        ("m.binaryproto", "m", "mean image 1x2x1x2\n"),
        ("snap_iter_20.solverstate", None, "solver state at iteration 20, step 1 of the policy"),
        ("snap_iter_20.solverstate.h5", None, "solver state at iteration 20, step 1 of the policy"),
        ("data.hdf5", None, "data set  shape\ndata      4x3\n"),
    ],
)
def test_whatever_the_tool_writes_or_reads(run, tmp_path, name, rename, says):
    path = write(tmp_path, name)
    if rename:
        path = path.rename(tmp_path / rename)
    status, out, _ = run("show", path)
    assert status == 0
    assert out.startswith(says)


@pytest.mark.parametrize("name", ["a.npy", "a.onnx", "a.binaryproto", "a.solverstate", "a"])
def test_a_damaged_file_is_one_error(run, tmp_path, name):
    (tmp_path / name).write_bytes(b"\x0a\xff\xff\x01\0")
    status, out, err = run("show", tmp_path / name)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert run("show", write(tmp_path, "b.npy"), "--costs")[0] == 2


def test_the_newline_of_a_name_stays_in_its_line(run, tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'input: "x\\nerror: forged" input_shape { dim: 1 }'
        'layer { name: "a" type: "ReLU" bottom: "x\\nerror: forged" top: "y" }'
    )
    _, out, _ = run("show", path)
    assert r"inputs   x\nerror: forged 1" in out.splitlines()


def test_the_default_of_a_constant_is_an_optional_input(run, tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text(
        'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 2 } } } '
        'layer { name: "r" type: "ReLU" bottom: "d" top: "r" }'
    )
    assert run("convert", net, "-o", tmp_path / "net.onnx")[0] == 0
    status, out, _ = run("show", tmp_path / "net.onnx")
    assert status == 0
    assert "input    d/value scalar (optional)\n" in out
    assert "output   r 2\n" in out
