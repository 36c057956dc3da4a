"""The page of `export --web`: its preprocessing to the bit, and `run`'s own answers."""

from __future__ import annotations

import runpy
import threading

import numpy as np
import pytest
from PIL import Image

from caffe_compat.images import web
from caffe_compat.images.reader import read
from caffe_compat.net.preprocess import PRESETS, Preprocess
from caffe_compat.pipeline import load
from caffe_compat.runtime.session import Session

from ..cases import make

SHAPES = {"det1": (1, 3, None, None), "det2": (None, 3, 24, 24), "det3": (None, 3, 48, 48)}
DET3 = "examples/mtcnn/models/det3"
NET = """
input: "data" input_shape {{ dim: 1 dim: {channels} dim: 20 dim: 16 }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {{ num_output: 6 kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param {{ num_output: 7 weight_filler {{ type: "gaussian" std: 0.001 }} }} }}
layer {{ name: "prob" type: "Softmax" bottom: "fc" top: "prob" }}
"""
MEAN = np.random.default_rng(1).uniform(90, 130, (3, 20, 16)).astype(np.float32)


@pytest.fixture
def served(tmp_path, browser, ort_web):
    """A function that opens the page of a net."""
    opened = []

    def serve(net, preprocess, device, labels=()):
        site = web.export(net, tmp_path, "A <net>", preprocess, labels=labels, ort=ort_web)
        server = site.server()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        opened.append((server, page))
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/?device={device}")
        page.wait_for_function("/^Ready|not load/.test(document.all.status.textContent)")
        assert page.text_content("#status") == f"Ready, on {device}"
        return page

    yield serve
    for server, page in opened:
        page.close()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("steps", "channels"),
    [
        (Preprocess(), 3),
        (Preprocess(mean=(104, 117, 123), scale=0.017, raw_scale=0.5), 3),
        (Preprocess(resize=(24, 30), mean=MEAN), 3),
        (Preprocess(resize=(40, 33), crop=(20, 16), order="rgb", mean=(127.5,), scale=1 / 128), 3),
        (Preprocess(resize=(20, 16), mean=(33.3,)), 1),
        (PRESETS["unit"], 3),
    ],
)
def test_preprocessing_is_the_same_to_the_bit(served, tmp_path, steps, channels):
    page = served(make(NET.format(channels=channels)), steps, "wasm")
    rng = np.random.default_rng(4)
    for height, width in ((37, 51), (20, 16), (9, 8)):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        if steps.resize is None and steps.crop is None and (height, width) == (37, 51):
            image[...] = np.minimum(image, 200)
        rgba = np.dstack([image, np.full((height, width), 255, np.uint8)])
        got = page.evaluate(
            """async ([rgba, width, height]) => {
              const { preprocess } = await import("./preprocess.js");
              const settings = await (await fetch("model.json")).json();
              const { data, dims } = preprocess(rgba, width, height, settings);
              return [[...new Uint32Array(data.buffer)], dims];
            }""",
            [rgba.ravel().tolist(), width, height],
        )
        want = steps(image, (1, channels, 20, 16))
        assert got[1] == [1, *want.shape]
        np.testing.assert_array_equal(np.array(got[0], np.uint32), want.ravel().view(np.uint32))


@pytest.mark.parametrize("device", ["webgpu", "wasm"])
def test_the_page_shows_what_run_says(served, tmp_path, device):
    """O-Net on a picture: every output's first class, and its number."""
    net = load(f"{DET3}/net.prototxt", f"{DET3}/weights.caffemodel", batch=1)
    steps, path = PRESETS["mtcnn"], "examples/mtcnn/astronaut.png"
    names = ["no face", "face", *(f"number {i}" for i in range(2, 10))]  # for the widest output
    page = served(net, steps, device, labels=names)
    page.set_input_files("#input", path)
    page.wait_for_function("/ ms on /.test(document.all.status.textContent)")
    with Session(net, "cpu") as session:
        (dims,) = session.inputs.values()
        data = steps(read(path), dims)[np.newaxis]
        (name,) = session.inputs
        want = session.run({name: data})
    assert page.locator("h2").all_text_contents() == list(want)
    for table, (top, values) in zip(page.locator("table").all(), want.items(), strict=True):
        numbers = [float(n) for n in table.locator("td:first-child").all_text_contents()]
        best = np.sort(values.ravel())[::-1][:5]
        np.testing.assert_allclose(numbers, best, atol=1.01e-4, err_msg=top)
    shown = page.locator("table").nth(list(want).index("prob1")).inner_text()
    assert shown.split("\t")[1].startswith("no face")


def test_titles_and_labels_are_text(served, tmp_path):
    page = served(make(NET.format(channels=3)), None, "wasm", labels=["<b>bold</b>"] * 7)
    assert page.text_content("h1") == "A <net>"
    Image.fromarray(np.full((20, 16, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    page.set_input_files("#input", tmp_path / "grey.png")
    page.wait_for_function("/ ms on /.test(document.all.status.textContent)")
    assert page.locator("td").nth(1).text_content() == "<b>bold</b>"


def test_faces_in_the_browser_are_those_of_detect(tmp_path, browser, ort_web):
    """MTCNN's cascade: the boxes, the scores and the landmarks.

    On WebAssembly: a GPU in software takes a minute to compile every size of the pyramid.
    """
    folder = "examples/mtcnn"
    site = runpy.run_path(f"{folder}/browser.py")["write"](tmp_path, ort_web)
    example = runpy.run_path(f"{folder}/detect.py")
    nets = (example["open_net"](name, shape) for name, shape in SHAPES.items())
    boxes, scores, marks = example["detect"](read(f"{folder}/astronaut.png"), *nets)
    server = site.server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.server_address[1]}/?device=wasm")
    page.set_input_files("#input", f"{folder}/astronaut.png")
    page.wait_for_function("/ ms on |Not loaded/.test(document.all.status.textContent)")
    assert page.text_content("#status").startswith(f"{len(boxes)} face")
    faces = page.evaluate("globalThis.faces")
    np.testing.assert_allclose([face["score"] for face in faces], scores, atol=1e-4)
    np.testing.assert_allclose([face["box"] for face in faces], boxes, atol=0.01)
    np.testing.assert_allclose([face["marks"] for face in faces], marks, atol=0.01)
    page.close()
    server.shutdown()
    server.server_close()
