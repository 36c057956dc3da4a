"""Inputs and outputs beside OpenCV 4.14's recorded answers (golden/opencv/record.py)."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat import CaffeCompatError, DeviceError, ShapeError, dnn

from ..cases import assert_close
from .nets import FOLDERS, read


@pytest.mark.parametrize("name", FOLDERS)
def test_answers_are_opencvs_at_every_size(name, recorded):
    facts, arrays, net = recorded[0][name], recorded[1], read(name)
    for run in range(facts["runs"]):
        x = arrays[f"{name}/{run}/in"]
        net.setInput(x, "", 1 / 128, (127.5,) * x.shape[1])
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
    assert net._reshaping.net.graph.inputs[0].dims == (None, 3, None, None)


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
        with pytest.raises(ShapeError, match="an image is"):
            dnn.blobFromImage(image)


def test_an_input_without_a_shape_takes_setinputs(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'input: "data" layer { name: "c" type: "Convolution" bottom: "data" top: "c"'
        ' convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }'
    )
    net = dnn.readNetFromCaffe(str(path))
    with pytest.raises(ShapeError, match="no shape for an input; setInput gives it"):
        net.getLayerNames()
    net.setInput(np.ones((1, 5, 8, 9), np.float32))
    assert net.forward().shape == (1, 2, 6, 7)
    assert net.getLayerNames() == ("c",)
    path.write_text(path.read_text().replace('"data" top', '"other" top'))
    net = dnn.readNetFromCaffe(str(path))
    net.setInput(np.ones((1, 5, 8, 9), np.float32))
    with pytest.raises(ShapeError, match="unknown bottom blob 'other'"):
        net.forward()
