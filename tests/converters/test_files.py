"""Files that a layer names beside its data, at the command line: InfogainLoss's matrix."""

from __future__ import annotations

import shutil

import onnx
import pytest

from ..cases import GOLDEN


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(GOLDEN / "train_data" / "infogain", tmp_path / "case")
    return tmp_path / "case"


@pytest.mark.parametrize("command", ["convert", "show", "time", "doctor"])
def test_no_command_opens_it_unasked(command, run, folder):
    (folder / "H.binaryproto").write_bytes(b"damaged")
    shapes = ("--input", "data=5x7", "--input", "label=5")
    status, _, err = run(command, folder / "net.prototxt", *shapes)
    assert status == 1
    assert "layer 'loss' (InfogainLoss): infogain_loss_param.source 'H.binaryproto' is a" in err
    assert "feed H as a third bottom" in err


def test_data_net_opens_it(run, folder):
    net, out = folder / "net.prototxt", folder / "net.onnx"
    status, _, err = run("convert", net, "--data", "net", "-o", out)
    assert status == 0, err
    constants = {tuple(array.dims) for array in onnx.load(out).graph.initializer}
    assert (4, 4) in constants
    status, _, err = run("time", net, "--data", "net", "--iterations", "2")
    assert status == 0, err
    assert "loss\tbackward" in err


def test_a_damaged_one_is_one_error(run, folder):
    (folder / "H.binaryproto").write_bytes(b"\x08")
    status, _, err = run("show", folder / "net.prototxt", "--data", "net")
    assert status == 1
    assert "layer 'loss' (InfogainLoss): " in err
    assert "H.binaryproto: byte " in err


def test_test_reads_it(run, folder, tmp_path):
    weights = tmp_path / "w.caffemodel"
    assert run("init", folder / "net.prototxt", "--data", "net", "-o", weights)[0] == 0
    status, _, err = run("test", folder / "net.prototxt", weights, "--iterations", "2")
    assert status == 0, err
    assert "Batch 1, loss = " in err
