"""Files of layers in the current folder: InfogainLoss's matrix, and what HDF5Output writes."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest

import caffe_compat.pycaffe as caffe
from caffe_compat.errors import CaffeCompatError, ParseError, UnsupportedError
from caffe_compat.pycaffe import engine

from ..cases import GOLDEN, assert_close
from ..training.test_outputs import CAFFE, NET
from .test_golden import check_backward, live


@pytest.mark.parametrize("fast", [False, True])
def test_forward_and_backward_are_real_caffe_s(fast, monkeypatch):
    monkeypatch.setattr(engine, "SEGMENTS", fast)
    monkeypatch.setattr(engine, "TORCH", fast)
    monkeypatch.chdir(GOLDEN / "infogain")
    net, io = live("infogain")
    net.forward()
    for name in ("loss", "prob"):
        assert_close(net.blobs[name].data, io[f"out:{name}"], 1e-6, name)
    check_backward(net, io, 1e-6)


def test_the_current_folder_is_the_only_one(tmp_path, monkeypatch):
    """As in Caffe: nothing is looked up beside the prototxt."""
    shutil.copytree(GOLDEN / "infogain", tmp_path / "net")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParseError, match=r"layer 'loss' .*source 'H.binaryproto': no such file"):
        caffe.Net("net/net.prototxt", caffe.TEST)


def test_hdf5_output_writes_the_first_forward_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text("force_backward: true" + NET % "out.h5")
    caffe.set_random_seed(1701)
    net = caffe.Net("net.prototxt", caffe.TRAIN)
    net.forward()
    net.backward()
    with h5py.File("out.h5") as file:
        np.testing.assert_allclose(file["data"], CAFFE, rtol=1e-6)
        np.testing.assert_array_equal(file["label"], np.ones((3, 1, 1, 1)))
    with pytest.raises(UnsupportedError, match=r"layer 'out' .*: 'out\.h5' has the rows"):
        net.forward()
    (tmp_path / "net.prototxt").write_text(NET % "nowhere/out.h5")
    with pytest.raises(CaffeCompatError, match=r"layer 'out' .*: nowhere/out\.h5: "):
        caffe.Net("net.prototxt", caffe.TRAIN)
