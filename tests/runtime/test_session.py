"""Sessions: good and bad feeds, any blob as an output, threads, weights in memory."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from caffe_compat import pipeline
from caffe_compat.errors import CaffeCompatError, ShapeError
from caffe_compat.onnx import writer
from caffe_compat.onnx.lowering import lower
from caffe_compat.runtime.session import Session

from ..cases import feed


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
    for each in outputs:
        np.testing.assert_allclose(each["prob"], want, atol=1e-6)
        np.testing.assert_array_equal(each["prob"], outputs[0]["prob"])


@pytest.mark.parametrize("weights_as", ["inline", "external"])
def test_any_blob_can_be_an_output(net, tmp_path, weights_as):
    """From a Net and from a file; also in-place and aliased blobs, and the input."""
    pipeline.to_onnx(net, tmp_path / "n.onnx", weights_as=weights_as)
    feeds, blobs = feed(net), ["conv1", "drop", "data", "fc", "prob"]
    want = net.forward(feeds)
    for each in (net, lower(net), tmp_path / "n.onnx"):
        outputs = Session(each, "cpu", blobs=blobs).run(feeds)
        assert sorted(outputs) == sorted(blobs)
        for name in blobs:
            np.testing.assert_allclose(outputs[name], want[name], atol=1e-5)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "input 'data' is not fed; the net's inputs: data 2x3x7x5"),
        ({"data": 0, "dat": 0}, "no input 'dat'; its inputs: data 2x3x7x5"),
        ({"data": np.zeros((2, 3, 7))}, "'data' is 2x3x7x5, and was fed 2x3x7$"),
        ({"data": np.zeros((2, 3, 7, 6))}, "'data' is 2x3x7x5, and was fed 2x3x7x6"),
        ({"data": 1.0}, "'data' is 2x3x7x5, and was fed a scalar"),
        (
            {"data": np.zeros((2, 3, 7, 5), complex)},
            "'data' takes real numbers, and was fed complex128",
        ),
        ({"data": np.full((2, 3, 7, 5), "x")}, "'data' takes real numbers, and was fed <U1"),
        ({"data": [[1, 2], [3]]}, "'data' was not fed an array"),
    ],
)
def test_wrong_feeds(net, feeds, message):
    with pytest.raises(ShapeError, match=message):
        Session(net, "cpu").run(feeds)


def test_numbers_are_converted(net):
    session, whole = Session(net, "cpu"), np.arange(210).reshape(2, 3, 7, 5) % 17
    want = session.run({"data": whole.astype(np.float32)})["prob"]
    for array in (whole, whole.astype(np.float64), whole.tolist(), whole.astype(">f4")):
        np.testing.assert_array_equal(session.run({"data": array})["prob"], want)
    turned = np.ascontiguousarray(whole.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)
    np.testing.assert_array_equal(session.run({"data": turned})["prob"], want)


def test_batches_and_threads(open_net):
    session = Session(open_net, "cpu", threads=1)
    assert session.inputs == {"data": (None, 3, 7, 5)}
    assert session.outputs == {"prob": (None, 1100)}
    rng = np.random.default_rng(5)
    batches = [{"data": rng.standard_normal((1 + i % 3, 3, 7, 5), np.float32)} for i in range(24)]
    want = [outputs["prob"] for outputs in session.run_batches(iter(batches))]
    together(session, batches, want)
    session._bind("cpu", 0)
    together(session, batches, want)


def together(session, batches, want):
    """Run all the batches in four threads at once; each must get its own outputs."""
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


def test_a_closed_session_is_an_error(net):
    with Session(net, "cpu") as session:
        session.run(feed(net))
    with pytest.raises(CaffeCompatError, match="the session is closed"):
        session.run(feed(net))


def test_a_file_that_is_no_model(tmp_path):
    with pytest.raises(CaffeCompatError, match=r"none\.onnx: no such file"):
        Session(tmp_path / "none.onnx", "cpu")
    (tmp_path / "html.onnx").write_text("<html>")
    with pytest.raises(CaffeCompatError, match=r"html\.onnx: onnxruntime cannot load it"):
        Session(tmp_path / "html.onnx", "cpu")
    with pytest.raises(CaffeCompatError, match=r"html\.onnx: not an ONNX file"):
        Session(tmp_path / "html.onnx", "cpu", blobs=["x"])


def test_weights_in_memory_do_not_pass_through_the_protobuf(net):
    shell, large = writer.shell(lower(net))
    assert list(large) == ["fc/weight", "fc/bias"]
    assert len(shell) < 8000 < sum(array.nbytes for array in large.values())


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
