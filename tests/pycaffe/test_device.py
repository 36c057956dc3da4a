"""Blobs with memory on a device of their own, which is here PyTorch's CPU: no GPU is needed."""

from __future__ import annotations

import numpy as np
import pytest

import caffe_compat.pycaffe as caffe
from caffe_compat.pycaffe import mode
from caffe_compat.pycaffe.blob import Blob, Changes, memories
from caffe_compat.pycaffe.memory import Memory

from ..cases import assert_close
from .nets import SIMPLE
from .test_golden import BOTH, LAYERS, check_backward, live

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")


@pytest.fixture
def on_device(monkeypatch):
    """Nets run on a device: PyTorch's and onnxruntime's CPU, in memory beside the blobs'."""
    monkeypatch.setattr(mode, "device", lambda: "cpu")
    Changes.count += 1
    yield
    Changes.count += 1


@pytest.mark.parametrize("case", BOTH)
def test_forward(case, on_device):
    net, io = live(case)
    net.forward()
    for key in (key for key in io if key.startswith("out:")):
        assert_close(net.blobs[key[4:]].data, io[key], 1e-5, key)


@pytest.mark.parametrize("case", LAYERS)
def test_backward(case, on_device):
    net, io = live(f"layers/{case}")
    net.forward()
    check_backward(net, io, 1e-4)


def test_what_a_script_writes_reaches_the_device_and_back(build, on_device):
    net = build(SIMPLE)
    weight = next(iter(net.params.values()))[0]
    view, out = weight.data, net.forward()["prob"]
    before = out.copy()
    view[...] = np.random.default_rng(1).standard_normal(view.shape)  # not through `.data`
    net.forward()
    after = out.copy()  # the view of the first pass shows the second's
    assert not np.allclose(before, after)
    weight.data[...] = 0
    del view, out
    assert np.allclose(net.forward()["prob"], 1 / 3)


def test_nets_go_from_the_cpu_to_the_device_and_back(build, monkeypatch):
    net = build(SIMPLE)
    weight = next(iter(net.params.values()))[0]
    for step, device in enumerate([None, "cpu", None, "cpu"], 1):
        monkeypatch.setattr(mode, "device", lambda device=device: device)
        Changes.count += 1
        weight.data[...] *= 1.5
        actual = net.forward()["prob"].copy()
        fresh = build(SIMPLE)
        for name, blobs in net.params.items():
            for own, other in zip(fresh.params[name], blobs, strict=True):
                own.data[...] = other.data
        for name in net.inputs:
            fresh.blobs[name].data[...] = net.blobs[name].data
        assert np.allclose(actual, fresh.forward()["prob"], atol=1e-6), step


def test_copies_run_only_where_one_side_lacks_the_others_values():
    memory = Memory(3)
    memory.array[:] = 1
    tensor = memory.tensor("cpu")
    tensor += 1
    memory.mark_written()
    assert memory._device_newer
    assert memory.tensor("cpu") is tensor
    assert memory._device_newer, "reading on the device copies nothing"
    assert memory.array.tolist() == [2, 2, 2]
    assert not memory._device_newer


def test_a_view_is_kept_up_to_date():
    memory = Memory(2)
    view = memory.array[:1]
    memory.tensor("cpu").fill_(5)
    memory.mark_written()
    assert view.tolist() == [5]
    view[0] = 7
    assert memory.tensor("cpu").tolist() == [7, 5]


def test_a_device_has_what_another_computed():
    memory = Memory(2)
    memory.tensor("cpu").fill_(3)
    memory.mark_written()
    assert memory.tensor("meta").device.type == "meta"
    assert memory.array.tolist() == [3, 3]


def test_blobs_share_memory_on_the_device():
    blob = Blob((2, 2))
    data, diff = memories(blob)
    assert data.tensor("cpu").data_ptr() != diff.tensor("cpu").data_ptr()
    assert data.tensor("cpu").data_ptr() != blob.data.ctypes.data


@pytest.mark.parametrize("solver_type", ["SGD", "Adam"])
def test_a_solver_trains_as_on_the_cpu(tmp_path, monkeypatch, solver_type):
    from .test_solver import NET, SOLVER

    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER + f"type: '{solver_type}'")
    monkeypatch.chdir(tmp_path)
    caffe.init_log(2)
    weights = []
    for device in (None, "cpu"):
        monkeypatch.setattr(mode, "device", lambda device=device: device)
        Changes.count += 1
        solver = caffe.get_solver("solver.prototxt")
        solver.step(5)
        weights.append(solver.net.params["ip"][0].data.copy())
    caffe.init_log(0)
    assert np.allclose(*weights, atol=1e-6)


def test_a_pass_copies_nothing_that_the_script_has_let_go(build, monkeypatch):
    net = build(SIMPLE)
    net.forward()  # on the CPU, whose session binds the blobs' arrays
    monkeypatch.setattr(mode, "device", lambda: "cpu")
    Changes.count += 1
    net.forward()
    blobs = [net.blobs["conv"], net.params["conv"][0], net.params["ip"][0]]
    assert not any(memories(blob)[0]._is_viewed() for blob in blobs)
    net.forward()
    assert memories(net.blobs["conv"])[0]._device_newer, "nobody has asked for it"
