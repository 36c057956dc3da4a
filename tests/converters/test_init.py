"""`init`: the exact bytes through the command line, and what is refused."""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import onnx
import pytest

from caffe_compat import weights

from ..cases import GOLDEN
from ..doctor.zoo import resnet
from ..slope_nets import INPUT, conv, layer
from .models import error

LIMIT = 300_000


def _cases():
    for folder in sorted([*(GOLDEN / "nets").iterdir(), *(GOLDEN / "random_nets").iterdir()]):
        record = json.loads((folder / "net.json").read_text())
        count = sum(math.prod(b["shape"]) for blobs in record["params"].values() for b in blobs)
        if 0 < count < LIMIT:
            yield pytest.param(folder, record, id=folder.name)


def sha256(array):
    return hashlib.sha256(np.ascontiguousarray(array, "<f4").tobytes()).hexdigest()


@pytest.mark.parametrize(("folder", "record"), [*_cases()])
def test_the_bytes_that_caffe_draws(run, tmp_path, folder, record):
    """Every parameter blob of the file, in both of Caffe's formats."""
    options = ("--seed", record["seed"], "--phase", record["phase"])
    want = {k: [b["sha256"] for b in v] for k, v in record["params"].items() if v}
    for file in (tmp_path / "w.caffemodel", tmp_path / "w.caffemodel.h5"):
        status, _, err = run("init", folder / "net.prototxt", *options, "-o", file)
        if file.suffix == ".h5" and any("/" in name for name in record["params"]):
            assert status == 1
            assert "cannot be the name of an HDF5 group" in err
            continue
        assert status == 0, err
        got = {}
        for held in weights.read(file).layers:
            if held.blobs:
                got[held.name] = {blob.index: sha256(blob.array) for blob in held.blobs}
        assert got.keys() <= want.keys()
        for name, digests in want.items():
            found = got.get(name, {})
            # HDF5 leaves a shared blob to its owner.
            assert file.suffix == ".h5" or len(found) == len(digests)
            assert found == {i: digests[i] for i in found}


def _with_outputs():
    """Those of which ONNX holds all: a loss without a top computes nothing where tops are left."""
    for case in _cases():
        _, record = case.values
        if not (record["outputs"] and "(automatic)" in record["blobs"]):
            yield case


@pytest.mark.parametrize(("folder", "record"), [*_with_outputs()])
def test_the_bytes_in_onnx(run, tmp_path, folder, record):
    """Every blob but BatchNorm's third, a factor of the other two."""
    file = tmp_path / "net.onnx"
    status, _, err = run("init", folder / "net.prototxt", "--phase", record["phase"], "-o", file)
    assert status == 0, err
    stored = {sha256(onnx.numpy_helper.to_array(t)) for t in onnx.load(file).graph.initializer}
    types = dict(map(tuple, record["layers"]))
    for name, blobs in record["params"].items():
        wanted = blobs[:2] if types[name] == "BatchNorm" else blobs
        assert stored.issuperset(blob["sha256"] for blob in wanted), name


def filler(text, size="kernel_size: 3"):
    return (
        INPUT + 'layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" '
        f"convolution_param {{ num_output: 5 {size} weight_filler {{ {text} }} }} }}"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('type: "gaussian" std: 0', "sigma > 0 (0 vs. 0)"),
        ('type: "gaussian" std: -0.5', "sigma > 0 (-0.5 vs. 0)"),
        ('type: "uniform" min: 2 max: 1', "a <= b (2 vs. 1)"),
        ('type: "xavier" sparse: 3', "filler 'xavier': sparse() == -1 (3 vs. -1)"),
        ('type: "constant" sparse: 3', "filler 'constant': sparse() == -1 (3 vs. -1)"),
        ('type: "gaussian" sparse: 9', "sparse 9 is not within 5 outputs"),
        ('type: "gaussian" sparse: -2', "sparse -2 is not within 5 outputs"),
        ('type: "orthogonal"', "Unknown filler name: orthogonal"),
        ('type: "gaussian_unitball"', "filler 'gaussian_unitball': only a fork"),
        ('type: "xiangyu"', "filler 'xiangyu': only a fork"),
        ('type: "file"', "filler 'file': only a fork"),
        ('type: "gabor"', "filler 'gabor': only a fork"),
        ('type: "gaussian" std: nan', "convolution_param.weight_filler.std is nan"),
        ('type: "gaussian" mean: -inf', "filler 'gaussian': mean is -inf"),
        ('type: "constant" value: nan', "convolution_param.weight_filler.value is nan"),
        ('type: "uniform" min: -inf', "filler 'uniform': min is -inf"),
        ('type: "msra" a: nan', "convolution_param.weight_filler.a is nan"),
        ('type: "msra" a: 1e30', "sigma > 0 (0 vs. 0)"),
    ],
)
def test_a_bad_filler(run, tmp_path, text, said):
    path, out = tmp_path / "net.prototxt", tmp_path / "w.caffemodel"
    path.write_text(filler(text))
    for options in ((), ("--rng", "fast"), ("--slopes", "auto")):
        if text.startswith('type: "msra" a: ') and "--slopes" in options:
            continue  # auto takes the place of a
        status, _, err = run("init", path, "-o", out, *options)
        assert status == 1
        last = err.splitlines()[-1]
        assert "layer 'conv1' (Convolution): " in last
        assert said in last
        assert not out.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            filler('type: "bilinear"', "kernel_h: 3 kernel_w: 2"),
            "layer 'conv1' (Convolution): width() == height() (2 vs. 3): Filter must be square",
        ),
        (
            INPUT
            + layer(
                "InnerProduct",
                "data",
                "ip",
                'inner_product_param { num_output: 3 weight_filler { type: "bilinear" } }',
                "ip",
            ),
            "layer 'ip' (InnerProduct): num_axes() == 4 (2 vs. 4): Blob must be 4 dim.",
        ),
        (
            INPUT
            + layer(
                "PReLU",
                "data",
                "x",
                'prelu_param { channel_shared: true filler { type: "xavier" } }',
                "act",
            ),
            "layer 'act' (PReLU): axis 0 out of range for 0-D Blob with shape (1)",
        ),
    ],
)
def test_a_filler_that_the_blob_does_not_suit(run, tmp_path, text, said):
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    status, _, err = run("init", path, "-o", tmp_path / "w.h5")
    assert (status, err) == (1, f"error: {said}\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--seed", 2**32), "seed 4294967296 is outside 0 to 4294967295"),
        (("--seed", -1), "seed -1 is outside 0 to 4294967295"),
        (
            ("--rng", "mt19937"),
            "unknown stream 'mt19937' (known: boost-1.64, boost-1.56, boost-1.55, fast)",
        ),
    ],
)
def test_a_bad_seed_or_stream(run, tmp_path, options, said):
    path, out = tmp_path / "net.prototxt", tmp_path / "w.caffemodel"
    path.write_text(INPUT + conv("one", "data"))
    assert run("init", path, "-o", out, *options) == (1, "", f"error: {said}\n")
    assert run("init", path, "-o", out, "--seed", 2**32 - 1)[0] == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "name a file to write: -o OUT, --stock OUT.prototxt, or both"),
        (("-o", "w.caffemodel", "--fix-decay"), "give --stock too"),
        (("-o", "w.caffemodel", "--slopes", "on"), "--slopes"),
        (("-o", "w.caffemodel", "--seed", "x"), "--seed"),
    ],
)
def test_bad_usage(run, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(INPUT + conv("one", "data"))
    status, _, err = run("init", "net.prototxt", *options)
    assert status == 2
    assert said in " ".join(err.replace("│", " ").split())
    assert not (tmp_path / "w.caffemodel").exists()


def test_weights_that_stay_zero(run, tmp_path):
    path = tmp_path / "net.prototxt"
    size = "recurrent_param { num_output: 3 %s }"
    path.write_text(
        'input: "x" input_shape { dim: 4 dim: 2 dim: 3 } input: "c" input_shape { dim: 4 dim: 2 }'
        + layer("RNN", "x c", "r", size % "")
        + layer("LSTM", "x c", "l", size % "")
        + layer("RNN", "x c", "f", size % 'weight_filler { type: "xavier" }', "filled")
        + layer("Embed", "c", "e", "embed_param { num_output: 3 input_dim: 7 }")
        + layer(
            "InnerProduct",
            "x",
            "a",
            'param { name: "w" } inner_product_param { num_output: 3 '
            'weight_filler { type: "uniform" } }',
            "owner",
        )
        + layer(
            "InnerProduct",
            "x",
            "b",
            'param { name: "w" } inner_product_param { num_output: 3 }',
            "user",
        )
        + layer("InnerProduct", "x", "d", "inner_product_param { num_output: 3 }", "fc")
        + layer(
            "InnerProduct",
            "x",
            "g",
            "inner_product_param { num_output: 3 weight_filler { value: 0.5 } }",
            "half",
        )
        + layer("Scale", "x", "s")
        + layer("PReLU", "x", "p")
    )
    status, _, err = run("init", path, "-o", tmp_path / "w.caffemodel")
    assert status == 0
    warning = "weights are all 0, since there is no weight_filler: rnn, lstm, embed, fc"
    assert err == f"WARNING: {warning}\n"


def test_init_and_convert_with_slopes(run, net, tmp_path):
    files = [tmp_path / name for name in ("w.caffemodel", "stock.prototxt", "again.caffemodel")]
    w, stock, again = files
    status, out, _ = run("init", net, "--slopes", "auto", "-o", w, "--stock", stock)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == [str(stock), str(w)]
    assert run("init", stock, "-o", again)[0] == 0
    for mine, theirs in zip(weights.read(w).layers, weights.read(again).layers, strict=True):
        pairs = zip(mine.blobs, theirs.blobs, strict=True)
        assert all(a.array.tobytes() == b.array.tobytes() for a, b in pairs)
    std = weights.read(w).layers[1].blobs[0].array.std()
    assert std == pytest.approx(0.19245, rel=0.2)
    models = [tmp_path / "auto.onnx", tmp_path / "drawn.onnx", tmp_path / "plain.onnx"]
    assert run("convert", net, "-o", models[0], "--slopes", "auto")[0] == 0
    assert run("convert", net, w, "-o", models[1])[0] == 0
    assert run("convert", net, "-o", models[2])[0] == 0
    auto, drawn, plain = (onnx.load(model).graph.initializer for model in models)
    assert list(auto) == list(drawn)
    assert list(auto) != list(plain)


def test_init_writes_every_format(run, net, tmp_path):
    for name in ("w.caffemodel", "w.caffemodel.h5", "w.onnx"):
        assert run("init", net, "-o", tmp_path / name)[0] == 0
        assert (tmp_path / name).stat().st_size > 1000
    assert "none of" in error(run("init", net, "-o", tmp_path / "w.txt"))
    assert not (tmp_path / "w.txt").exists()


def test_fillers_by_name(run, tmp_path):
    net, stock, file = (tmp_path / name for name in ("n.prototxt", "s.prototxt", "w.caffemodel"))
    net.write_text(resnet(3, norm=False))
    status, _, err = run("init", net, "--fillers", "msra:residual", "--stock", stock, "-o", file)
    assert status == 0, err
    assert stock.read_text().count('type: "gaussian"') == 22  # 19 layers, 2 projections, fc
    assert "msra" not in stock.read_text()
    again = tmp_path / "again.caffemodel"
    assert run("init", stock, "-o", again)[0] == 0
    for one, other in zip(weights.read(file).layers, weights.read(again).layers, strict=True):
        for blob, same in zip(one.blobs, other.blobs, strict=True):
            np.testing.assert_array_equal(blob.array, same.array)
    assert run("init", net, "--fillers", "glorot", "-o", file)[0] == 1
    assert run("init", net, "--fillers", "msra", "--slopes", "auto", "-o", file)[0] == 2
