"""caffe_compat.dnn beside what OpenCV 4.14 answered (golden/opencv/record.py)."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from caffe_compat import CaffeCompatError, DeviceError, ShapeError, dnn

from .cases import GOLDEN, assert_close

MTCNN = GOLDEN.parents[1] / "examples" / "mtcnn" / "models"
FOLDERS = {
    "lenet": GOLDEN / "models" / "lenet",
    "finemapping": GOLDEN / "models" / "hyperlpr_finemapping",
    "det1": MTCNN / "det1",
    "det2": MTCNN / "det2",
    "det3": MTCNN / "det3",
    "hyperlpr_ssd": GOLDEN / "models" / "hyperlpr_ssd",
    "ultraface": GOLDEN / "models" / "ultraface_rfb320",
}
BLOBS = dict(np.load(GOLDEN / "opencv" / "blobs.npz"))
KEYWORDS = json.loads(str(BLOBS["cases"]))


def read(name):
    """A net as record.py read it: Caffe's PriorBox cuts sizes to whole numbers, OpenCV's not."""
    folder = FOLDERS[name]
    text = (folder / "net.prototxt").read_text()
    whole = re.sub(r"((?:min|max)_size: *\d+)\.\d+", r"\1", text)
    if whole != text:
        return dnn.readNetFromCaffe(whole.encode(), (folder / "weights.caffemodel").read_bytes())
    return dnn.readNetFromCaffe(str(folder / "net.prototxt"), str(folder / "weights.caffemodel"))


@pytest.fixture(scope="module")
def recorded():
    with np.load(GOLDEN / "opencv" / "nets.npz") as arrays:
        return json.loads((GOLDEN / "opencv" / "nets.json").read_text()), dict(arrays)


@pytest.mark.parametrize("case", range(len(KEYWORDS)))
def test_blobs_are_opencvs_bit_for_bit(case):
    image, keywords = BLOBS[f"image{case}"], KEYWORDS[case]
    made = dnn.blobFromImage(image, **keywords)
    assert made.dtype == BLOBS[f"blob{case}"].dtype
    np.testing.assert_array_equal(made, BLOBS[f"blob{case}"])
    if f"float{case}" in BLOBS:
        made = dnn.blobFromImage(image.astype(np.float32), **keywords)
        assert_close(made, BLOBS[f"float{case}"], 1e-6)


def test_several_pictures_take_the_size_of_the_first():
    images = [BLOBS["image0"], BLOBS["image4"]]
    made = dnn.blobFromImages(images, 0.5, mean=(1, 2, 3))
    assert made.shape == (2, 3, 23, 17)
    np.testing.assert_array_equal(made[:1], dnn.blobFromImage(images[0], 0.5, mean=(1, 2, 3)))
    np.testing.assert_array_equal(made[1:], dnn.blobFromImage(images[1], 0.5, (17, 23), (1, 2, 3)))


@pytest.mark.parametrize("case", range(len(BLOBS["nms"])))
def test_nms_boxes(case):
    score, overlap, eta, top = BLOBS["nms"][case]
    kept = dnn.NMSBoxes(
        BLOBS["boxes"].tolist(), BLOBS["scores"].tolist(), score, overlap, eta, int(top)
    )
    assert list(kept) == list(BLOBS[f"kept{case}"])


@pytest.mark.parametrize("name", FOLDERS)
def test_layers_are_named_and_numbered_as_in_opencv(name, recorded):
    facts, net = recorded[0][name], read(name)
    assert list(net.getLayerNames()) == facts["layers"]
    assert list(net.getUnconnectedOutLayersNames()) == facts["outs"]
    assert net.getUnconnectedOutLayers().tolist() == facts["numbers"]
    assert net.getLayerId(facts["layers"][3]) == 4


@pytest.mark.parametrize("name", FOLDERS)
def test_answers_are_opencvs_at_every_size(name, recorded):
    facts, arrays, net = recorded[0][name], recorded[1], read(name)
    for run in range(facts["runs"]):
        x = arrays[f"{name}/{run}/in"]
        net.setInput(x, "", 1 / 128, (127.5,) * x.shape[1])
        # The corrections of MTCNN's boxes are small sums of large terms.
        assert_close(net.forward(), arrays[f"{name}/{run}/last"], axis=None)
        made = net.forward(facts["outs"])
        assert isinstance(made, tuple)
        for out, array in zip(facts["outs"], made, strict=True):
            assert_close(array, arrays[f"{name}/{run}/{out}"], axis=None)
    middle = net.forward(facts["middle"])
    assert_close(middle[:, :, ::3, ::3] if middle.ndim == 4 else middle, arrays[f"{name}/middle"])


def test_detections_have_keep_top_k_rows_and_zeros_where_there_is_nothing(recorded):
    net = read("hyperlpr_ssd")
    x = recorded[1]["hyperlpr_ssd/1/in"]
    net.setInput(x)
    rows = net.forward()[0, 0]
    assert rows.shape == (200, 7)
    empty = ~rows.any(1)
    assert empty.any()
    assert not rows[np.argmax(empty) :].any()


def test_nothing_found_is_zeros(tmp_path):
    (tmp_path / "net.prototxt").write_text("""
        layer { name: "l" type: "Input" top: "l" input_param { shape { dim: 2 dim: 8 } } }
        layer { name: "c" type: "Input" top: "c" input_param { shape { dim: 2 dim: 6 } } }
        layer { name: "p" type: "Input" top: "p" input_param { shape { dim: 1 dim: 2 dim: 8 } } }
        layer { name: "found" type: "DetectionOutput" bottom: "l" bottom: "c" bottom: "p" top: "y"
          detection_output_param { num_classes: 3 keep_top_k: 5 confidence_threshold: 0.5
            nms_param { nms_threshold: 0.4 top_k: 9 } code_type: CENTER_SIZE } }
    """)
    net = dnn.readNetFromCaffe(tmp_path / "net.prototxt")
    net.setInput(np.zeros((2, 8)), "l")
    net.setInput(np.zeros((2, 6)), "c")
    boxes = np.array([0, 0, 0.5, 0.5, 0.4, 0.4, 1, 1])
    net.setInput(np.stack([boxes, boxes])[None], "p")
    made = net.forward("found")
    assert made.shape == (1, 1, 10, 7)
    assert not made.any()
    scores = np.zeros((2, 6))
    scores[1, 4] = 0.75
    net.setInput(scores, "c")
    made = net.forward("found")
    assert_close(made[0, 0, 0, :3], [1, 1, 0.75])
    assert not made[0, 0, 1:].any()


def test_in_place_layers_answer_for_themselves():
    net = read("det1")
    net.setInput(np.random.default_rng(0).standard_normal((1, 3, 14, 13)).astype(np.float32))
    conv, relu = net.forward(["conv1", "PReLU1"])
    slope = net.getParam("PReLU1")[:, None, None]
    assert conv.min() < 0
    assert_close(relu, np.where(conv > 0, conv, conv * slope))


def test_files_and_buffers_give_the_same_net(recorded):
    folder = FOLDERS["lenet"]
    texts = (folder / "net.prototxt").read_bytes(), (folder / "weights.caffemodel").read_bytes()
    x = recorded[1]["lenet/0/in"] / np.float32(255)
    answers = []
    for net in (
        read("lenet"),
        dnn.readNetFromCaffe(*texts),
        dnn.readNetFromCaffe(*(np.frombuffer(text, np.uint8) for text in texts)),
        dnn.readNet(str(folder / "weights.caffemodel"), str(folder / "net.prototxt")),
    ):
        assert not net.empty()
        net.setInput(x)
        answers.append(net.forward())
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])


def test_sizes_that_keep_changing_share_a_session():
    net = read("det1")
    rng = np.random.default_rng(1)
    sizes = [(1, 3, 20, 30), (1, 3, 31, 22), (2, 3, 13, 40), (1, 3, 26, 26)]
    for shape in sizes:
        x = rng.standard_normal(shape).astype(np.float32)
        net.setInput(x)
        made = net.forward("conv4-2")
        fresh = read("det1")
        fresh.setInput(x)
        assert_close(made, fresh.forward("conv4-2"))
    assert net._held.net.graph.inputs[0].dims == (None, 3, None, None)


def test_layer_queries():
    net = read("det1")
    layer = net.getLayer("conv1")
    assert (layer.name, layer.type, layer.blobs[0].shape) == ("conv1", "Convolution", (10, 3, 3, 3))
    assert net.getLayer(1).name == "conv1"
    assert net.getLayerId("none") == -1
    assert net.getLayersCount("Convolution") == 5
    assert "Softmax" in net.getLayerTypes()
    net.setInput(np.zeros((1, 3, 12, 12), np.float32))
    ((made,),) = net.forwardAndRetrieve(["prob1"])
    np.testing.assert_array_equal(made, net.forward())
    assert net.getPerfProfile()[0] > 0


def test_blobs_that_are_set_change_the_net():
    net = read("det1")
    net.setInput(np.random.default_rng(0).standard_normal((1, 3, 12, 12)).astype(np.float32))
    before, weight = net.forward("conv1"), net.getParam("conv1")
    bias = net.getParam("conv1", 1)[:, None, None]
    net.getLayer(net.getLayerId("conv1")).blobs = [2 * weight.reshape(30, 9)]
    assert net.getParam("conv1").shape == weight.shape
    assert_close(net.forward("conv1"), 2 * (before - bias))
    with pytest.raises(ShapeError, match=r"layer 'conv1' .*bias is \(10,\), and was given \(3,\)"):
        net.getLayer("conv1").blobs = [weight, np.zeros(3)]
    with pytest.raises(ShapeError, match="has 2 blobs, and was given 3"):
        net.getLayer("conv1").blobs = [weight] * 3


def test_a_layer_name_used_twice_gets_a_number(tmp_path):
    text = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }'
    for top in "ab":
        text += f'layer {{ name: "twice" type: "ReLU" bottom: "x" top: "{top}" }}'
    (tmp_path / "net.prototxt").write_text(text)
    net = dnn.readNetFromCaffe(tmp_path / "net.prototxt")
    assert net.getLayerNames() == ("twice", "twice_1")


def test_targets(monkeypatch):
    net = read("det1")
    net.setInput(np.zeros((1, 3, 12, 12), np.float32))
    net.setPreferableBackend(dnn.DNN_BACKEND_OPENCV)
    net.setPreferableTarget(dnn.DNN_TARGET_OPENCL)
    assert net.forward().shape == (1, 2, 1, 1)
    seen = []
    monkeypatch.setattr(
        "caffe_compat.runtime.reshaping.Session", lambda _, device: seen.append(device)
    )
    net.setPreferableTarget(dnn.DNN_TARGET_CUDA)
    with pytest.raises((AttributeError, DeviceError)):
        net.forward()
    assert seen == ["cuda"]


def test_errors_name_what_is_wrong(tmp_path):
    empty = dnn.Net()
    assert empty.empty()
    with pytest.raises(CaffeCompatError, match="readNetFromCaffe"):
        empty.forward()
    net = read("lenet")
    with pytest.raises(ShapeError, match="'data' is not set"):
        net.forward()
    with pytest.raises(ShapeError, match="no input 'image'; its inputs: data"):
        net.setInput(np.zeros((1, 1, 28, 28)), "image")
    net.setInput(np.zeros((1, 1, 28, 28)))
    with pytest.raises(ShapeError, match="no layer 'softmax'"):
        net.forward("softmax")
    net.setInput(np.zeros((1, 1, 30, 28)))
    with pytest.raises(ShapeError, match=r"layer 'ip1' .*weight would be \(500, 1000\)"):
        net.forward()
    with pytest.raises(CaffeCompatError, match="no such file"):
        dnn.readNetFromCaffe(str(tmp_path / "none.prototxt"))
    with pytest.raises(CaffeCompatError, match="readNet reads"):
        dnn.readNet("net.pb")
    for image in (np.zeros(3, np.uint8), np.zeros((2, 2, 3)), np.zeros((0, 2, 3), np.uint8)):
        with pytest.raises(ShapeError, match="a picture is"):
            dnn.blobFromImage(image)
