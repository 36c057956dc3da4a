"""Outputs that would replace what is read, and options that would do nothing, are refused."""

from __future__ import annotations

import numpy as np
import pytest

from .models import error


@pytest.fixture
def files(run, net, tmp_path, monkeypatch):
    """A folder with a net, its weights, its ONNX file, and an array for its input."""
    monkeypatch.chdir(tmp_path)
    assert run("init", "net.prototxt", "-o", "w.caffemodel")[0] == 0
    assert run("convert", "net.prototxt", "w.caffemodel", "-o", "net.onnx")[0] == 0
    np.save("x.npy", np.zeros((2, 3, 8, 9), np.float32))
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        "convert net.prototxt w.caffemodel -o net.prototxt",
        "convert net.prototxt w.caffemodel -o w.caffemodel",
        "init net.prototxt -o new.caffemodel --stock net.prototxt",
        "init net.prototxt --weights w.caffemodel -o ./w.caffemodel",
        "fold net.prototxt w.caffemodel -o new.prototxt w.caffemodel",
        "fold net.prototxt w.caffemodel -o net.prototxt new.caffemodel",
        "upgrade net.prototxt -o net.prototxt",
        "doctor net.prototxt --weights w.caffemodel --json w.caffemodel",
        "show net.prototxt w.caffemodel --html w.caffemodel",
    ],
)
def test_no_output_replaces_an_input(run, files, line):
    before = {path: path.read_bytes() for path in files.iterdir()}
    assert error(run(*line.split())).endswith("is an input itself; name another output")
    assert {path: path.read_bytes() for path in files.iterdir()} == before


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("fold net.prototxt w.caffemodel -o a.npz a.npz", "a.npz: is named for two outputs"),
        ("doctor net.prototxt --html a --json ./a", "a: is named for two outputs"),
        ("fold net.prototxt w.caffemodel -o a.prototxt b.prototxt", "ends in none of .caffemodel"),
        ("convert net.prototxt w.caffemodel -o a.pt", "ends in none of .onnx, .pt2, .safetensors"),
        ("show w.caffemodel --filters ip -o a.jpg", "a.jpg: ends in none of .png"),
        ("doctor net.prototxt --html none/a.html", "there is no directory"),
        ("convert net.prototxt --custom none.py", "none.py: no such file"),
        ("convert net.prototxt --custom .", ".: is a directory; name a file in it"),
        ("run net.onnx --feed data=x.npy --out x.npy", "x.npy: is a file or in one; name a folder"),
    ],
)
def test_outputs_are_refused_before_the_work(run, files, line, says):
    before = sorted(files.iterdir())
    assert says in error(run(*line.split()))
    assert sorted(files.iterdir()) == before


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("run net.onnx --feed data=x.npy --batch 2", "--batch: is for a prototxt, not for an"),
        ("run net.onnx --feed data=x.npy --allow-missing", "--allow-missing: is for a prototxt"),
        ("run net.onnx --feed data=x.npy --top 2", "--top: works on images; give --image"),
        ("run net.onnx --feed data=x.npy --scale 2", "--scale: works on images"),
        ("run net.onnx --feed data=x.npy --engine ray", "--engine: works on images"),
        ("run net.onnx --feed data=x.npy --workers 2", "--workers: goes with --engine ray"),
        ("run net.onnx --feed data=x.npy --format h5", "--format: goes with --out DIR"),
        ("run net.onnx --feed data=x.npy --batches 2", "--batches: goes with --data net"),
        ("run net.onnx --image a.png --blob conv --draw d", "--draw: is for the outputs"),
        ("show w.caffemodel --fork fcn", "--fork: is for a prototxt, not for weights"),
        ("show net.onnx --deploy", "--deploy: is for a prototxt"),
        ("show net.prototxt --costs --fillers", "give one of --fillers, --costs and --html"),
        ("export net.onnx --triton d --opset 13", "--opset: is for a prototxt, not for an"),
        ("export net.onnx --triton d --mean 1", "--mean: is for a prototxt"),
        ("export net.onnx --triton d --serve", "--serve: is for --web"),
        ("export net.onnx --web d --max-batch 3", "--max-batch: is for --triton"),
        ("export net.onnx --web d --port 1", "--port: goes with --serve"),
        ("convert net.prototxt -o net.pt2 --opset 13", "--opset, --weights-as, --target"),
    ],
)
def test_an_option_that_would_do_nothing_is_misuse(run, files, line, says):
    before = sorted(files.iterdir())
    status, _, err = run(*line.split())
    assert (status, says in err) == (2, True), err
    assert sorted(files.iterdir()) == before
