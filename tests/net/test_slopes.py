"""Slopes in the weights: explicit in the prototxt, found in the net, loaded from a file."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat import fillers, pipeline, weights
from caffe_compat.caffe_pb2 import FillerParameter
from caffe_compat.errors import CaffeCompatError, ShapeError
from caffe_compat.fillers.rng import BoostRng, FastRng
from caffe_compat.net import slopes
from caffe_compat.net.net import Net
from caffe_compat.net.params import fill

from ..cases import graph_of, make
from ..slope_nets import INPUT, NORMS, conv, layer


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.floats(-3, 3, width=32), st.integers(1, 40), st.sampled_from(NORMS))
def test_a_slope_in_the_net_is_that_slope_in_the_filler(a, outputs, norm):
    """The bits are those of a filler with the ReLU's slope as its `a`."""
    relu = f"relu_param {{ negative_slope: {a!r} }}"
    text, explicit = (
        INPUT
        + conv("one", "data")
        + layer("ReLU", "one", "act", relu)
        + conv("two", "act", outputs=outputs, norm=norm, a=slope)
        + layer("ReLU", "two", "end", relu, "r2")
        for slope in ("", f"a: {a!r}")
    )
    graph = graph_of(text)
    (_, two) = slopes.resolve(graph)
    auto, by_hand = slopes.apply(graph, (two,)), graph_of(explicit)
    assert two.sigma == fillers.sigma((outputs, 4, 3, 3), by_hand.nodes[3].blobs[0].filler)
    for net in (auto, by_hand):
        assert net.nodes[3].layer.name == "two"
    filled, want = (fill(net, BoostRng(5)).arrays[3][0] for net in (auto, by_hand))
    assert filled.tobytes() == want.tobytes()


# ---- the slope in the prototxt -------------------------------------------------------------------


@pytest.mark.parametrize("rng", [BoostRng, FastRng])
@pytest.mark.parametrize("norm", NORMS)
def test_a_in_the_prototxt(tmp_path, rng, norm):
    text = INPUT + conv("one", "data", outputs=50, norm=norm)
    for name, a in (("absent", ""), ("zero", "a: 0"), ("quarter", "a: 0.25"), ("minus", "a: -3")):
        (tmp_path / name).write_text(text.replace('"msra"', f'"msra" {a}'))
    filled = {
        name: fill(pipeline.read(tmp_path / name), rng(7)).arrays[1][0].astype(np.float64)
        for name in ("absent", "zero", "quarter", "minus")
    }
    assert filled["zero"].tobytes() == filled["absent"].tobytes()
    for name, a in (("quarter", 0.25), ("minus", -3)):
        ratio = filled[name] * math.sqrt(1 + a * a) / filled["absent"]
        assert np.abs(ratio - 1).max() < 3e-7  # the same draws at the other std
    after = []
    for a in (0, 0.25):
        stream = rng(7)
        fillers.fill((9, 5), FillerParameter(type="msra", a=a), stream)
        after.append(stream.next_u32())
    assert after[0] == after[1]


def test_auto_takes_the_place_of_a_stated_slope():
    text = INPUT + conv("one", "data").replace('"msra"', '"msra" a: 0.5')
    (one,) = slopes.resolve(graph_of(text))
    assert one.sigma == np.float32(math.sqrt(1 / 27))


# ---- the step ------------------------------------------------------------------------------------

CHAIN = INPUT + conv("one", "data") + layer("PReLU", "one", "one") + conv("two", "one")


def test_apply_changes_msra_alone_and_not_the_graph_given():
    graph = graph_of(CHAIN.replace('"msra"', '"xavier"', 1))
    applied = slopes.apply(graph, slopes.resolve(graph))
    for which, want in ((graph, ["xavier", "msra"]), (applied, ["xavier", "gaussian"])):
        types = [[blob.filler.type for blob in which.nodes[i].blobs] for i in (1, 3)]
        assert types == [[type, "constant"] for type in want]
    assert applied.net == graph.net
    assert applied.outputs == graph.outputs


def test_the_librarys_keyword(tmp_path, caplog):
    path = tmp_path / "net.prototxt"
    path.write_text(CHAIN)
    plain, auto = pipeline.load(path, seed=3), pipeline.load(path, seed=3, slopes="auto")
    for index, ratio in ((1, math.sqrt(0.5)), (3, math.sqrt(1 / 1.0625))):
        got = auto.arrays[index][0].astype(np.float64) / plain.arrays[index][0]
        assert np.abs(got / ratio - 1).max() < 3e-7
    with pytest.raises(CaffeCompatError, match="slopes is 'on'; it is 'auto' or None"):
        pipeline.load(path, slopes="on")
    path.write_text(CHAIN.replace("msra", "xavier"))
    pipeline.load(path, slopes="auto")
    assert "no layer's weights have an msra filler" in caplog.text


def test_loaded_slopes_count(tmp_path):
    """With weights, a PReLU's slopes are those of the file, and layers it lacks are filled."""
    path, file = tmp_path / "net.prototxt", tmp_path / "w.caffemodel"
    path.write_text(CHAIN)
    net = pipeline.load(path)
    params = list(net.arrays)
    params[2] = (np.array([0.1, -0.2, 0.3, 0.4], np.float32),)
    pipeline.save(Net(net.graph, tuple(params)), file)
    mean = (0.01 + 0.04 + 0.09 + 0.16) / 4
    (_, two) = slopes.resolve(net.graph, weights.read(file))
    assert two.feeding.gain == pytest.approx(1 + mean, rel=1e-7)
    assert two.sigma == pytest.approx(math.sqrt(2 / ((1 + mean) * 36)), rel=1e-7)
    path.write_text(CHAIN.replace('"two"', '"new"'))
    filled = pipeline.load(path, file, slopes="auto", seed=3).arrays
    plain = pipeline.load(path, seed=3).arrays
    assert filled[1][0].tobytes() == net.arrays[1][0].tobytes()
    ratio = filled[3][0].astype(np.float64) / plain[3][0]
    assert np.abs(ratio * math.sqrt(1 + mean) - 1).max() < 3e-7


def test_an_activation_that_gives_nothing():
    text = INPUT + layer("Clip", "data", "x", "clip_param { min: 0 max: 0 }") + conv("one", "x")
    graph = graph_of(text)
    message = r"layer 'one' .*msra.*the std is inf at a gain of 0 \(clip\)"
    with pytest.raises(ShapeError, match=message):
        slopes.apply(graph, slopes.resolve(graph))


def test_a_long_way():
    text = (
        INPUT
        + layer("ReLU", "data", "x0")
        + "".join(layer("Dropout", f"x{i}", f"x{i + 1}", name=f"d{i}") for i in range(1500))
        + conv("one", "x1500", norm="FAN_OUT")
    )
    (one,) = slopes.resolve(graph_of(text))
    assert one.feeding.gain == 1.0


@pytest.mark.parametrize(
    ("param", "warned"),
    [
        ("", True),
        ("param { lr_mult: 2 }", True),
        ("param { decay_mult: 1 }", True),
        ("param { decay_mult: 0 }", False),
        ("param { lr_mult: 0 }", False),  # never updated
    ],
)
def test_decayed(param, warned):
    text = INPUT + layer("PReLU", "data", "x", param) + layer("ReLU", "x", "y")
    assert slopes.decayed(graph_of(text)) == (["prelu"] if warned else [])


@pytest.mark.parametrize(
    ("activation", "more"),
    [
        ("PReLU", "prelu_param { filler { value: 0.7 } }"),
        ("ReLU", ""),
        ("TanH", ""),
        ("Sigmoid", ""),
        ("ELU", ""),
    ],
)
def test_the_variance_stays(activation, more):
    """The second moment before each activation stays 1 through ten layers."""
    text = 'input: "x" input_shape { dim: 300 dim: 400 }\n'
    for i in range(10):
        text += layer(
            "InnerProduct",
            f"x{i}" if i else "x",
            f"y{i}",
            'inner_product_param { num_output: 400 weight_filler { type: "msra" } }',
            f"fc{i}",
        ) + layer(activation, f"y{i}", f"x{i + 1}", more, f"act{i}")
    feed = {"x": np.random.default_rng(1).standard_normal((300, 400)).astype(np.float32)}

    def last(net):
        return float(np.mean(net.forward(feed)["y9"] ** 2))

    plain = make(text)
    auto = fill(slopes.apply(plain.graph, slopes.resolve(plain.graph)), BoostRng(1701))
    assert abs(math.log(last(auto))) < 0.7  # the width of the layers leaves it this much
    if activation != "ReLU":  # where the slope is not 0, Caffe's msra drifts away
        assert abs(math.log(last(plain))) > 3 * abs(math.log(last(auto)))
