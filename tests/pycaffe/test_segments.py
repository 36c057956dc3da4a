"""onnxruntime on the blobs' own memory: every edit is seen, whatever the layer."""

from __future__ import annotations

import numpy as np
import pytest

import caffe_compat.pycaffe as caffe
from caffe_compat.pycaffe import device, engine, mode, segments

from .nets import BATCH_NORM, LSTM, PYTHON, SIMPLE

IN_PLACE_FIRST = """
layer { name: 'data' type: 'Input' top: 'x' top: 'y'
  input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }
layer { name: 'relu' type: 'ReLU' bottom: 'x' top: 'x' }
layer { name: 'sum' type: 'Eltwise' bottom: 'x' bottom: 'y' top: 'sum' }
"""


def both(net, monkeypatch):
    """The outputs by segments and by numpy, from the same blobs."""
    inputs = {name: net.blobs[name].data.copy() for name in net.inputs}
    fast = {name: array.copy() for name, array in net.forward().items()}
    with monkeypatch.context() as patch:
        patch.setattr(engine, "SEGMENTS", False)
        patch.setattr(net, "_engine", engine.Engine(net._wiring.steps))
        for name, array in inputs.items():
            net.blobs[name].data[...] = array
        slow = {name: array.copy() for name, array in net.forward().items()}
    for name, array in inputs.items():
        net.blobs[name].data[...] = array
    return fast, slow


def check(net, monkeypatch):
    fast, slow = both(net, monkeypatch)
    for name, array in slow.items():
        assert np.allclose(fast[name], array, rtol=1e-5, atol=1e-5), name


@pytest.mark.parametrize("text", [SIMPLE, BATCH_NORM, IN_PLACE_FIRST])
def test_edits_of_every_parameter_are_seen(build, text, monkeypatch):
    net = build(text)
    check(net, monkeypatch)
    for blobs in net.params.values():
        for blob in blobs:
            blob.data.flat = np.random.default_rng(2).uniform(0.5, 1.5, blob.count)
            check(net, monkeypatch)


def test_batch_norms_factor_from_1_to_another_number(build, monkeypatch):
    net = build(BATCH_NORM)
    mean, variance, factor = net.params["bn"]
    mean.data[...], variance.data[...], factor.data[...] = 1, 4, 1
    check(net, monkeypatch)
    factor.data[...] = 2
    check(net, monkeypatch)
    factor.data[...] = 0
    check(net, monkeypatch)


def test_a_session_is_opened_once_for_a_shape(build, monkeypatch):
    opened = []
    start = segments._Session.__init__
    monkeypatch.setattr(
        segments._Session, "__init__", lambda self, part: (opened.append(1), start(self, part))[1]
    )
    net = build(BATCH_NORM)
    for shape in ((2, 3, 6, 5), (1, 3, 4, 4), (2, 3, 6, 5), (1, 3, 4, 4)):
        net.blobs["data"].reshape(*shape)
        for _ in range(3):
            net.params["scale"][0].data[...] += 1
            check(net, monkeypatch)
    assert len(opened) == 2


def test_python_layers_and_segments_take_turns(build, own_layers, monkeypatch):
    text = (
        PYTHON % (own_layers, "Times")
        + """
    layer { name: 'ip' type: 'InnerProduct' bottom: 'out' top: 'ip'
      inner_product_param { num_output: 4 weight_filler { type: 'xavier' } } }
    layer { name: 'tanh' type: 'TanH' bottom: 'ip' top: 'ip' }"""
    )
    net = build(text)
    check(net, monkeypatch)
    want = np.tanh(10 * net.blobs["data"].data @ net.params["ip"][0].data.T)
    assert np.allclose(net.forward()["ip"], want, atol=1e-5)


def test_without_onnxruntime_numpy_runs(build, monkeypatch):
    monkeypatch.setattr(segments, "available", lambda: False)
    net = build(SIMPLE)
    assert np.allclose(net.forward()["prob"].sum(1), 1)
    assert all(segment is None for segment in net._engine._segments.values())


def test_two_nets_may_share_their_weights_after_they_ran(build):
    one, other = build(SIMPLE), build(SIMPLE)
    one.forward()
    other.forward()
    other.share_with(one)
    one.params["ip"][0].data[...] *= 3
    assert np.allclose(one.forward()["prob"], other.forward()["prob"], atol=1e-6)


def test_a_recurrent_layer_goes_on_where_its_last_pass_ended(build):
    net = build(LSTM)
    net.blobs["cont"].data[...] = 1
    first, second = (net.forward()["h"].copy() for _ in range(2))
    assert not np.allclose(first, second)
    net.blobs["cont"].data[0] = 0
    assert np.allclose(net.forward()["h"], first, atol=1e-6)


def test_without_a_gpu_one_warning_and_the_cpu(build, monkeypatch):
    ort = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(mode, "_said", set())
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    device.has_gpu.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="running on the CPU") as warned:
            caffe.set_mode_gpu()
            caffe.set_mode_gpu()
        assert len(warned) == 1
        assert mode.device() is None
        assert build(SIMPLE).forward()["prob"].shape == (2, 3)
    finally:
        device.has_gpu.cache_clear()
        caffe.set_mode_cpu()


def test_cuda_without_a_gpu_is_no_gpu(monkeypatch):
    ort = pytest.importorskip("onnxruntime")
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    monkeypatch.setattr(ort, "get_available_providers", lambda: providers)
    device.has_gpu.cache_clear()
    try:
        assert not device.has_gpu()
    finally:
        device.has_gpu.cache_clear()
