"""Golden cases on OpenVINO: real Caffe's numbers, where a provider of OpenVINO starts."""

from __future__ import annotations

import importlib.util

import numpy as np
import onnxruntime as ort
import pytest

from caffe_compat.errors import DeviceError
from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.passes import simplify
from caffe_compat.pipeline import to_onnx
from caffe_compat.runtime.session import Session

from ..cases import GOLDEN, assert_close, load, make, one_layer


def _fault():
    """Why OpenVINO cannot run here; None if it can."""
    if "OpenVINOExecutionProvider" not in ort.get_available_providers():
        if importlib.util.find_spec("onnxruntime_ep_openvino") is None:
            return "no onnxruntime-openvino and no onnxruntime-ep-openvino here"
        try:
            Session(make(one_layer('type: "ReLU"', (1, 2, 3, 3))), "openvino")
        except DeviceError as error:  # it takes Intel's processors alone
            return str(error)
    return None


FAULT = _fault()
pytestmark = pytest.mark.skipif(FAULT is not None, reason=str(FAULT))
CASES = [
    folder
    for group in ("layers", "layers_ssd")
    for folder in sorted((GOLDEN / group).iterdir())
    if (folder / "io.npz").exists()
]


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_caffes_numbers(folder):
    net, io = load(folder)
    feeds = {key[3:]: array for key, array in io.items() if key.startswith("in:")}
    if "priorbox" in folder.name:  # of the picture it reads the size alone
        feeds = {v.blob: np.zeros(v.shape, np.float32) for v in net.graph.inputs}
    with Session(simplify(lower(net)), "openvino") as session:
        outputs = session.run({name: feeds[name] for name in session.inputs})
    wanted = {key[4:]: array for key, array in io.items() if key.startswith("out:")}
    assert outputs.keys() & wanted.keys()
    for name in outputs.keys() & wanted.keys():
        assert_close(outputs[name], wanted[name], 1e-4, name)


def test_an_input_that_a_file_does_not_read(tmp_path):
    """The provider takes inputs by their place, and counts only those that are read."""
    net, io = load(GOLDEN / "layers" / "eltwise_inplace_sum_0")
    to_onnx(net, tmp_path / "net.onnx")
    with Session(tmp_path / "net.onnx", "openvino") as session:
        outputs = session.run({name: io[f"in:{name}"] for name in session.inputs})
    assert_close(outputs["out"], io["out:out"], 1e-4)
