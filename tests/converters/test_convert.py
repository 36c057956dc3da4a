"""`convert`: what it refuses, with the name of the file and the layer."""

from __future__ import annotations

import json
import sys

import pytest

from caffe_compat.onnx.lowering import IGNORED
from caffe_compat.runtime.session import Session

from ..cases import REPORTS
from .models import CONVERT, NET, error


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("num_output: 5", "num_output 5", ":5:"),
        ("kernel_size: 3", "kernel_sizes: 3", "'kernel_sizes'"),
        ("kernel_size: 3", "kernel_size: 30", "layer 'conv1' (Convolution)"),
        ('bottom: "conv1" top: "fc"', 'bottom: "conv9" top: "fc"', "'conv9'"),
        ('top: "prob"', 'top: "data"', "'data' produced by multiple sources"),
        ('"msra"', '"orthogonal"', "orthogonal"),
    ],
)
def test_bad_prototxt(run, net, tmp_path, old, new, says):
    assert old in NET
    net.write_text(NET.replace(old, new))
    out = tmp_path / "net.onnx"
    out.write_bytes(b"before")
    message = error(run("convert", net, "-o", out))
    assert says in message
    assert out.read_bytes() == b"before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.onnx", "net.prototxt"]


def test_all_unsupported_types_at_once(run, net):
    text = NET.replace('"PReLU"', '"Foo"').replace('"Softmax"', '"Bar"')
    net.write_text(text.replace("decay_mult: 0", "decay_mult: 0 unheard_of: 1"))
    message = error(run("convert", net, "-o", net.parent / "n.onnx"))
    assert "layer 'relu1' (Foo)" in message
    assert "layer 'prob' (Bar)" in message


def test_unknown_field_of_a_layer_that_is_left_out(run, net):
    net.write_text(NET.replace('"drop"', '"drop" fork_param { a: 1 }'))
    status, _, err = run("convert", net, "-o", net.parent / "n.onnx")
    assert status == 0
    assert "'fork_param'" in err
    net.write_text(NET.replace("num_output: 4", "num_output: 4 fork_only: 1"))
    assert "--ignore-unknown" in error(run("convert", net, "-o", net.parent / "n.onnx"))
    message = error(run("convert", net, "-o", net.parent / "n.onnx", "--ignore-unknown"))
    assert "this net needs ignore_unknown=('fork_only',)" in message
    named = ("-o", net.parent / "n.onnx", "--ignore-unknown", "fork_only")
    status, out, _ = run("convert", net, *named)
    assert status == 0
    ignored = "InnerProductParameter.fork_only"
    assert out.splitlines()[-1] == f"converted; without {ignored}, which the net has"
    _, out, _ = run("convert", net, *named, "--verify")
    assert out.splitlines()[-1].endswith(f"; without {ignored}, which the net has")
    assert json.loads(Session(net.parent / "n.onnx").properties[IGNORED]) == [ignored]


VERIFIED = [
    ("03_verify_exit", ["--seed", 3], 0, "behind 'am' (ArgMax), where a tie decides"),
    ("20_fp16_verify", [], 0, "agree on 2 blobs"),
    ("20_fp16_verify", ["--fp16"], 1, "NOT verified: numpy and onnxruntime differ in layer 'p'"),
    ("44_verify_all_zero", [], 0, "verified: with drawn weights, since weights are all 0"),
    ("44_verify_all_zero", ["--fp16"], 0, "tolerance for float16: 1e-02"),
]


@pytest.mark.parametrize(("name", "options", "status", "says"), VERIFIED)
def test_verify_opens_the_file_and_has_a_status(run, tmp_path, name, options, status, says):
    net, out = REPORTS / name / "net.prototxt", tmp_path / "n.onnx"
    got, said, _ = run("convert", net, "-o", out, "--verify", *options)
    assert got == status
    assert says in said.splitlines()[-1]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--target", "opencv"],
        ["--fold-batchnorm"],
        ["--weights-as", "external"],
        ["--bake-preprocess"],
        ["--fp16", "--bake-preprocess"],
        ["--int8", "--calibrate"],
        ["--int8", "--bake-preprocess", "--calibrate"],
    ],
)
def test_every_form_of_file_is_verified(run, folder, options):
    if options[-1:] == ["--calibrate"]:
        options = [*options, folder]
    prep = ("--mean", "125,123,114") if len(options) > 2 or "--bake-preprocess" in options else ()
    out = folder / "n.onnx"
    status, said, _ = run("convert", *CONVERT, "-o", out, "--verify", *options, *prep)
    assert status == 0, said
    assert said.splitlines()[-1].startswith("verified: numpy and onnxruntime agree on ")


POOLING = """input: "data" input_shape { dim: 1 dim: 1 dim: 4 dim: 4 }
layer { name: "p" type: "Pooling" bottom: "data" top: "p"
  pooling_param { kernel_size: 2 stride: 2 %s } }"""


@pytest.mark.parametrize("field", ["pool: MEDIAN", "weights_compress: 1"])
def test_what_changes_numbers_is_not_proposed(run, tmp_path, field):
    (tmp_path / "net.prototxt").write_text(POOLING % field)
    message = error(run("convert", tmp_path / "net.prototxt", "-o", tmp_path / "n.onnx"))
    assert "ignore" not in message


def test_an_unknown_value_of_a_known_field_is_never_dropped(run, tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text(POOLING % "pool: MEDIAN")
    for flag in ("--ignore-unknown=pool", "--ignore-unknown=PoolingParameter.pool"):
        message = error(run("convert", net, "-o", tmp_path / "n.onnx", flag))
        assert "PoolingParameter.pool has no value 'MEDIAN'" in message


@pytest.mark.parametrize(
    "options",
    [
        ("23_engine",),
        ("26_data_fields", "--input", "data=8x3x4x4", "--input", "label=8"),
    ],
)
def test_fields_that_change_no_number_need_no_flag(run, tmp_path, options):
    folder, *inputs = options
    net = REPORTS / folder / "net.prototxt"
    status, out, err = run("convert", net, "-o", tmp_path / "n.onnx", *inputs)
    assert status == 0
    assert "skipped: " in err
    assert "without" not in out


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>Not found</body></html>", "an HTML page"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "a PNG image"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
        (None, "no such file"),
    ],
)
def test_bad_weights(run, net, tmp_path, content, says):
    weights = tmp_path / "w.caffemodel"
    if content is not None:
        weights.write_bytes(content)
    message = error(run("convert", net, weights, "-o", tmp_path / "n.onnx")).lower()
    assert "w.caffemodel" in message
    assert says.lower() in message
    assert not (tmp_path / "n.onnx").exists()


def test_truncated_weights(run, net, tmp_path):
    weights = tmp_path / "w.caffemodel"
    run("init", net, "-o", weights)
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    assert "w.caffemodel" in error(run("convert", net, weights, "-o", tmp_path / "n.onnx"))


def test_weights_of_another_shape(run, net, tmp_path):
    weights = tmp_path / "w.caffemodel"
    run("init", net, "-o", weights)
    net.write_text(NET.replace("num_output: 4", "num_output: 6"))
    message = error(run("convert", net, weights, "-o", tmp_path / "n.onnx"))
    assert "'fc'" in message
    assert "4 210 (840)" in message
    assert "6 210 (1260)" in message
    assert "rename the layer" in message


def test_python_layer_imports_nothing(run, net, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    python = 'type: "Python" python_param { module: "evil" layer: "Gone" }'
    net.write_text(NET.replace('type: "Softmax"', python))
    message = error(run("convert", net, "-o", tmp_path / "n.onnx"))
    assert "evil" in message
    assert "Gone" in message
    assert "evil" not in sys.modules


def test_convert_leaves_the_prototxt_alone(run, net):
    assert "is an input itself; name another output" in error(run("convert", net, "-o", net))
    assert net.read_text() == NET


def test_without_a_name_it_is_the_nets_in_the_current_folder(run, net, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    status, out, _ = run("convert", net)
    assert (status, out.split()[0]) == (0, "net.onnx")
    before = (tmp_path / "here" / "net.onnx").read_bytes()
    status, _, err = run("convert", net, "--seed", 5)
    says = "error: net.onnx: is there already; name another file with -o, or --force"
    assert (status, err.splitlines()[-1]) == (1, says)
    assert (tmp_path / "here" / "net.onnx").read_bytes() == before
    assert run("convert", net, "--seed", 5, "--force")[0] == 0
    assert (tmp_path / "here" / "net.onnx").read_bytes() != before


def test_nodes_that_would_leave_a_gpu_are_named(run, net, tmp_path):
    pooled = NET.replace(
        'name: "prob"',
        'name: "pool" type: "Pooling" bottom: "conv1" top: "pool" '
        'pooling_param { kernel_size: 2 } }\nlayer { name: "prob"',
    )
    net.write_text(pooled)
    out = tmp_path / "net.onnx"
    status, said, err = run("convert", net, "-o", out, "--target", "cuda")
    assert (status, err) == (0, "")
    assert "on CUDA: all " in said
    status, said, err = run("convert", net, "-o", out, "--opset", "22")
    assert status == 0
    assert "on the CPU: 1 x MaxPool (pool): its kernels end with opset 12" in err
    assert "note: opset 18 has more kernels on GPUs; --opset 18" in err
    status, _, err = run(
        *("convert", net, "-o", out, "--target", "cuda", "--int8", "any", "--calibrate", tmp_path)
    )
    assert status == 2
    assert "--int8 is for CPUs" in " ".join(err.split())
