"""Files that a layer names beside its data, in training: InfogainLoss's matrix."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from caffe_compat import Solver
from caffe_compat.caffe_pb2 import BlobProto
from caffe_compat.errors import CaffeCompatError, ParseError, ShapeError, WeightsError
from caffe_compat.net.build import connect, create
from caffe_compat.net.net import Net
from caffe_compat.prototxt import reader
from caffe_compat.prototxt.upgrade import upgrade

from ..cases import GOLDEN, assert_close, run_onnx
from .cases import ENGINES, blobs, close, recorded

CASE = GOLDEN / "train_data" / "infogain"


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(CASE, tmp_path / "case")
    return tmp_path / "case"


def write(path, shape, values=None, **fields):
    blob = BlobProto(**fields)
    blob.shape.dim.extend(shape)
    blob.data.extend(np.ones(int(np.prod(shape))) if values is None else values)
    path.write_bytes(blob.SerializeToString())


@pytest.mark.parametrize("engine", ENGINES)
def test_training_is_real_caffe_s(engine):
    want = recorded(CASE)
    trained = Solver(CASE / "solver.prototxt", engine=engine, device="cpu")
    losses = np.array([trained.step(1).loss for _ in want["loss"]])
    assert close(losses, want["loss"], 1e-5)
    for name, array in blobs(trained).items():
        assert close(array, want[f"w:{name}"], 1e-4), name
    assert trained.test()["loss"] == pytest.approx(want["test"][-1, 1], rel=1e-5)


def test_numpy_s_and_onnx_s_numbers_are_real_caffe_s():
    folder = GOLDEN / "infogain"
    message, _ = reader.read_net(folder / "net.prototxt", 1)
    message = upgrade(message)
    layers = create(message, find=lambda path, field: folder / path)
    graph = connect(message, layers)
    net = Net(graph, tuple(() for _ in graph.nodes))
    with np.load(folder / "io.npz") as io:
        feeds = {name: io[f"in:{name}"] for name in ("data", "label")}
        values, onnx = net.run(feeds), run_onnx(net, feeds)
        for name in ("loss", "prob"):
            assert_close(values[name], io[f"out:{name}"], 1e-6)
            assert_close(onnx[name], io[f"out:{name}"], 1e-6)
        assert_close(net.backward(values, {})[0]["data"], io["indiff:data"], 1e-6)


def test_the_current_folder_comes_first(folder, tmp_path, monkeypatch):
    first = Solver(folder / "solver.prototxt", engine="numpy").step(1).loss
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "H.binaryproto", (4, 4), np.eye(4).ravel())
    assert Solver(folder / "solver.prototxt", engine="numpy").step(1).loss != first


@pytest.mark.parametrize("engine", ENGINES)
def test_the_matrix_is_read_once(folder, engine):
    trained = Solver(folder / "solver.prototxt", engine=engine, device="cpu")
    other = Solver(CASE / "solver.prototxt", engine=engine, device="cpu")
    (folder / "H.binaryproto").unlink()
    assert trained.step(5).loss == other.step(5).loss


@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (16,), (2, 8)])
def test_its_count_is_what_counts(folder, shape):
    """Caffe compares the number of values alone."""
    with_rows = Solver(folder / "solver.prototxt", engine="numpy").step(1).loss
    values = np.array(BlobProto.FromString((CASE / "H.binaryproto").read_bytes()).data)
    write(folder / "H.binaryproto", shape, values)
    assert Solver(folder / "solver.prototxt", engine="numpy").step(1).loss == with_rows


PLACE = r"net file: .*net\.prototxt: layer 'loss' \(InfogainLoss\): "
BAD = [
    (lambda path: path.unlink(), ParseError, r"source 'H\.binaryproto': no such file"),
    (
        lambda path: path.write_text("name: 'x'"),
        WeightsError,
        r"/.*H\.binaryproto: not a binary",
    ),
    (lambda path: path.write_bytes(b""), WeightsError, r"/.*H\.binaryproto: the file is empty"),
    (
        lambda path: write(path, (4, 5)),
        ShapeError,
        r"source .*H\.binaryproto: H must be 4x4, and is \(4, 5\)",
    ),
    (
        lambda path: write(path, (4, 4), [1, 2]),
        WeightsError,
        r"/.*H\.binaryproto: .*H: 2 values do not fill the shape 4 4",
    ),
    (lambda path: (path.unlink(), path.mkdir()), WeightsError, r"/.*H\.binaryproto: not an"),
]


@pytest.mark.parametrize(("damage", "error", "message"), BAD)
def test_a_bad_file_is_one_error_with_file_layer_and_shape(folder, damage, error, message):
    damage(folder / "H.binaryproto")
    with pytest.raises(error, match=PLACE + message):
        Solver(folder / "solver.prototxt", engine="numpy")


def test_a_layer_that_names_no_file_needs_a_third_bottom(folder):
    text = (folder / "net.prototxt").read_text()
    (folder / "net.prototxt").write_text(re.sub(r"infogain_loss_param {.*?}", "", text))
    with pytest.raises(CaffeCompatError, match="needs the infogain matrix, as source or"):
        Solver(folder / "solver.prototxt", engine="numpy")
