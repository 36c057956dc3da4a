"""The main job, end to end: MTCNN's three nets through the command line and as the detector."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import caffe_compat

from .cases import GOLDEN, assert_close

EXAMPLE = Path(__file__).parents[1] / "examples" / "mtcnn"
COMMAND = [sys.executable, "-m", "caffe_compat.converters"]


def files_of(net):
    folder = EXAMPLE / "models" / net
    return folder / "net.prototxt", folder / "weights.caffemodel"


@pytest.mark.parametrize("net", ["det1", "det2", "det3"])
def test_convert_and_run(net, tmp_path):
    with np.load(GOLDEN / "models" / f"mtcnn_{net}" / "io.npz") as io:
        recorded = dict(io)
    np.save(tmp_path / "data.npy", recorded["in:data"])
    convert = ["convert", *files_of(net), "-o", tmp_path / "net.onnx", "--verify"]
    feed = f"data={tmp_path / 'data.npy'}"
    run = ["run", tmp_path / "net.onnx", "--feed", feed, "--out", tmp_path]
    for arguments in (convert, run):
        subprocess.run([*COMMAND, *map(str, arguments)], check=True, capture_output=True)
    for key, want in recorded.items():
        if key.startswith("out:"):
            assert_close(np.load(tmp_path / f"{key[4:]}.npy"), want, 1e-5, key)


def load_example():
    spec = importlib.util.spec_from_file_location("detect", EXAMPLE / "detect.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def picture():
    return np.asarray(Image.open(EXAMPLE / "astronaut.png").convert("RGB"))


@pytest.mark.parametrize("inputs", [{"data": (1, 3, 48, 48)}, {"data": (None, 3, None, None)}])
def test_pnet_at_another_size(picture, inputs):
    """The prototxt says 12x12; real Caffe's input and outputs at 48x48 are recorded."""
    with np.load(GOLDEN / "models" / "mtcnn_det1" / "astronaut_io.npz") as io:
        recorded = dict(io)
    detect = load_example()
    data = detect.blob([detect.crop(picture, (0, 0, 256, 256), (48, 48))]).astype(np.float32)
    assert_close(data, recorded["in:data"], 1e-6, "resized picture")
    net = caffe_compat.load(*files_of("det1"), inputs=inputs)
    out = caffe_compat.Session(net, "cpu").run({"data": data})
    for name in ("prob1", "conv4-2"):
        assert_close(out[name], recorded[f"out:{name}"], 1e-5, name)
    face = out["prob1"][0, 1]
    assert np.unravel_index(face.argmax(), face.shape) == (4, 8)
    assert face.max() == pytest.approx(0.986, abs=5e-4)


def test_detector_finds_the_face(picture):
    detect = load_example()
    nets = (
        detect.open_net("det1", (1, 3, None, None)),
        detect.open_net("det2", (None, 3, 24, 24)),
        detect.open_net("det3", (None, 3, 48, 48)),
    )
    boxes, scores, points = detect.detect(picture, *nets)
    assert boxes.shape == (1, 4)
    assert scores[0] > 0.99
    left, top, right, bottom = boxes[0]
    assert (left, top, right, bottom) == pytest.approx((53, 61, 139, 174), abs=3)
    eyes, nose, mouth = points[0, :2], points[0, 2], points[0, 3:]
    assert eyes == pytest.approx(np.array([[76, 101], [119, 103]]), abs=4)  # as one sees them
    assert eyes[:, 1].max() < nose[1] < mouth[:, 1].min()
    nothing = detect.detect(np.full((64, 64, 3), 127, np.uint8), *nets)
    assert [len(found) for found in nothing] == [0, 0, 0]
