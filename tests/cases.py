"""What the layer tests share: nets from text, numpy beside onnxruntime, gradients by difference."""

from __future__ import annotations

from dataclasses import replace
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
REPORTS = GOLDEN / "reports"  # small inputs after what people report in public


def make(text, *, inputs=None, phase="TEST", seed=1701, fork=None):
    """The net of a prototxt's text, its weights drawn from its fillers."""
    return fill(graph_of(text, inputs=inputs, phase=phase, fork=fork), BoostRng(seed))


def one_layer(body, *shapes, top="y", name="l"):
    """The text of a net of one layer: a bottom a, b, c, ... of each shape, and tops y, ... by name.

    `top`: one name, or several.
    """
    names = "abcdef"[: len(shapes)]
    inputs = "".join(
        f'layer {{ name: "in_{each}" type: "Input" top: "{each}" input_param {{ shape {{ '
        + " ".join(f"dim: {n}" for n in shape)
        + " } } }\n"
        for each, shape in zip(names, shapes, strict=True)
    )
    tops = [top] if isinstance(top, str) else top
    ends = " ".join(
        [*(f'bottom: "{each}"' for each in names), *(f'top: "{each}"' for each in tops)]
    )
    return f'{inputs}layer {{ name: "{name}" {ends} {body} }}'


def graph_of(text, *, inputs=None, phase="TEST", fork=None, batch=None):
    """The graph of a prototxt's text."""
    net = select(
        upgrade.upgrade(text_format.Parse(text, NetParameter())),
        TRAIN if phase == "TRAIN" else TEST,
    )
    return connect(net, create(net, fork), inputs, batch)


def load(folder):
    """A golden case: the net with its recorded weights, and the recorded arrays.

    `fork.txt` names the fork where the net's own fields do not tell it.
    """
    fork = folder / "fork.txt"
    net = make(
        (folder / "net.prototxt").read_text(),
        fork=fork.read_text().strip() if fork.exists() else None,
    )
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


def off_kinks(shape, times=1, seed=5):
    """Numbers off 0 and the halves, where activations have kinks that no small step may cross."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(-4, 4, shape) / 2 + 0.125
    return (times * (whole + rng.uniform(-0.0625, 0.0625, shape))).astype(np.float32)


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


def operators(net: Net | str, **options):
    """The operators of a net's plain lowering, in order; a text is made with the options."""
    net = make(net, **options) if isinstance(net, str) else net
    return [node.op_type for node in lower(net).model.graph.node]


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


def assert_close(got, want, tolerance=1e-5, what="", axis=1):
    """Of the same shape, and in each channel within `tolerance` of its largest wanted value.

    `axis`: that of the channels; None where a whole channel may be what is left of larger terms
    that cancel, so that float32 cannot be closer than to the largest of all.
    """
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"{what}: {got.shape} for {want.shape}"
    axes = tuple(i for i in range(want.ndim) if i != axis)
    largest = np.abs(want).max(axis=axes, initial=0, keepdims=True)
    worst = np.abs(got.astype(np.float64) - want).max(axis=axes, initial=0, keepdims=True)
    off = worst / np.maximum(largest, 1e-30)
    assert np.all(off <= tolerance), (
        f"{what}: off by {np.max(off):.2e} of the largest value, {largest.flat[np.argmax(off)]:.2e}"
        + (f", of channel {np.argmax(off)}" if off.size > 1 else "")
    )


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


STATISTICS = ("mean", "variance", "factor", "inverse")  # blobs that no gradient changes in Caffe


def check_gradients(
    text,
    *,
    integers=(),
    feeds=None,
    blobs=None,
    fixed=(),
    seed=3,
    step=1e-3,
    tolerance=5e-3,
    **options,
):
    """numpy's backward pass agrees with central differences of a random projection of the outputs.

    Every input and every parameter is moved along random directions and at single places; the
    difference must be small beside the gradient's own size in that tensor.

    Args:
        text: the net.
        integers: as for `feed`; such inputs have no gradient.
        feeds: the inputs' values.
        blobs: the inputs to move, if not all others.
        fixed: parameters that get no gradient, beside statistics.
        seed: of the random numbers.
        step: how far each is moved.
        tolerance: the difference allowed, as a share of the gradient.
        options: for `make`.
    """
    net = make(text, **options)
    feeds = feed(net, integers=integers) if feeds is None else feeds
    rng = np.random.default_rng(seed)
    values = net.run(feeds)
    tops = net.graph.outputs
    weights_ = {v.blob: rng.standard_normal(v.shape).astype(np.float32) for v in tops}
    size = np.sqrt(sum(np.sum(np.square(values[v.name] * weights_[v.blob])) for v in tops))
    noise = 8 * np.finfo(np.float32).eps * float(size) / step

    def check(what, gradient, array, objective):
        assert gradient is not None, f"{what}: no gradient"
        assert gradient.shape == array.shape, what
        gradient = gradient.astype(np.float64)
        for kind in ("along",) * 4 + ("at",) * 4:
            direction = np.zeros(array.shape, np.float32)
            if kind == "along":
                direction = rng.standard_normal(array.shape).astype(np.float32)
                scale = np.linalg.norm(gradient)
            else:
                direction.flat[rng.integers(array.size)] = 1
                scale = np.abs(gradient).max()
            ahead, behind = (objective(array + sign * step * direction) for sign in (1, -1))
            want = (ahead - behind) / (2 * step)
            got = float(np.sum(gradient * direction))
            allowed = tolerance * max(scale, abs(want)) + noise
            assert abs(got - want) <= allowed, f"{what} {kind}: {got} for {want} +- {allowed}"

    def projected(net, feeds):
        out = net.run(feeds)
        return sum(float(np.sum(out[v.name].astype(np.float64) * weights_[v.blob])) for v in tops)

    grads, params = net.backward(values, weights_)
    for name in blobs or [v.blob for v in net.graph.inputs if v.blob not in dict(integers)]:
        gradient = grads.get(net.graph.inputs[[v.blob for v in net.graph.inputs].index(name)].name)
        check(name, gradient, feeds[name], lambda x, n=name: projected(net, {**feeds, n: x}))
    for index, node in enumerate(net.graph.nodes):
        for place, blob in enumerate(node.blobs):
            if blob.name in (*STATISTICS, *fixed) or node.owners[place] != (index, place):
                continue

            def objective(array, owner=(index, place)):
                arrays = tuple(
                    tuple(array if o == owner else a for o, a in zip(n.owners, own, strict=True))
                    for n, own in zip(net.graph.nodes, net.arrays, strict=True)
                )
                return projected(replace(net, arrays=arrays), feeds)

            name = f"{node.layer.name}/{blob.name}"
            check(name, params[index][place], net.arrays[index][place], objective)


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
