"""Devices: their names and providers, and what happens if one is missing."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from caffe_compat import pipeline
from caffe_compat.errors import DeviceError, ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.writer import save
from caffe_compat.runtime import devices, float16, opening, session, tensorrt
from caffe_compat.runtime.session import Session

from ..cases import GOLDEN, feed, inline, make, one_layer


@pytest.mark.parametrize("name", ["gpu", "cpu:0", "cuda:x", "cuda:", "CUDA", ""])
def test_names_that_are_no_device(net, name):
    with pytest.raises(DeviceError, match=f"device '{name}': one of auto, cpu, cuda, tensorrt"):
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
    monkeypatch.setattr(devices.cuda, "find_fault", lambda provider, index: None)
    started = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda source, options, providers, enable_fallback: started(
            source, options, providers=["CPUExecutionProvider"]
        ),
    )
    assert Session(net, "auto").device == "cpu"
    with pytest.raises(DeviceError, match="could not start CUDAExecutionProvider, and gives no"):
        Session(net, "cuda:0")


def test_the_cause_is_in_the_error_and_auto_logs_it(net, monkeypatch, caplog):
    only(monkeypatch, "CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr(devices.cuda, "find_fault", lambda provider, index: "no driver here")
    monkeypatch.setattr(devices, "_logged", set())
    monkeypatch.setattr(logging.getLogger("caffe_compat"), "propagate", True)
    with pytest.raises(DeviceError, match=r"^device 'cuda:2': no driver here$"):
        Session(net, "cuda:2")
    with caplog.at_level(logging.INFO, "caffe_compat"):
        assert Session(net, "auto").device == "cpu"
    assert [r.getMessage() for r in caplog.records] == [
        "device auto: device 'cuda:0': no driver here; trying the next"
    ]


def test_a_model_is_prepared_for_the_device_that_starts(net, monkeypatch):
    """The CPU's own forms (PReLU, LRN) also where auto falls back to it."""
    only(monkeypatch, "CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr(devices.cuda, "find_fault", lambda provider, index: "no driver here")
    tuned = []
    monkeypatch.setattr(opening, "tune", lambda lowered: tuned.append(lowered) or lowered)
    Session(net, "auto")
    assert len(tuned) == 1


@pytest.mark.parametrize(
    ("folder", "waits"),
    [("layers/lstm_0", "Scan"), ("layers_ssd/detection_corner_0", "NonMaxSuppression")],
)
def test_a_model_in_memory_is_prepared_for_cuda(folder, waits):
    """As the file of `convert --target cuda` is."""
    lowered = lower(pipeline.load(GOLDEN / folder / "net.prototxt"))
    for kind in ("cuda", "tensorrt"):
        prepared = opening._prepare(lowered, kind)
        operators = {node.op_type for node in prepared.model.graph.node}
        assert (waits in operators) == (kind == "tensorrt")


def test_providers_and_their_options(monkeypatch):
    only(monkeypatch, "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    (device,) = devices.devices("tensorrt:2", cuda_graph=True)
    assert (device.name, device.index, device.on_gpu) == ("tensorrt:2", 2, True)
    assert device.provider == "TensorrtExecutionProvider"
    cuda = {"device_id": "2", "use_tf32": "0", "cudnn_conv_algo_search": "EXHAUSTIVE"}
    assert device.providers == (
        ("TensorrtExecutionProvider", {"device_id": "2", "trt_cuda_graph_enable": "1"}),
        ("CUDAExecutionProvider", {**cuda, "enable_cuda_graph": "1"}),
        "CPUExecutionProvider",
    )
    assert [d.name for d in devices.devices("auto")] == ["cuda:0", "cpu"]
    assert [d.name for d in devices.devices("auto", cuda_graph=True)] == ["cuda:0"]


@pytest.mark.parametrize(
    ("asked", "search"), [(None, "HEURISTIC"), ("exhaustive", "EXHAUSTIVE"), ("default", "DEFAULT")]
)
def test_how_convolutions_are_chosen(monkeypatch, asked, search):
    only(monkeypatch, "CUDAExecutionProvider", "CPUExecutionProvider")
    (device,) = devices.devices("cuda", conv_search=asked)
    assert device.providers[0][1]["cudnn_conv_algo_search"] == search
    with pytest.raises(DeviceError, match="conv_search is 'fast'; it is one of heuristic, exh"):
        devices.devices("cuda", conv_search="fast")


TENSOR_CORES = {"use_tf32": "1", "prefer_nhwc": "1", "fuse_conv_bias": "0"}


@pytest.mark.parametrize(
    ("half", "search", "suited"),
    [
        (False, "exhaustive", {"use_tf32": "0"}),
        (True, None, TENSOR_CORES),
        (True, "exhaustive", {**TENSOR_CORES, "fuse_conv_bias": "1"}),
    ],
)
def test_float16_multiplies_on_tensor_cores(net, tmp_path, monkeypatch, half, search, suited):
    """onnxruntime's use_tf32=0 bars float16 from them, too."""
    asked = with_sessions(monkeypatch, lambda options: RuntimeError())
    model = float16.to_float16(lower(net)) if half else lower(net)
    path = save(model, tmp_path / "net.onnx").files[0]
    for source in (model, path, path.read_bytes()):
        for device in ("cuda", "tensorrt"):
            with pytest.raises(DeviceError):
                Session(source, device, conv_search=search)
    on_tensorrt = {**suited, "fuse_conv_bias": "0"} if half else suited
    for options in asked:
        del options["device_id"], options["cudnn_conv_algo_search"]
    assert asked == [suited, on_tensorrt] * 3


def test_what_is_not_arranged_for_tensor_cores(monkeypatch):
    """The indices of maxima keep the layout; open axes would compile kernels for each shape."""
    asked = with_sessions(monkeypatch, lambda options: RuntimeError())
    body = 'type: "Convolution" convolution_param { num_output: 2 kernel_size: 1 }'
    text = one_layer(body, (1, 3, 4, 4)) + 'layer { name: "p" type: "Pooling" bottom: "y" '
    masked = make(text + 'top: "p" top: "m" pooling_param { kernel_size: 2 } }')
    unfixed = make(one_layer(body, (1, 3, 4, 4)), inputs={"a": (None, 3, 4, 4)})
    for each in (masked, unfixed):
        with pytest.raises(DeviceError):
            Session(float16.to_float16(lower(each)), "cuda", conv_search="exhaustive")
    layouts = [(each["prefer_nhwc"], each["fuse_conv_bias"]) for each in asked]
    assert layouts == [("0", "0"), ("1", "0")]


@pytest.mark.parametrize("fails", [False, True])
def test_a_net_that_cudnn_cannot_fuse(net, monkeypatch, fails):
    """It says so in a run; the session is then another one, without the fusion."""

    class Stub:
        """A session on the CPU that poses as one on CUDA."""

        def __init__(self, model, fused):
            self._session, self._fused = started(model), fused

        def __getattr__(self, name):
            return getattr(self._session, name)

        def get_providers(self):
            return ["CUDAExecutionProvider"]

        def run(self, *arguments):
            if self._fused and fails:
                raise RuntimeError("no execution plans support the graph")
            return self._session.run(*arguments)

    original = onnxruntime.InferenceSession

    def started(model):
        return original(model, providers=["CPUExecutionProvider"])

    half = float16.to_float16(lower(net))
    model = inline(half).SerializeToString()
    asked = with_sessions(
        monkeypatch, lambda options: Stub(model, options["fuse_conv_bias"] == "1")
    )
    monkeypatch.setattr(Session, "_bind", lambda *arguments, **options: None)
    feeds = feed(net)
    outputs = Session(half, "cuda", conv_search="exhaustive").run(feeds)
    assert [each["fuse_conv_bias"] for each in asked] == (["1", "0"] if fails else ["1"])
    np.testing.assert_array_equal(outputs["prob"], Session(half, "cpu").run(feeds)["prob"])


def with_sessions(monkeypatch, answers):
    """The options with which sessions on CUDA are asked for, in a list that grows.

    Args:
        answers: a function of the options that returns the session, or the error.
    """
    only(monkeypatch, "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr(devices.cuda, "find_fault", lambda provider, index: None)
    monkeypatch.setattr(tensorrt.cuda, "gpu_name", lambda index: "a card")
    started, asked = onnxruntime.InferenceSession, []

    def start(source, options, providers, **others):
        if providers == ["CPUExecutionProvider"]:
            return started(source, options, providers=providers, **others)
        asked.append(dict(providers[:-1])["CUDAExecutionProvider"])
        answer = answers(asked[-1])
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(onnxruntime, "InferenceSession", start)
    return asked


@pytest.mark.parametrize("name", sorted({*devices.KINDS} - {"cpu", "cuda", "tensorrt"}))
def test_every_device_names_its_package(net, monkeypatch, name):
    only(monkeypatch, "CPUExecutionProvider")
    monkeypatch.setitem(sys.modules, str(devices.KINDS[name].plugin), None)
    install = re.escape(devices.KINDS[name].install)
    with pytest.raises(DeviceError, match=f"device '{name}': .*to get it: pip install {install}$"):
        Session(net, name)
    with pytest.raises(DeviceError, match=f"device '{name}:1': one of"):
        Session(net, f"{name}:1")


def test_engines_of_tensorrt_are_kept_beside_the_model(net, tmp_path, monkeypatch):
    only(monkeypatch, "TensorrtExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr(tensorrt.cuda, "gpu_name", lambda index: f"A/card {index}")
    model = tmp_path / "net.onnx"
    pipeline.to_onnx(net, model)
    (device,) = devices.devices("tensorrt:1")
    first = tensorrt.keep_engines(device, model).providers[0][1]
    folder = Path(first["trt_engine_cache_path"])
    assert folder.parent == tmp_path / "net.onnx.engines"
    assert re.fullmatch(r"[0-9a-f]{16}-A_card_1-[0-9.]+-\w[\w.]*", folder.name)
    assert (first["trt_engine_cache_enable"], folder.is_dir()) == ("1", True)
    model.write_bytes(model.read_bytes() + b"\0")  # another model has other engines
    assert tensorrt.keep_engines(device, model).providers[0][1] != first
    (cpu,) = devices.devices("cpu")
    assert tensorrt.keep_engines(cpu, model) is cpu


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


def test_cuda_graphs_record_no_suppression(monkeypatch):
    """SSD's: how many boxes there are is known on the GPU first."""
    only(monkeypatch, "CUDAExecutionProvider", "CPUExecutionProvider")
    monkeypatch.setattr(devices.cuda, "find_fault", lambda provider, index: None)
    ssd = pipeline.load(GOLDEN / "layers_ssd" / "detection_corner_0" / "net.prototxt")
    with pytest.raises(
        UnsupportedError,
        match=r"a CUDA graph records no node that waits .*: 'detectionoutput/ScatterND/Loop' "
        r"\(Loop\), .*; run without cuda_graph",
    ):
        Session(ssd, "cuda", cuda_graph=True)
