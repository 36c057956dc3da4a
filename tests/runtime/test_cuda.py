"""Golden cases on a GPU of NVIDIA's: real Caffe's numbers, float16, CUDA graphs, bound buffers."""

from __future__ import annotations

import threading

import numpy as np
import onnxruntime as ort
import pytest

from caffe_compat import pipeline
from caffe_compat.errors import CaffeCompatError, DeviceError
from caffe_compat.onnx.lowering import lower
from caffe_compat.onnx.passes import simplify
from caffe_compat.runtime import cuda
from caffe_compat.runtime.devices import devices
from caffe_compat.runtime.float16 import to_float16
from caffe_compat.runtime.models import join
from caffe_compat.runtime.session import Session

from ..cases import GOLDEN, assert_close, feed, load, make, one_layer

MISSING = (
    "this onnxruntime has no CUDA"
    if "CUDAExecutionProvider" not in ort.get_available_providers()
    else cuda.find_fault("CUDAExecutionProvider", 0)
)
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

CASES = [
    folder
    for group in ("layers", "layers_ssd")
    for folder in sorted((GOLDEN / group).iterdir())
    if (folder / "io.npz").exists()
]
LAYOUT = ("batchnorm", "conv", "deconv", "lrn", "pool_ave", "pool_max_ceil", "pool_max_pad")
NET = one_layer(
    'type: "Convolution" convolution_param { num_output: 8 kernel_size: 3 pad: 1 '
    'weight_filler { type: "msra" } }',
    (2, 16, 12, 10),
)


@pytest.mark.parametrize("target", ["onnxruntime", "cuda"])
@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_caffes_numbers_with_no_node_on_the_cpu(folder, target):
    net, io = load(folder)
    lowered = pipeline.lower(net, target=target)
    outputs = run(lowered, net, io)
    wanted = {key[4:]: array for key, array in io.items() if key.startswith("out:")}
    assert outputs.keys() & wanted.keys()
    for name in outputs.keys() & wanted.keys():
        assert_close(outputs[name], wanted[name], 1e-4, name)
    assert assigned(lowered) <= {"CUDAExecutionProvider"}


def run(lowered, net, io):
    """Run the model on recorded inputs; return the outputs."""
    feeds = {key[3:]: array for key, array in io.items() if key.startswith("in:")}
    for value in net.graph.inputs:  # of a picture of PriorBox the size alone is read
        feeds.setdefault(value.blob, np.zeros(value.shape, np.float32))
    with Session(lowered, "cuda") as session:
        return session.run({name: feeds[name] for name in session.inputs})


def assigned(lowered):
    """The providers that onnxruntime gave nodes to."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    (device,) = devices("cuda")
    session = device.start(join(lowered).SerializeToString(), options)
    return {part.ep_name for part in session.get_provider_graph_assignment_info()}


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_float16_of_every_layer(folder):
    net, io = load(folder)
    whole, half = (
        run(pipeline.lower(net, target="cuda", passes=passes), net, io)
        for passes in ((), (to_float16,))
    )
    for name, want in whole.items():
        got = half[name]
        if folder.name.startswith("detection"):  # in the order of scores, which may be equal
            got, want = (np.sort(rows, axis=2) for rows in (got, want))
        assert_close(got, want, 2e-3, name, axis=None)


@pytest.mark.parametrize("search", ["heuristic", "exhaustive"])
def test_float16_is_near_float32(search):
    net = make(NET)
    lowered, feeds = simplify(lower(net)), feed(net)
    want = Session(lowered, "cuda").run(feeds)["y"]
    half = Session(to_float16(lowered), "cuda", conv_search=search).run(feeds)["y"]
    assert half.dtype == want.dtype
    assert 0 < np.abs(half - want).max() < 1e-2 * np.abs(want).max()


@pytest.mark.parametrize("search", ["heuristic", "exhaustive"])
@pytest.mark.parametrize("folder", [c for c in CASES if c.name.startswith(LAYOUT)], ids=str)
def test_float16_with_the_channels_last(folder, search):
    """The layers that onnxruntime computes in another layout, beside real Caffe."""
    net, recorded = load(folder)
    feeds = {value.blob: recorded[f"in:{value.blob}"] for value in net.graph.inputs}
    half = to_float16(simplify(lower(net)))
    for top, array in Session(half, "cuda", conv_search=search).run(feeds).items():
        want = recorded[f"out:{top}"]
        np.testing.assert_allclose(array, want, atol=1e-2 * np.abs(want).max())


@pytest.mark.parametrize("search", [None, "heuristic", "default"])
def test_a_cuda_graph_replays_with_new_numbers(search):
    net = make(NET)
    plain = Session(net, "cuda")
    session = Session(net, "cuda", cuda_graph=True, conv_search=search)
    for seed in range(5):
        feeds = feed(net, seed)
        np.testing.assert_allclose(
            session.run(feeds)["y"], plain.run(feeds)["y"], rtol=1e-5, atol=1e-5
        )


def test_a_cuda_graph_after_an_interrupted_run(monkeypatch):
    net = make(NET)
    session, feeds = Session(net, "cuda", cuda_graph=True), feed(net)
    want = session.run(feeds)["y"]
    with monkeypatch.context() as patch:
        patch.setattr(session._bindings._only, "_session", None)
        with pytest.raises(CaffeCompatError):
            session.run(feed(net, 3))
    for _ in range(3):
        np.testing.assert_array_equal(session.run(feeds)["y"], want)


def test_threads_and_sizes_share_a_session():
    net = make(NET, inputs={"a": (None, 16, 12, 10)})
    session = Session(net, "cuda")
    rng = np.random.default_rng(2)
    batches = [rng.standard_normal((1 + i % 3, 16, 12, 10)).astype(np.float32) for i in range(12)]
    want = [session.run({"a": batch})["y"] for batch in batches]
    wrong = []

    def work():
        for batch, right in zip(batches, want, strict=True):
            if not np.allclose(session.run({"a": batch})["y"], right, atol=1e-5):
                wrong.append(batch.shape)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_wrong_index_is_named(capfd):
    with pytest.raises(DeviceError, match="'cuda:99': there is no GPU 99 here; the indices are 0"):
        Session(make(NET), "cuda:99")
    assert capfd.readouterr() == ("", "")
