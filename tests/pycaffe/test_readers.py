"""pycaffe's solvers and nets on what data layers read, beside trainings of real Caffe."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import caffe_compat
import caffe_compat.pycaffe as caffe
from caffe_compat.data.streams import CRand
from caffe_compat.errors import CaffeCompatError, ShapeError
from caffe_compat.pycaffe import reading

from ..cases import GOLDEN

pytest.importorskip("cv2")

CASES = sorted(folder.name for folder in (GOLDEN / "train_data").iterdir())


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """As in a process that has just begun: the C library's `rand()` is one for all nets."""
    monkeypatch.setattr(reading, "_rand", CRand())
    caffe.init_log(2)
    yield
    caffe.init_log(0)


@pytest.fixture(params=CASES)
def folder(request, tmp_path, monkeypatch):
    shutil.copytree(GOLDEN / "train_data" / request.param, tmp_path / "case")
    monkeypatch.chdir(tmp_path / "case")
    return tmp_path / "case"


def params(solver):
    return {
        f"{layer}:{i}": blob.data.copy()
        for layer, blobs in solver.net.params.items()
        for i, blob in enumerate(blobs)
    }


def test_steps_follow_real_caffe(folder):
    with np.load("out.npz") as file:
        recorded = dict(file)
    solver = caffe.get_solver("solver.prototxt")
    losses = []
    for _ in recorded["loss"]:
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    largest = np.abs(recorded["loss"]).max()
    np.testing.assert_allclose(losses, recorded["loss"], atol=1e-5 * largest, rtol=0)
    for name, array in params(solver).items():
        want = recorded[f"w:{name}"]
        np.testing.assert_allclose(array, want, atol=1e-4 * np.abs(want).max(), rtol=0)


def test_a_snapshot_keeps_the_reader_s_place(folder, monkeypatch):
    solver = caffe.get_solver("solver.prototxt")
    solver.step(8)
    solver.snapshot()
    solver.step(6)
    monkeypatch.setattr(reading, "_rand", CRand())
    again = caffe.get_solver("solver.prototxt")
    again.step(3)
    again.restore("snap_iter_8.solverstate")
    again.step(6)
    for name, array in params(solver).items():
        np.testing.assert_array_equal(params(again)[name], array)


def test_the_library_goes_on_from_pycaffe_s_snapshot_and_the_reverse(folder, monkeypatch):
    solver = caffe.get_solver("solver.prototxt")
    solver.step(7)
    solver.snapshot()
    solver.step(5)
    other = caffe_compat.Solver("solver.prototxt")
    other.restore("snap_iter_7.solverstate")
    other.step(5)
    want = params(solver)
    for layer, blobs in other.net.params.items():
        for i, array in enumerate(blobs.values()):
            key = f"{layer}:{i}"
            largest = np.abs(want[key]).max()
            got = array.reshape(want[key].shape)
            np.testing.assert_allclose(got, want[key], atol=1e-5 * largest, rtol=0)
    other.snapshot()
    monkeypatch.setattr(reading, "_rand", CRand())
    third = caffe.get_solver("solver.prototxt")
    third.restore("snap_iter_12.solverstate")
    np.testing.assert_equal([third.iter, third._solver.engine.state()], [12, other.engine.state()])


def test_a_net_reads_its_batches(folder):
    caffe.set_random_seed(1)
    net = caffe.Net("net.prototxt", caffe.TEST)
    first = net.forward()["loss"].copy()
    assert np.isfinite(first)
    batches = caffe_compat.data.batches("net.prototxt", phase="TEST", seed=1)
    with batches:
        np.testing.assert_array_equal(next(batches)["data"], net.blobs["data"].data)


def test_a_source_that_is_missing_is_named(folder):
    text = (folder / "net.prototxt").read_text()
    (folder / "net.prototxt").write_text(text.replace("train", "absent"))
    with pytest.raises(CaffeCompatError, match=r"layer 'data' .*absent.*no such file"):
        caffe.get_solver("solver.prototxt")


def test_a_list_of_images_without_a_top_for_labels_is_refused_by_the_layers_name(build):
    with pytest.raises(ShapeError, match=r"layer 'images' \(ImageData\): takes 2 top blob\(s\)"):
        build("""
            layer { name: 'images' type: 'ImageData' top: 'data'
              image_data_param { source: 'list.txt' batch_size: 1 } }""")
