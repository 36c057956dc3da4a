"""Every recorded one-layer net as a live one: real Caffe's forward and backward numbers."""

from __future__ import annotations

import numpy as np
import pytest

import caffe_compat.pycaffe as caffe
from caffe_compat.pycaffe import engine

from ..cases import GOLDEN, assert_close

LAYERS = sorted(path.name for path in (GOLDEN / "layers").iterdir())
SSD = sorted(path.name for path in (GOLDEN / "layers_ssd").iterdir())
BOTH = [*(f"layers/{case}" for case in LAYERS), *(f"layers_ssd/{case}" for case in SSD)]


@pytest.fixture(params=["numpy", "onnxruntime"])
def kind(request, monkeypatch):
    monkeypatch.setattr(engine, "SEGMENTS", request.param == "onnxruntime")
    monkeypatch.setattr(engine, "TORCH", request.param == "onnxruntime")
    return request.param


def live(case):
    """The live net of a recorded case, its inputs filled, and the recorded arrays."""
    folder = GOLDEN / case
    weights = folder / "weights.caffemodel"
    weights = {"weights": str(weights)} if weights.exists() else {}
    net = caffe.Net(str(folder / "net.prototxt"), caffe.TEST, **weights)
    with np.load(folder / "io.npz") as file:
        io = dict(file)
    for key, array in io.items():
        if key.startswith("in:"):
            net.blobs[key[3:]].data[...] = array
    return net, io


@pytest.mark.parametrize("case", BOTH)
def test_forward(case, kind):
    net, io = live(case)
    wanted = [key[4:] for key in io if key.startswith("out:")]
    assert wanted
    net.forward()
    for name in wanted:
        assert_close(net.blobs[name].data, io[f"out:{name}"], 1e-5, name)


@pytest.mark.parametrize("case", [f"layers/{case}" for case in LAYERS])
def test_backward(case, kind):
    net, io = live(case)
    net.forward()
    check_backward(net, io, 1e-4)


def check_backward(net, io, tolerance):
    """Run backward from a case's gradients at the tops, and compare what was recorded, if any."""
    recorded = [key for key in io if key.startswith(("indiff:", "paramdiff:"))]
    if not recorded:
        return
    for key, array in io.items():
        if key.startswith("topdiff:"):
            net.blobs[key[8:]].diff[...] = array
    net.backward()
    for key in recorded:
        what, name, *place = key.split(":")
        blob = net.blobs[name] if what == "indiff" else net.params[name][int(place[0])]
        assert_close(blob.diff, io[key], tolerance, key)
