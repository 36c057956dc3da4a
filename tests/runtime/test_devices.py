"""Devices: their names and providers, and what happens if one is missing."""

from __future__ import annotations

import logging
import sys

import onnxruntime
import pytest

from caffe_compat.errors import DeviceError, ShapeError
from caffe_compat.runtime import devices, session
from caffe_compat.runtime.session import Session


@pytest.mark.parametrize("name", ["gpu", "cpu:0", "cuda:x", "cuda:", "CUDA", ""])
def test_names_that_are_no_device(net, name):
    with pytest.raises(DeviceError, match=f"device '{name}': one of auto, cpu, cuda, cuda:N"):
        Session(net, name)


def test_a_missing_provider_is_named_with_its_package(net, monkeypatch):
    only(monkeypatch, "CPUExecutionProvider", "AzureExecutionProvider")
    with pytest.raises(
        DeviceError,
        match=(
            r"device 'cuda:1': this onnxruntime has no CUDAExecutionProvider, only "
            r"CPUExecutionProvider, AzureExecutionProvider; to get it: "
            r"pip install caffe_compat\[gpu\]"
        ),
    ):
        Session(net, "cuda:1")
    with pytest.raises(DeviceError, match="no TensorrtExecutionProvider"):
        Session(net, "tensorrt")


def test_auto_falls_back_and_logs_it_once(net, monkeypatch, caplog):
    only(monkeypatch, "CPUExecutionProvider")
    monkeypatch.setattr(devices, "_logged", set())
    monkeypatch.setattr(logging.getLogger("caffe_compat"), "propagate", True)
    with caplog.at_level(logging.INFO, "caffe_compat"):
        assert [Session(net, "auto").device for _ in range(3)] == ["cpu"] * 3
    assert [r.getMessage() for r in caplog.records] == [
        "device auto: this onnxruntime has no CUDA; running on the CPU"
    ]


def test_cuda_that_is_available_and_does_not_start(net, monkeypatch):
    """onnxruntime then falls back in silence: an error if CUDA was asked for by name."""
    only(monkeypatch, "CUDAExecutionProvider", "CPUExecutionProvider")
    started = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda source, options, providers: started(
            source, options, providers=["CPUExecutionProvider"]
        ),
    )
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    assert Session(net, "auto").device == "cpu"
    with pytest.raises(DeviceError, match="could not start CUDAExecutionProvider, and fell back"):
        Session(net, "cuda:0")


def test_providers_and_their_options(monkeypatch):
    only(monkeypatch, "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
    (device,) = devices.devices("tensorrt:2", cuda_graph=True)
    assert (device.name, device.index, device.on_gpu) == ("tensorrt:2", 2, True)
    assert device.provider == "TensorrtExecutionProvider"
    assert device.providers == (
        ("TensorrtExecutionProvider", {"device_id": "2", "trt_cuda_graph_enable": "1"}),
        ("CUDAExecutionProvider", {"device_id": "2", "use_tf32": "0", "enable_cuda_graph": "1"}),
        "CPUExecutionProvider",
    )
    assert [d.name for d in devices.devices("auto")] == ["cuda:0", "cpu"]
    assert [d.name for d in devices.devices("auto", cuda_graph=True)] == ["cuda:0"]


def test_cuda_graphs_need_a_gpu(net):
    with pytest.raises(DeviceError, match="CUDA graphs need a GPU"):
        Session(net, "cpu", cuda_graph=True)
    with pytest.raises(DeviceError, match="no CUDAExecutionProvider"):
        Session(net, "auto", cuda_graph=True)


def test_cuda_graphs_need_fixed_shapes():
    with pytest.raises(ShapeError, match=r"'x' is 2x[?]; convert with inputs=") as caught:
        session._check_fixed({"x": (2, None)})
    assert caught.value.remedies == ("inputs", "batch")


def test_without_onnxruntime(net, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeviceError, match=r"not installed here .*pip install caffe_compat\[cpu\]"):
        Session(net)


def only(monkeypatch, *providers):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(providers))
