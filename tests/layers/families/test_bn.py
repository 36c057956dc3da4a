"""BN in its three meanings: worked by hand, and numpy beside onnxruntime."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from caffe_compat.converters import cli
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat import pipeline
from caffe_compat.caffe_pb2 import TEST, BlobProto, NetParameter
from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.fillers.rng import BoostRng
from caffe_compat.layers.registry import find, registry
from caffe_compat.net.build import build
from caffe_compat.net.net import Net
from caffe_compat.net.params import fill
from caffe_compat.prototxt.phase import select

from ...cases import (
    assert_close,
    check_both,
    check_gradients,
    feed,
    graph_of,
    make,
    operators,
    run_onnx,
)

FILL = 'filler { type: "uniform" min: 0.5 max: 2 }'
SEGNET = f"bn_param {{ scale_{FILL} shift_{FILL} bn_mode: INFERENCE }}"
LEARN = f"bn_param {{ scale_{FILL} shift_{FILL} }}"
PSPNET = f"bn_param {{ slope_{FILL} bias_{FILL} frozen: true eps: 0.25 }}"


def text(body, shape=(2, 3, 5, 4), kind="BN", top="y"):
    dims = " ".join(f"dim: {n}" for n in shape)
    return f"""
        layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ {dims} }} }} }}
        layer {{ name: "bn" type: "{kind}" bottom: "x" top: "{top}" {body} }}"""


def message(body, shape=(1, 2, 1, 2), **options):
    """The selected net, whose forks nobody has told apart yet."""
    return select(text_format.Parse(text(body, shape, **options), NetParameter()), TEST)


def with_blobs(body, *blobs, fork=None, **options):
    """The net whose layer has these blobs (flat lists), read as that fork's."""
    graph = build(message(body, **options), None, fork)
    held = [
        np.array(values, np.float32).reshape(blob.shape)
        for values, blob in zip(blobs, graph.nodes[1].blobs, strict=True)
    ]
    return Net(graph, ((), tuple(held)))


def run(net, x):
    out = net.forward({"x": np.array(x, np.float32)})["y"]
    assert_close(run_onnx(net, {"x": np.array(x, np.float32)})["y"], out, 1e-6)
    return out


X = [[[[1, 3]], [[-2, 6]]]]  # two channels of two pixels


def test_segnet_by_hand():
    """INFERENCE: 2 x + 1 and 0.5 x - 1."""
    out = run(with_blobs(SEGNET, [2, 0.5], [1, -1]), X)
    assert out.tolist() == [[[[3, 7]], [[-2, 2]]]]


def test_segnet_learn_by_hand():
    """Channel 0 has mean 2 and deviation 1, channel 1 mean 2 and deviation 4."""
    out = run(with_blobs(LEARN, [2, 0.5], [1, -1]), X)
    assert_close(out, [[[[-1, 3]], [[-1.5, -0.5]]]], 1e-6)


def test_pspnet_by_hand():
    """(x - mean) / sqrt(variance + 1/4): deviations 2 and 0.5."""
    out = run(with_blobs(PSPNET, [2, 1], [1, 0], [1, 2], [3.75, 0]), X)
    assert_close(out, [[[[1, 3]], [[-8, 8]]]], 1e-6)


def test_caffe_windows_by_hand():
    """The fourth blob multiplies; eps is not added in TEST."""
    net = with_blobs(PSPNET, [2, 1], [1, 0], [1, 2], [0.5, 2], fork="caffe-windows")
    assert run(net, X).tolist() == [[[[1, 3]], [[-8, 8]]]]


CASES = [
    (SEGNET, "TEST"),
    (LEARN, "TEST"),
    (PSPNET, "TEST"),
    (f"bn_param {{ slope_{FILL} bias_{FILL} }}", "TRAIN"),
]


@pytest.mark.parametrize(("body", "phase"), CASES)
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5), (2, 3, 5, 4)])
def test_numpy_and_onnxruntime_agree(body, phase, shape):
    net = make(text(body, shape), phase=phase)
    feeds = feed(net)
    assert_close(run_onnx(net, feeds)["y"], net.forward(feeds)["y"], 1e-5)


def test_stored_moments_are_onnxs_own_operator():
    """Every runtime folds it into the convolution before it."""
    assert operators(text(PSPNET)) == ["BatchNormalization"]


@pytest.mark.parametrize("body", [SEGNET, LEARN, f"bn_param {{ slope_{FILL} eps: 0.25 }}"])
def test_gradients(body):
    check_gradients(text(body, (3, 2, 4, 5)))


def test_gradients_where_frozen():
    check_gradients(text(PSPNET, (3, 2, 4, 5)), fixed=("slope", "bias"))


def test_gradients_of_the_blobs():
    """Of a sum over y they are the sums of the normalised x, and the number of pixels."""
    net = with_blobs(SEGNET, [2, 0.5], [1, -1])
    values = net.run({"x": np.array(X, np.float32)})
    _, params = net.backward(values, {"y": np.ones((1, 2, 1, 2), np.float32)})
    assert [p.ravel().tolist() for p in params[1]] == [[4, 4], [2, 2]]


def test_in_place():
    check_both(text(SEGNET, top="x"))


def test_the_variance_starts_at_one_where_frozen():
    for body, start in ((PSPNET, 1), ("bn_param { momentum: 0.5 }", 0)):
        net = make(text(body))
        assert net.arrays[1][3].shape == (1, 3, 1, 1)
        assert (net.arrays[1][3] == start).all()


def test_icnet_is_pspnets():
    """synopsys-caffe's name for it."""
    net = make(text("bn_param { icnet: true }"))
    assert net.graph.nodes[-1].layer.fork == "pspnet"


def test_v1_bn_is_segnets():
    """HyeonwooNoh's DeconvNet, in the text of 2014."""
    net = make("""
        input: "x" input_dim: 2 input_dim: 3 input_dim: 4 input_dim: 5
        layers { bottom: "x" top: "y" name: "bn" type: BN
                 bn_param { scale_filler { type: "constant" value: 3 }
                            shift_filler { type: "constant" value: 0.5 } bn_mode: INFERENCE } }""")
    feeds = feed(net)
    assert_close(net.forward(feeds)["y"], 3 * feeds["x"] + np.float32(0.5), 1e-6)


def chosen(body, fork=None, stored=None):
    return find(message(body).layer[1], registry(), fork, stored).fork


def test_the_prototxt_or_the_blobs_or_the_name_tell_forks_apart():
    two, four = [(1, 2, 1, 1)] * 2, [(1, 2, 1, 1)] * 4
    flat = [(1, 2)] * 4
    assert chosen(SEGNET) == chosen("", stored=two) == chosen("", "segnet") == "segnet"
    assert chosen(PSPNET) == chosen("", stored=four) == chosen("", "pspnet") == "pspnet"
    assert chosen("param {} param {} param {} param {}") == "pspnet"
    assert chosen(PSPNET, "yjxiong", flat) == "yjxiong"
    assert chosen(PSPNET, "caffe-windows", flat) == "caffe-windows"


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        ("", None),
        (PSPNET, [(1, 2)] * 4),
        (PSPNET, [(1, 2, 1, 1)] * 2),
        ("bn_param { bn_mode: INFERENCE eps: 1 }", None),
    ],
)
def test_what_nothing_tells_apart_is_refused(body, stored):
    message_ = r"name the fork \(fork=...\). segnet: .*; pspnet: .*; yjxiong: .*; caffe-windows: "
    with pytest.raises(UnsupportedError, match=message_):
        chosen(body, stored=stored)


def test_a_fork_that_nobody_knows():
    with pytest.raises(
        UnsupportedError, match="no fork 'nobody' is known; these are: bvlc, caffe-dev"
    ):
        build(message(SEGNET), None, "nobody")


def test_the_weights_file_tells_the_fork(tmp_path):
    """A bare BN: refused alone, PSPNet's beside four blobs of 1 x C x 1 x 1."""
    bare = tmp_path / "net.prototxt"
    bare.write_text(text("", (1, 2, 1, 2)))
    with pytest.raises(UnsupportedError, match="layer 'bn' \\(BN\\): differs among forks"):
        pipeline.read(bare)
    weights = NetParameter()
    layer = weights.layer.add(name="bn", type="BN")
    for values in ([2, 1], [1, 0], [1, 2], [3.75, 0]):
        blob = BlobProto(data=values)
        blob.shape.dim.extend([1, 2, 1, 1])
        layer.blobs.append(blob)
    held = tmp_path / "net.caffemodel"
    held.write_bytes(weights.SerializeToString())
    net = pipeline.load(bare, held)
    assert net.graph.nodes[1].layer.fork == "pspnet"
    assert pipeline.load(bare, fork="segnet").graph.nodes[1].layer.fork == "segnet"


def test_bn_needs_two_to_four_axes():
    with pytest.raises(ShapeError, match=r"2 to 4 axes, and has \(7,\)"):
        fill(graph_of(text(PSPNET, (7,))), BoostRng(1))


def test_the_command_takes_a_fork(tmp_path, monkeypatch, capsys):
    bare = tmp_path / "net.prototxt"
    bare.write_text(text(""))
    for words, status, said in (
        (["show", bare], 1, "(--fork NAME)"),
        (["show", bare, "--fork", "segnet"], 0, "2 layers, 6 parameters"),
        (["convert", bare, "-o", tmp_path / "net.onnx", "--fork", "pspnet"], 0, "net.onnx"),
    ):
        monkeypatch.setattr(sys, "argv", ["caffe-compat", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        assert (stop.value.code or 0) == status
        assert said in out + err


@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    eps=st.sampled_from([0.01, 0.5]),
)
@settings(max_examples=15)
def test_any_shape(shape, eps):
    frozen = f"bn_param {{ slope_{FILL} bias_{FILL} frozen: true eps: {eps} }}"
    for body, fork in (
        (SEGNET, "segnet"),
        (frozen, "pspnet"),
        (frozen, "yjxiong"),
        (frozen, "caffe-windows"),
    ):
        check_both(text(body, shape), fork=fork)
