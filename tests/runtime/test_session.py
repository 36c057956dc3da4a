"""Sessions: feeds and what is wrong with them, any blob, devices, threads, bound buffers."""

from __future__ import annotations

import logging
import sys
import threading
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from caffe_compat import pipeline
from caffe_compat.errors import CaffeCompatError, DeviceError, ShapeError
from caffe_compat.onnx import writer
from caffe_compat.onnx.lowering import lower
from caffe_compat.runtime import devices
from caffe_compat.runtime.session import Session

from ..cases import feed, make

NET = """
input: "data" input_shape { dim: 2 dim: 3 dim: 7 dim: 5 }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "relu1" type: "PReLU" bottom: "conv1" top: "conv1" }
layer { name: "drop" type: "Dropout" bottom: "conv1" top: "drop" }
layer { name: "fc" type: "InnerProduct" bottom: "drop" top: "fc"
  inner_product_param { num_output: 1100 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


@pytest.fixture(scope="module")
def net():
    return make(NET)


@pytest.fixture
def model(net, tmp_path):
    pipeline.to_onnx(net, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_net_lowered_file_and_bytes_agree(net, model):
    feeds = feed(net)
    outputs = [
        Session(each, "cpu").run(feeds)
        for each in (net, lower(net), model, str(model), model.read_bytes())
    ]
    assert list(outputs[0]) == ["prob"]
    want = net.forward(feeds)["prob"]
    for made in outputs:
        np.testing.assert_allclose(made["prob"], want, atol=1e-6)
        np.testing.assert_array_equal(made["prob"], outputs[0]["prob"])


@pytest.mark.parametrize("weights_as", ["inline", "external"])
def test_any_blob_can_be_an_output(net, tmp_path, weights_as):
    """From a Net and from a file, in-place and passed-on ones and the input too."""
    pipeline.to_onnx(net, tmp_path / "n.onnx", weights_as=weights_as)
    feeds, blobs = feed(net), ["conv1", "drop", "data", "fc", "prob"]
    want = net.forward(feeds)
    for each in (net, lower(net), tmp_path / "n.onnx"):
        made = Session(each, "cpu", blobs=blobs).run(feeds)
        assert sorted(made) == sorted(blobs)
        for name in blobs:
            np.testing.assert_allclose(made[name], want[name], atol=1e-5)


def test_unknown_blob_is_named_with_those_there_are(net, model):
    for each in (net, model, model.read_bytes()):
        with pytest.raises(ShapeError, match="no blob 'conv9'"):
            Session(each, "cpu", blobs=["conv9"])
    with pytest.raises(ShapeError, match=r"its blobs: conv1, data, fc, prob, drop$"):
        Session(model, "cpu", blobs=["conv9"])


@pytest.mark.parametrize(
    ("feeds", "says"),
    [
        ({}, "input 'data' is not fed; the net's inputs: data 2x3x7x5"),
        ({"data": 0, "dat": 0}, "no input 'dat'; its inputs: data 2x3x7x5"),
        ({"data": np.zeros((2, 3, 7))}, "'data' is 2x3x7x5, and was fed 2x3x7$"),
        ({"data": np.zeros((2, 3, 7, 6))}, "'data' is 2x3x7x5, and was fed 2x3x7x6"),
        ({"data": 1.0}, "'data' is 2x3x7x5, and was fed a scalar"),
        ({"data": np.zeros((2, 3, 7, 5), complex)}, "'data' is float32, and was fed complex128"),
        ({"data": np.full((2, 3, 7, 5), "x")}, "'data' is float32, and was fed <U1"),
        ({"data": [[1, 2], [3]]}, "'data' was fed what is no array"),
    ],
)
def test_wrong_feeds(net, feeds, says):
    with pytest.raises(ShapeError, match=says):
        Session(net, "cpu").run(feeds)


def test_numbers_are_converted(net):
    session, whole = Session(net, "cpu"), np.arange(210).reshape(2, 3, 7, 5) % 17
    want = session.run({"data": whole.astype(np.float32)})["prob"]
    for array in (whole, whole.astype(np.float64), whole.tolist(), whole.astype(">f4")):
        np.testing.assert_array_equal(session.run({"data": array})["prob"], want)
    turned = np.ascontiguousarray(whole.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)
    np.testing.assert_array_equal(session.run({"data": turned})["prob"], want)


def test_batches_and_threads(net):
    session = Session(make(NET, inputs={"data": (None, 3, 7, 5)}), "cpu", threads=1)
    assert session.inputs == {"data": (None, 3, 7, 5)}
    assert session.outputs == {"prob": (None, 1100)}
    rng = np.random.default_rng(5)
    batches = [{"data": rng.standard_normal((1 + i % 3, 3, 7, 5), np.float32)} for i in range(24)]
    want = [made["prob"] for made in session.run_batches(iter(batches))]
    together(session, batches, want)
    session._bind("cpu", 0)
    together(session, batches, want)


def together(session, batches, want):
    """Four threads run all the batches at once; each must get its own answers."""
    wrong = []

    def work():
        for batch, right in zip(batches, want, strict=True):
            if not np.array_equal(session.run(batch)["prob"], right):
                wrong.append(batch)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_bound_buffers_are_filled_anew_and_their_results_stay(net):
    """As on a GPU, in the CPU's memory: fixed outputs are kept from run to run."""
    session = Session(net, "cpu", blobs=["conv1"])
    first, second = feed(net, 1), feed(net, 2)
    want = session.run(first), session.run(second)
    session._bind("cpu", 0, single=True)
    held = {name: array.copy() for name, array in first.items()}
    made = session.run(first)
    again = session.run(second)
    np.testing.assert_array_equal(first["data"], held["data"])
    for name in ("prob", "conv1"):
        np.testing.assert_array_equal(made[name], want[0][name])
        np.testing.assert_array_equal(again[name], want[1][name])
    assert len(session._bindings._free) == 1


def test_closing(net):
    with Session(net, "cpu") as session:
        session.run(feed(net))
    with pytest.raises(CaffeCompatError, match="the session is closed"):
        session.run(feed(net))


def test_what_is_no_model(tmp_path):
    with pytest.raises(CaffeCompatError, match=r"none\.onnx: no such file"):
        Session(tmp_path / "none.onnx", "cpu")
    (tmp_path / "html.onnx").write_text("<html>")
    with pytest.raises(CaffeCompatError, match=r"html\.onnx: onnxruntime cannot load it"):
        Session(tmp_path / "html.onnx", "cpu")
    with pytest.raises(CaffeCompatError, match=r"html\.onnx: not an ONNX file"):
        Session(tmp_path / "html.onnx", "cpu", blobs=["x"])


@pytest.mark.parametrize("name", ["gpu", "cpu:0", "cuda:x", "cuda:", "CUDA", ""])
def test_names_that_are_no_device(net, name):
    with pytest.raises(DeviceError, match=f"device '{name}': one of auto, cpu, cuda, cuda:N"):
        Session(net, name)


def test_a_missing_provider_is_named_with_its_cure(net, monkeypatch):
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


def test_auto_falls_back_and_says_so_once(net, monkeypatch, caplog):
    only(monkeypatch, "CPUExecutionProvider")
    monkeypatch.setattr(devices, "_said", set())
    monkeypatch.setattr(logging.getLogger("caffe_compat"), "propagate", True)
    with caplog.at_level(logging.INFO, "caffe_compat"):
        assert [Session(net, "auto").device for _ in range(3)] == ["cpu"] * 3
    assert [r.getMessage() for r in caplog.records] == [
        "device auto: this onnxruntime has no CUDA; running on the CPU"
    ]


def test_cuda_that_is_there_and_does_not_start(net, monkeypatch):
    """Onnxruntime then falls back without a word: an error if CUDA was asked for by name."""
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


def test_without_onnxruntime(net, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DeviceError, match=r"not installed here .*pip install caffe_compat\[cpu\]"):
        Session(net)


def test_weights_in_memory_do_not_pass_through_the_protobuf(net):
    shell, large = writer.shell(lower(net))
    assert list(large) == ["fc/weight", "fc/bias"]
    assert len(shell) < 8000 < sum(array.nbytes for array in large.values())


def only(monkeypatch, *providers):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(providers))


def test_weights_live_until_the_session_stands(net, monkeypatch):
    """Onnxruntime takes the arrays' addresses; what was made on the way must not be freed."""
    lowered, want = lower(net), Session(net, "cpu").run(feed(net))["prob"]
    # not in C's order, so that copies are made for onnxruntime
    turned = {name: np.array(array, order="F") for name, array in lowered.arrays.items()}
    start, junk = onnxruntime.InferenceSession, []

    def late(*arguments, **options):
        junk.extend(np.full(array.shape, np.nan, np.float32) for array in turned.values())
        return start(*arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", late)
    session = Session(replace(lowered, arrays=turned), "cpu")
    for array in turned.values():
        array[...] = np.nan if array.dtype.kind == "f" else array  # and it keeps its own copy
    np.testing.assert_array_equal(session.run(feed(net))["prob"], want)
