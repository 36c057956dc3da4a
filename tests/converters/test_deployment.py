"""`convert --bake-preprocess --fp16 --int8`: the models, their parity, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from .models import CONVERT, blobs


def test_baked_model_answers_as_the_plain_one(run, folder, session):
    model = folder / "baked.onnx"
    assert (
        run(
            "convert",
            *CONVERT,
            "-o",
            model,
            "--bake-preprocess",
            "--mean",
            "125,123,114",
            "--batch",
            "dynamic",
        )[0]
        == 0
    )
    status, out, _ = run("run", model, "--image", folder / "*.png", "--json", "--top", 10)
    assert status == 0
    for said in json.loads(out):
        prob = blobs(session, said["image"])["prob"]
        made = {each["index"]: each["score"] for each in said["outputs"]["prob"]["top"]}
        np.testing.assert_allclose([made[i] for i in range(10)], prob, atol=1e-6)
    status, _, err = run("run", model, "--image", folder / "a.png", "--scale", 2)
    assert status == 1
    assert "does its own preprocessing" in err


def test_images_of_one_size(run, folder):
    model = folder / "baked.onnx"
    baked = ("--bake-preprocess", "--mean", "125,123,114", "--image-size", "40x30")
    status, out, _ = run("convert", *CONVERT, "-o", model, *baked, "--verify", "--target", "cuda")
    assert (status, "verified" in out, "on the CPU" in out) == (0, True, False)
    any_size = folder / "any.onnx"
    assert run("convert", *CONVERT, "-o", any_size, *baked[:-2])[0] == 0
    same = [run("run", each, "--image", folder / "a.png", "--json") for each in (model, any_size)]
    assert same[0] == same[1]
    status, _, err = run("run", model, "--image", folder / "b.png")
    assert (status, "input 'image' is 1x40x30x3, and was fed 1x32x32x3" in err) == (1, True)


def test_half_precision_prints_its_parity(run, folder):
    plain, half = folder / "f.onnx", folder / "h.onnx"
    run("convert", *CONVERT, "-o", plain)
    status, out, _ = run("convert", *CONVERT, "-o", half, "--fp16")
    assert status == 0
    assert "parity with float32, largest difference relative to the largest value: prob" in out
    assert "same best class 4 of 4 times" in out
    assert half.stat().st_size < 0.52 * plain.stat().st_size
    kinds = {t.data_type for t in onnx.load(half).graph.initializer if len(t.dims) == 4}
    assert kinds == {onnx.TensorProto.FLOAT16}


def test_eight_bits_calibrated_and_baked(run, folder):
    model = folder / "q.onnx"
    status, out, _ = run(
        "convert",
        *CONVERT,
        "-o",
        model,
        "--int8",
        "--calibrate",
        folder,
        "--bake-preprocess",
        "--mean",
        "125,123,114",
    )
    assert status == 0
    assert "same best class 3 of 3 times" in out
    kinds = {t.data_type for t in onnx.load(model).graph.initializer if len(t.dims) == 4}
    assert kinds == {onnx.TensorProto.INT8}
    assert run("run", model, "--image", folder)[0] == 0
    assert not list(folder.glob("tmp*"))


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--int8"], 2, "give --calibrate DIR"),
        (["--fp16", "--int8"], 2, "exclude each other"),
        (["--calibrate", "."], 2, "goes with --int8"),
        (["--image-size", "9"], 2, "goes with --bake-preprocess"),
        (["--mean", "3"], 2, "go with --bake-preprocess"),
        (
            ["--bake-preprocess"],
            1,
            "no preprocessing to bake: the prototxt has no transform_param (--preset NAME, --mean",
        ),
        (["--int8", "--calibrate", "bad"], 1, "bad/x.png: an empty file, not an image"),
    ],
)
def test_convert_refuses(run, folder, monkeypatch, arguments, status, says):
    monkeypatch.chdir(folder)
    (folder / "bad").mkdir()
    (folder / "bad" / "x.png").write_bytes(b"")
    got, _, err = run("convert", *CONVERT, "-o", folder / "o.onnx", *arguments)
    assert got == status
    assert says in " ".join(err.split())
    assert not (folder / "o.onnx").exists()
