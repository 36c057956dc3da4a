"""Real trained models: the outputs of real Caffe, by numpy and by onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import caffe_compat

from .cases import GOLDEN, assert_close

MTCNN = Path(__file__).parents[1] / "examples" / "mtcnn" / "models"
MODELS = sorted(path.name for path in (GOLDEN / "models").iterdir())
RECORDS = [
    (name, file.name)
    for name in MODELS
    for file in sorted((GOLDEN / "models" / name).glob("*io.npz"))
]


def files_of(name):
    """The prototxt and the weights of a model."""
    mtcnn = name.startswith("mtcnn_")
    folder = MTCNN / name.removeprefix("mtcnn_") if mtcnn else GOLDEN / "models" / name
    return folder / "net.prototxt", next(folder.glob("weights.*"))


def test_all_are_here():
    assert MODELS == [
        "cifar10_quick",
        "hyperlpr_finemapping",
        "hyperlpr_ssd",
        "lenet",
        "mtcnn_det1",
        "mtcnn_det2",
        "mtcnn_det3",
        "ultraface_rfb320",
    ]


@pytest.mark.parametrize(("name", "record"), RECORDS)
def test_outputs(name, record, tmp_path):
    with np.load(GOLDEN / "models" / name / record) as io:
        feeds = {key[3:]: io[key] for key in io if key.startswith("in:")}
        want = {key[4:]: io[key] for key in io if key.startswith("out:")}
    assert feeds and want
    inputs = {blob: array.shape for blob, array in feeds.items()}
    net = caffe_compat.load(*files_of(name), inputs=inputs)
    if name == "hyperlpr_finemapping":  # recorded with OpenCV, which has the layer's name
        tops = {node.layer.name: node.tops[0].blob for node in net.graph.nodes}
        want = {tops[layer]: array for layer, array in want.items()}
    caffe_compat.to_onnx(net, tmp_path / "net.onnx")
    session = ort.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    assert set(names) == set(want)
    blobs = net.forward(feeds)
    for blob, array in zip(names, session.run(names, feeds), strict=True):
        axis = 2 if array.ndim == 3 else 1  # ultraface's boxes and scores are (images, boxes, ...)
        assert_close(blobs[blob], want[blob], 1e-5, f"numpy {blob}", axis)
        assert_close(array, want[blob], 1e-5, f"onnxruntime {blob}", axis)
