"""What the layer tests share: nets from text, numpy beside onnxruntime, gradients by difference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf import text_format

from caffe_compat import weights
from caffe_compat.caffe_pb2 import TEST, TRAIN, NetParameter
from caffe_compat.fillers.rng import BoostRng
from caffe_compat.net.build import connect, create
from caffe_compat.net.net import Net
from caffe_compat.net.params import fill
from caffe_compat.net.params import load as load_weights
from caffe_compat.onnx.lowering import Lowered, lower
from caffe_compat.onnx.passes import simplify
from caffe_compat.prototxt import upgrade
from caffe_compat.prototxt.phase import select

GOLDEN = Path(__file__).parent / "golden"


def make(text, *, inputs=None, phase="TEST", seed=1701, fork=None):
    """The net of a prototxt's text, its weights drawn from its fillers."""
    return fill(graph_of(text, inputs=inputs, phase=phase, fork=fork), BoostRng(seed))


def graph_of(text, *, inputs=None, phase="TEST", fork=None, batch=None):
    """The graph of a prototxt's text."""
    net = select(
        upgrade.upgrade(text_format.Parse(text, NetParameter())),
        TRAIN if phase == "TRAIN" else TEST,
    )
    return connect(net, create(net, fork), inputs, batch)


def load(folder):
    """A golden case: the net with its recorded weights, and the recorded arrays."""
    net = make((folder / "net.prototxt").read_text())
    if (folder / "weights.caffemodel").exists():
        net, _ = load_weights(
            net.graph, weights.read(folder / "weights.caffemodel"), BoostRng(1701)
        )
    with np.load(folder / "io.npz") as io:
        return net, dict(io)


def feed(net: Net, seed=7, integers=()):
    """Normal numbers for every input; for those named in `integers` {name: below}, labels."""
    rng = np.random.default_rng(seed)
    below = dict(integers)
    return {
        v.blob: rng.integers(0, below[v.blob], v.shape).astype(np.float32)
        if v.blob in below
        else rng.standard_normal(v.shape).astype(np.float32)
        for v in net.graph.inputs
    }


def inline(lowered: Lowered):
    """The ONNX model with its initializers inside, checked."""
    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    for name, array in lowered.arrays.items():
        tensor = onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)
        model.graph.initializer.append(tensor)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= {""}
    return model


def run_model(model, feeds):
    """An ONNX model's outputs by onnxruntime, by name."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    used = {i.name for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    arrays = session.run(names, {k: v for k, v in feeds.items() if k in used})
    return dict(zip(names, arrays, strict=True))


def run_onnx(net: Net, feeds, **options):
    """The net's outputs by onnxruntime, by Caffe name."""
    outputs = run_model(inline(simplify(lower(net, **options))), feeds)
    blobs = {value.name: value.blob for value in net.graph.values}
    return {blobs[name]: array for name, array in outputs.items()}


def assert_close(got, want, tolerance=1e-5, what=""):
    """Within `tolerance` of the largest wanted value, and of the same shape."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"{what}: {got.shape} for {want.shape}"
    scale = max(float(np.abs(want).max(initial=0)), 1e-30)
    worst = float(np.abs(got.astype(np.float64) - want).max(initial=0)) / scale
    assert worst <= tolerance, f"{what}: off by {worst:.2e} of the largest"


def check_both(text, *, integers=(), tolerance=1e-5, feeds=None, inputs=None, fork=None, **options):
    """numpy's forward pass and onnxruntime's agree on random input; returns numpy's outputs."""
    net = make(text, inputs=inputs, fork=fork)
    feeds = feed(net, integers=integers) if feeds is None else feeds
    blobs = net.forward(feeds)
    outputs = run_onnx(net, feeds, **options)
    assert outputs, "the net has no output"
    for name, array in outputs.items():
        assert array.dtype == np.float32
        assert_close(array, blobs[name], tolerance, name)
    return {name: blobs[name] for name in outputs}


def check_gradients(
    text, *, integers=(), feeds=None, blobs=None, seed=3, step=1e-3, tolerance=1e-2
):
    """The numpy backward pass agrees with central differences of a random projection.

    `blobs`: the inputs to differentiate (default: all of them but `integers`).
    """
    net = make(text)
    feeds = feed(net, integers=integers) if feeds is None else feeds
    rng = np.random.default_rng(seed)
    values = net.run(feeds)
    weights_ = {v.blob: rng.standard_normal(v.shape).astype(np.float32) for v in net.graph.outputs}

    def objective(changed):
        out = net.forward({**feeds, **changed})
        return sum(float(np.sum(out[k].astype(np.float64) * w)) for k, w in weights_.items())

    grads, _ = net.backward(values, weights_)
    for name in blobs or [v.blob for v in net.graph.inputs if v.blob not in dict(integers)]:
        direction = rng.standard_normal(feeds[name].shape).astype(np.float32)
        ahead = objective({name: feeds[name] + step * direction})
        behind = objective({name: feeds[name] - step * direction})
        want = (ahead - behind) / (2 * step)
        got = float(np.sum(grads[net.graph.blob(name).name].astype(np.float64) * direction))
        assert abs(got - want) <= tolerance * max(1.0, abs(want)), f"{name}: {got} for {want}"


def check_varying(text, inputs, others, **options):
    """One model whose open sizes are the None of `inputs` agrees with numpy at every other size.

    `others`: for each run the inputs' shapes, as `inputs` has them but without None.
    """
    model = inline(simplify(lower(make(text, inputs=inputs), **options)))
    for shapes in others:
        net = make(text, inputs=shapes)
        feeds = feed(net)
        blobs = net.run(feeds)
        for name, array in run_model(model, feeds).items():
            assert_close(array, blobs[name], 1e-5, f"{name} at {shapes}")
