"""Files that a layer names beside its data: InfogainLoss's matrix, in the current folder."""

from __future__ import annotations

import shutil

import pytest

import caffe_compat.pycaffe as caffe
from caffe_compat.errors import ParseError
from caffe_compat.pycaffe import engine

from ..cases import GOLDEN, assert_close
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
