"""`export`: a Triton model repository from a prototxt or an ONNX file."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from caffe_compat import pipeline
from caffe_compat.images import web
from caffe_compat.runtime.session import Session

from ..cases import GOLDEN, feed, make
from .models import LABELS

NET = """
name: "two"
input: "data" input_shape { dim: 2 dim: 3 dim: 7 dim: 5 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
  pooling_param { pool: AVE global_pooling: true } }
layer { name: "prob" type: "Softmax" bottom: "pool" top: "prob" }
"""


CONFIG = """\
name: "net"
backend: "onnxruntime"
default_model_filename: "model.onnx"
max_batch_size: 8
input {
  name: "data"
  data_type: TYPE_FP32
  dims: [ 3, 7, 5 ]
}
output {
  name: "conv"
  data_type: TYPE_FP32
  dims: [ 4, 5, 3 ]
}
output {
  name: "prob"
  data_type: TYPE_FP32
  dims: [ 3, 1, 1 ]
  label_filename: "labels.txt"
}
dynamic_batching {
  max_queue_delay_microseconds: 250
}
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    return tmp_path / "net.prototxt"


DRAWN = (
    "WARNING: no weights are given: every weight was drawn by its filler, and the answers mean "
    "nothing; name the trained ones behind the net\n"
)


def test_a_prototxt_with_labels(run, net, tmp_path):
    status, out, err = run(
        "export",
        net,
        "--triton",
        tmp_path / "repo",
        "--labels",
        tmp_path / "labels.txt",
        "--max-batch",
        8,
        "--delay",
        250,
    )
    assert (status, err) == (0, DRAWN)
    home = tmp_path / "repo" / "net"
    assert (home / "config.pbtxt").read_text() == CONFIG
    assert (home / "labels.txt").read_text() == "a\nb\nc\n"
    session = Session(home / "1" / "model.onnx", "cpu")
    assert session.inputs == {"data": (None, 3, 7, 5)}
    assert len(out.splitlines()) == 3


def test_fixed_batch_is_not_joined(run, net, tmp_path):
    status, _, err = run("export", net, "--triton", tmp_path / "repo", "--batch", 2, "--name", "b")
    assert status == 0
    assert err == (
        "note: no dynamic batching, since 'data' is 2x3x7x5, its first axis not open; "
        "batch='dynamic' opens it (--batch N|dynamic)\n" + DRAWN
    )
    text = (tmp_path / "repo" / "b" / "config.pbtxt").read_text()
    assert "max_batch_size: 0\n" in text
    assert "dims: [ 2, 3, 7, 5 ]" in text
    assert "dynamic_batching" not in text


def test_a_detector_is_served_image_by_image(run, tmp_path):
    ssd = GOLDEN / "models" / "hyperlpr_ssd"
    status, _, err = run(
        "export",
        ssd / "net.prototxt",
        "--weights",
        ssd / "weights.caffemodel",
        "--triton",
        tmp_path,
        "--name",
        "ssd",
    )
    assert status == 0
    assert err == (
        "note: no dynamic batching, since 'detection_out' is 1x1x?x7, its first axis not open\n"
    )
    text = (tmp_path / "ssd" / "config.pbtxt").read_text()
    assert "max_batch_size: 0\n" in text
    assert "dims: [ 1, 1, -1, 7 ]" in text


@pytest.mark.parametrize("weights_as", ["inline", "external"])
def test_an_onnx_file_is_copied_whole(run, tmp_path, weights_as):
    small = make(NET)
    pipeline.to_onnx(small, tmp_path / "x.onnx", weights_as=weights_as)
    assert run("export", tmp_path / "x.onnx", "--triton", tmp_path / "repo")[0] == 0
    (tmp_path / "x.onnx").unlink()
    feeds = feed(small)
    outputs = Session(tmp_path / "repo" / "x" / "1" / "model.onnx", "cpu").run(feeds)
    np.testing.assert_allclose(outputs["prob"], small.forward(feeds)["prob"], atol=1e-6)


def test_nothing_is_written_of_what_is_refused(run, net, tmp_path):
    (tmp_path / "few.txt").write_text("a\nb\n")
    few = tmp_path / "few.txt"
    status, _, err = run("export", net, "--triton", tmp_path / "r", "--labels", few)
    assert (status, err) == (1, "error: 2 labels for the 3 classes of 'prob' (--labels FILE)\n")
    assert run("export", net, "--web", tmp_path / "p", "--labels", few) == (status, "", err)
    assert run("export", tmp_path / "x.onnx", "--triton", tmp_path / "r")[0] == 1
    assert run("export", net, "--web", tmp_path / "p", "--ort", tmp_path)[0] == 1
    refusal = f"error: {few}/net/1: is a file or in one; name a folder\n"
    assert run("export", net, "--triton", few)[2] == refusal
    assert not (tmp_path / "r").exists()
    assert not (tmp_path / "p").exists()


def test_preprocessing_is_baked_in(run, net, tmp_path):
    """As `run` takes it; a mean_file of the prototxt that is not there is named otherwise."""
    own = 'bottom: "data" transform_param { mean_file: "../gone.binaryproto" }'
    net.write_text(NET.replace('bottom: "data"', own, 1))
    np.save(tmp_path / "mean.npy", np.full((3, 7, 5), 9, np.float32))
    pipeline.load(net).save(tmp_path / "w.npz")
    weights = tmp_path / "w.npz"
    given = ("--triton", tmp_path / "r", "--bake-preprocess")
    status, _, err = run("export", net, weights, *given)
    assert (status, err.endswith("(--mean-file FILE)\n")) == (1, True)
    status, _, err = run("export", net, weights, *given[:2], "--mean-file", tmp_path / "mean.npy")
    assert (status, err) == (0, "")
    session = Session(tmp_path / "r" / "net" / "1" / "model.onnx", "cpu")
    assert session.dtypes["image"] == np.uint8
    image = np.random.default_rng(0).integers(0, 256, (1, 7, 5, 3), np.uint8)
    planes = np.float32(image[..., ::-1]).transpose(0, 3, 1, 2) - 9
    want = pipeline.load(net, weights, inputs={"data": (1, 3, 7, 5)}).forward(planes)["prob"]
    np.testing.assert_allclose(session.run(image)["prob"], want, atol=1e-6)
    status, _, err = run("export", tmp_path / "x.onnx", *given)
    assert (status, "is for a prototxt" in err) == (2, True)


def test_a_size_of_images_for_triton(run, net, tmp_path):
    given = ("export", net, "--triton", tmp_path / "r", "--image-size", "9x8")
    status, _, err = run(*given)
    assert (status, "--image-size: goes with --bake-preprocess" in err) == (2, True)
    assert run(*given, "--preset", "unit")[0] == 0
    session = Session(tmp_path / "r" / "net" / "1" / "model.onnx", "cpu")
    assert session.inputs == {"image": (None, 9, 8, 3)}


def test_a_files_name_that_is_no_utf8(run, net, tmp_path):
    odd = tmp_path / os.fsdecode(b"n\xff.prototxt")
    try:
        odd.write_bytes(net.read_bytes())
    except OSError:
        pytest.skip("this file system has no such names")
    assert run("export", odd, "--web", tmp_path / "page")[0] == 0
    assert "<h1>n?</h1>" in (tmp_path / "page" / "index.html").read_text("utf-8")


def test_a_page_for_the_browser(run, net, folder, tmp_path):
    out, ort = tmp_path / "page", tmp_path / "dist"
    args = ("export", net, "--web", out, "--preset", "unit", "--name", "A <net>")
    assert run(*args, "--labels", folder / "labels.txt")[0] == 0
    names = {path.name for path in out.iterdir()}
    assert names == {"index.html", "app.js", "preprocess.js", "model.json", "model.onnx"}
    page = (out / "index.html").read_text()
    assert "<h1>A &lt;net&gt;</h1>" in page
    assert '"integrity": {"https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/' in page
    settings = json.loads((out / "model.json").read_text())
    assert (settings["order"], settings["scale"], settings["labels"]) == ("rgb", 1 / 255, LABELS)
    assert settings["wasm"]["integrity"].startswith("sha384-")
    ort.mkdir()
    status, _, err = run(*args, "--ort", ort)
    assert status == 1
    assert "has no ort.webgpu.bundle.min.mjs; it is in dist/ of onnxruntime-web" in err
    for name in web.ORT:
        (ort / name).write_bytes(b"its bytes")
    assert run(*args, "--ort", ort)[0] == 0
    assert (
        '{"imports": {"ort": "./ort/ort.webgpu.bundle.min.mjs"}}'
        in (out / "index.html").read_text()
    )
    with web.Site(out, ()).server() as server:
        assert server.server_address[0] == "127.0.0.1"


def test_one_of_page_and_repository(run, net, tmp_path):
    for extra in ((), ("--web", tmp_path / "a", "--triton", tmp_path / "b")):
        status, _, err = run("export", net, *extra)
        assert (status, "give one of --triton DIR and --web DIR" in err) == (2, True)
