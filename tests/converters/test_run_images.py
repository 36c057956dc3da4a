"""`run --image`: tables, JSON, boxes, features."""

from __future__ import annotations

import json
import shutil

import h5py
import numpy as np
import onnx
import pytest

from caffe_compat.images import reader

from .models import CONVERT, LABELS, MODEL, blobs


def test_classification_table(run, folder, session):
    status, out, err = run(
        "run",
        *MODEL,
        "--image",
        folder,
        "--labels",
        folder / "labels.txt",
        "--top",
        2,
        "--mean",
        "125,123,114",
        "--device",
        "cpu",
    )
    assert (status, err) == (0, "")
    lines = iter(out.splitlines())
    for name, size in (("a.png", "30x40"), ("b.png", "32x32"), ("c.png", "90x70")):
        prob = blobs(session, folder / name)["prob"]
        assert next(lines) == f"{folder / name}  {size} pixels"
        assert next(lines) == "  prob"
        for best in np.argsort(-prob)[:2]:
            assert next(lines) == f"  {prob[best]:9.4f}  {best:>5}  {LABELS[best]}"
    assert not list(lines)


def test_json_and_images_that_cannot_be_read(run, folder, session):
    (folder / "b.png").write_bytes(b"<html>")
    (folder / "d.jpg").write_bytes(b"")
    status, out, err = run(
        "run",
        *MODEL,
        "--image",
        folder,
        "--json",
        "--top",
        1,
        "--mean",
        "125,123,114",
        "--device",
        "cpu",
    )
    assert status == 1
    assert err.splitlines() == [
        f"warning: skipped: {folder / 'b.png'}: not an image that Pillow can read",
        f"warning: skipped: {folder / 'd.jpg'}: an empty file, not an image",
        "error: 2 of 4 images could not be read",
    ]
    said = json.loads(out)
    assert [each["image"] for each in said] == [
        str(folder / n) for n in ("a.png", "b.png", "c.png", "d.jpg")
    ]
    assert [each.get("error", "")[-7:] for each in said] == ["", "an read", "", "n image"]
    prob = blobs(session, folder / "c.png")["prob"]
    (best,) = said[2]["outputs"]["prob"]["top"]
    assert best["index"] == np.argmax(prob)
    assert best["score"] == pytest.approx(prob.max(), abs=1e-6)
    assert said[2]["size"] == [70, 90]


@pytest.mark.parametrize("form", ["npy", "npz", "h5"])
@pytest.mark.parametrize("from_onnx", [False, True])
def test_features(run, folder, session, form, from_onnx):
    """Rows are in the order of the images at any batch; also from an ONNX file of batch 2."""
    model = MODEL
    if from_onnx:
        model = (folder / "net.onnx",)
        assert run("convert", *CONVERT, "-o", model[0], "--batch", 2)[0] == 0
    status, out, err = run(
        "run",
        *model,
        "--image",
        folder / "*.png",
        "--blob",
        "conv1,pool3",
        "--out",
        folder / "f",
        "--format",
        form,
        "--mean",
        "125,123,114",
        "--device",
        "cpu",
    )
    assert (status, err) == (0, "")
    for name in ("conv1", "pool3"):
        if form == "npy":
            made = np.load(folder / "f" / f"{name}.npy")
        elif form == "npz":
            made = np.load(folder / "f" / "features.npz")[name]
        else:
            made = h5py.File(folder / "f" / "features.h5")[name][:]
        want = np.stack([blobs(session, folder / f"{each}.png")[name] for each in "abc"])
        np.testing.assert_allclose(made, want, atol=1e-4)
        assert made.dtype == np.float32
    names = (folder / "f" / "images.txt").read_text().splitlines()
    assert names == [str(folder / f"{each}.png") for each in "abc"]
    assert sorted(p.name for p in (folder / "f").iterdir()) == sorted(
        ["images.txt", *(["conv1.npy", "pool3.npy"] if form == "npy" else [f"features.{form}"])]
    )
    assert len(out.splitlines()) == len(list((folder / "f").iterdir()))


def detector(path, rows, batch=1):
    """An ONNX model with the same detections for every image."""
    h = onnx.helper
    found = onnx.numpy_helper.from_array(np.array(rows, np.float32).reshape(1, 1, -1, 7), "found")
    graph = h.make_graph(
        [
            h.make_node("ReduceMax", ["data"], ["max"], keepdims=0),
            h.make_node("Mul", ["max", "zero"], ["none"]),
            h.make_node("Add", ["found", "none"], ["detection_out"]),
        ],
        "detector",
        [h.make_tensor_value_info("data", 1, [batch, 3, 8, 8])],
        [h.make_tensor_value_info("detection_out", 1, [1, 1, "n", 7])],
        [found, onnx.numpy_helper.from_array(np.float32(0), "zero")],
    )
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=8), path)
    return path


ROWS = [
    [0, 2, 0.6, 0.25, 0.5, 0.75, 1.0],
    [1, 1, 0.9, 0.0, 0.0, 0.5, 0.5],
    [0, 1, 0.8, 0.1, 0.2, 0.3, 0.4],
    [0, 1, 0.3, 0.0, 0.0, 1.0, 1.0],
    [-1, -1, -1, -1, -1, -1, -1],
]


def test_detections_are_listed_and_drawn(run, folder):
    model = detector(folder / "ssd.onnx", ROWS, batch=2)
    status, out, _ = run(
        "run",
        model,
        "--image",
        folder / "a.png",
        "--image",
        folder / "b.png",
        "--draw",
        folder / "drawn",
        "--json",
        "--device",
        "cpu",
    )
    assert status == 0
    first, second = json.loads(out)
    boxes = first["outputs"]["detection_out"]["detections"]
    assert [(b["index"], round(b["score"], 3)) for b in boxes] == [(1, 0.8), (2, 0.6)]
    np.testing.assert_allclose(boxes[0]["box"], [3, 8, 9, 16], rtol=1e-6)  # 30 wide, 40 high
    np.testing.assert_allclose(boxes[1]["box"], [7.5, 20, 22.5, 40], rtol=1e-6)
    (box,) = second["outputs"]["detection_out"]["detections"]
    assert box["box"] == [0, 0, 16, 16]
    original, drawn = (reader.read(folder / at) for at in ("a.png", "drawn/a.png"))
    changed = (original != drawn).any(axis=2)
    assert changed[8:17, 3].all()
    assert changed[20:40, [7, 22]].mean() > 0.8
    assert not changed[25:35, 10:20].any()
    assert first["drawn"] == str(folder / "drawn" / "a.png")


def test_detections_after_a_crop_are_in_pixels_of_the_whole_image(run, folder):
    model = detector(folder / "ssd.onnx", ROWS[2:3])
    status, out, _ = run(
        "run",
        model,
        "--image",
        folder / "a.png",
        "--resize",
        "16x12",
        "--json",
        "--labels",
        folder / "labels.txt",
    )
    assert status == 0
    (box,) = json.loads(out)[0]["outputs"]["detection_out"]["detections"]
    assert box["label"] == "automobile"
    # an 8x8 window from (4, 2) of 16x12, of a picture 40 high and 30 wide
    np.testing.assert_allclose(
        box["box"],
        [(2 + 8 * 0.1) * 2.5, (4 + 8 * 0.2) * 2.5, (2 + 8 * 0.3) * 2.5, (4 + 8 * 0.4) * 2.5],
        rtol=1e-6,
    )


def test_drawing_never_overwrites(run, folder):
    (folder / "more").mkdir()
    shutil.copy(folder / "a.png", folder / "more" / "a.png")
    model, before = detector(folder / "ssd.onnx", ROWS), (folder / "a.png").read_bytes()
    status, _, err = run("run", model, "--image", folder / "a.png", "--draw", folder)
    assert (status, (folder / "a.png").read_bytes()) == (1, before)
    assert "is the image itself" in err
    run(
        "run",
        model,
        "--image",
        folder / "a.png",
        "--image",
        folder / "more",
        "--draw",
        folder / "d",
    )
    assert sorted(p.name for p in (folder / "d").iterdir()) == ["a.png", "a_.png"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--image", "none.png"], "1 of 1 images could not be read"),
        (["--image", "*.webp"], "no image there"),
        (
            ["--image", "a.png", "--labels", "few.txt"],
            "3 labels for the 10 classes of 'prob' (--labels FILE)",
        ),
        (["--image", "a.png", "--labels", "none.txt"], "none.txt: no such file"),
        (["--image", "a.png", "--labels", "a.png"], "a.png: not a text file of labels"),
        (["--image", "a.png", "--draw", "d"], "no output is a detection"),
        (["--image", "a.png", "--blob", "conv7", "--out", "o"], "no blob 'conv7'"),
        (["--image", "a.png", "--crop", "30"], "crop 30x30 is not the net's input, 32x32"),
        (["--image", "a.png", "--resize", "20"], "cannot crop 32x32 out of 20x20"),
        (["--image", "a.png", "--mean", "1,2"], "2 mean values for 3 channels"),
        (["--image", "a.png", "--mean-file", "none"], "none: No such file"),
        (["--image", "a.png", "--device", "cuda:0"], "device 'cuda:0'"),
    ],
)
def test_errors(run, folder, monkeypatch, arguments, says):
    monkeypatch.chdir(folder)
    (folder / "few.txt").write_text("a\nb\nc\n")
    if "cuda:0" in arguments:
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    status, _, err = run("run", *MODEL, "--scale", 1, *arguments)
    assert status == 1
    assert err.splitlines()[-1].startswith("error: ")
    assert says in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["--image", "a.png", "--preset", "x"],
            "'x' is not one of 'imagenet-bgr', 'mtcnn', 'ssd-300', 'unit'",
        ),
        (["--image", "a.png", "--mean", "a,b"], "is not numbers with commas"),
        (["--image", "a.png", "--resize", "0x3"], "is neither a size"),
        (["--draw", "d"], "works on images; give --image"),
        (["--engine", "ray"], "works on images; give --image"),
    ],
)
def test_misuse(run, folder, monkeypatch, arguments, says):
    monkeypatch.chdir(folder)
    status, _, err = run("run", *MODEL, *arguments)
    assert status == 2
    assert says in " ".join(err.split())


def test_nan_is_reported(run, folder):
    model = detector(folder / "nan.onnx", [[0, 1, np.nan, 0, 0, 1, 1], ROWS[2]])
    status, out, err = run("run", model, "--image", folder / "a.png", "--json", "--scale", 1)
    assert status == 0
    assert json.loads(out)[0]["nan"] == {"detection_out": 1}
    assert f"warning: {folder / 'a.png'}: 'detection_out' has 1 NaN" in err


def test_feature_maps_as_pictures(run, folder, tmp_path):
    maps = tmp_path / "maps"
    status, out, _ = run(
        "run", *MODEL, "--image", folder / "b.png", "--blob", "conv1,pool3", "--picture", maps
    )
    assert status == 0
    assert sorted(path.name for path in maps.iterdir()) == ["b-conv1.png", "b-pool3.png"]
    assert len(out.splitlines()) == 2
    assert run("run", *MODEL, "--image", folder / "b.png", "--picture", maps)[0] == 2


def test_the_evidence_for_a_class(run, folder, tmp_path):
    heat = tmp_path / "heat"
    words = ("run", *MODEL, "--image", folder / "b.png", "--labels", folder / "labels.txt")
    status, out, _ = run(*words, "--explain", "cat", "--draw", heat)
    assert status == 0
    assert "by the maps of 'pool3'" in out
    assert [path.name for path in heat.iterdir()] == ["b-3.png"]
    assert run(*words, "--explain", "cat")[0] == 2
    assert run(*words, "--explain", "unicorn", "--draw", heat)[0] == 2
