"""The rectifiers around a layer's weights, and the std that follows; worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from caffe_compat.fillers.rng import BoostRng
from caffe_compat.net import slopes
from caffe_compat.net.params import fill
from caffe_compat.net.rectifiers import LINEAR, Rectifier

from ..cases import graph_of
from ..slope_nets import INPUT, NORMS, conv, layer


def resolved(text, **options):
    """Return the result of `resolve` for the first weights of every layer, by name."""
    graph = graph_of(text, **options)
    return {graph.nodes[r.place[0]].layer.name: r for r in reversed(slopes.resolve(graph))}


def gain(each):
    return [(r.layers, r.gain) for r in each.rectifiers]


# ---- one rectifier -------------------------------------------------------------------------------

E = math.e


def phi(x):
    return math.erfc(-x / math.sqrt(2)) / 2


def density(x):
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def within(low, high):
    """E[z² over low..high]."""
    return phi(high) - phi(low) + low * density(low) - high * density(high)


def hermite(f):
    z, share = np.polynomial.hermite_e.hermegauss(180)
    return float(np.sum(share * f(z) ** 2) / math.sqrt(2 * math.pi))


ELU2 = 0.5 + 4 * (E**2 * phi(-2) - 2 * E**0.5 * phi(-1) + 0.5)  # alpha 2
CLIP = within(-1, 2) + phi(-1) + 4 * phi(-2)
RELU6 = within(0, 6) + 36 * phi(-6)
ACTIVATIONS = [
    ("ReLU", "", 1.0),
    ("ReLU", "relu_param { negative_slope: 0.5 }", 1.25),
    ("PReLU", "", 1.0625),
    ("PReLU", "prelu_param { channel_shared: true }", 1.0625),
    ("PReLU", "prelu_param { filler { value: -0.5 } }", 1.25),
    ("PReLU", 'prelu_param { filler { type: "uniform" min: -1 max: 2 } }', 2.0),
    ("PReLU", 'prelu_param { filler { type: "gaussian" mean: 0.5 std: 0.25 } }', 1.3125),
    ("PReLU", 'prelu_param { filler { type: "gaussian" mean: 1 std: 1 sparse: 2 } }', 2.0),
    ("PReLU", 'prelu_param { filler { type: "xavier" variance_norm: FAN_OUT } }', 1.25),
    ("PReLU", 'prelu_param { filler { type: "msra" variance_norm: FAN_OUT } }', 1.5),
    ("PReLU", 'prelu_param { filler { type: "msra" a: 1 variance_norm: FAN_OUT } }', 1.25),
    ("PReLU", 'prelu_param { filler { type: "positive_unitball" } }', 2.0),
    ("PReLU", "blobs { shape { dim: 4 } data: 1 data: 0 data: 0 data: -1 }", 1.5),
    ("ELU", "elu_param { alpha: 2 }", 2 * ELU2),
    ("Clip", "clip_param { min: -1 max: 2 }", 2 * CLIP),
    ("ReLU6", "", 2 * RELU6),
    ("AbsVal", "", 2.0),
    ("Threshold", "threshold_param { threshold: 1 }", 2 * phi(-1)),
    ("Sigmoid", "", 2 * hermite(lambda z: 1 / (1 + np.exp(-z)))),
    ("TanH", "", 2 * hermite(np.tanh)),
    ("Swish", "swish_param { beta: 2 }", 2 * hermite(lambda z: z / (1 + np.exp(-2 * z)))),
    ("BNLL", "", 2 * hermite(lambda z: np.log1p(np.exp(z)))),
]


@pytest.mark.parametrize(("type", "more", "want"), ACTIVATIONS)
def test_the_gain_of_each_activation(type, more, want):
    text = INPUT + conv("one", "data") + layer(type, "one", "act", more) + conv("two", "act")
    two = resolved(text)["two"]
    assert two.feeding.layers == (type.lower(),)
    assert two.feeding.gain == pytest.approx(want, rel=3e-7)
    assert two.sigma == pytest.approx(math.sqrt(2 / (want * 36)), rel=3e-7)
    if two.feeding.gain < 1:
        assert two.feeding.slope is None
    else:
        assert two.feeding.slope == pytest.approx(math.sqrt(max(want - 1, 0)), abs=1e-3)


# ---- the path to it ------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
def test_first_between_last(norm):
    text = (
        INPUT
        + conv("one", "data", outputs=5, norm=norm)
        + layer("ReLU", "one", "one")
        + conv("two", "one", outputs=7, norm=norm)
        + layer("PReLU", "two", "two")
        + conv("three", "two", outputs=2, kernel=1, norm=norm)
    )
    r = resolved(text)
    assert [r[n].n for n in r] == {
        "FAN_IN": [7, 45, 27],
        "FAN_OUT": [2, 63, 45],
        "AVERAGE": [4.5, 54, 36],
    }[norm]
    linear, relu, prelu = ((), 2.0), (("relu",), 1.0), (("prelu",), 1.0625)
    forward = {"one": linear, "two": relu, "three": prelu}
    backward = {"one": relu, "two": prelu, "three": linear}
    for name, each in r.items():
        want = {
            "FAN_IN": [forward[name]],
            "FAN_OUT": [backward[name]],
            "AVERAGE": [forward[name], backward[name]],
        }[norm]
        assert gain(each) == want
    a_in, a_out = 0, 0.25
    two = {
        "FAN_IN": 2 / ((1 + a_in**2) * 45),
        "FAN_OUT": 2 / ((1 + a_out**2) * 63),
        "AVERAGE": 4 / ((1 + a_in**2) * 45 + (1 + a_out**2) * 63),
    }[norm]
    assert r["two"].sigma == np.float32(math.sqrt(two))


THROUGH = {
    "Pooling": ("Pooling", "pooling_param { kernel_size: 2 stride: 2 }"),
    "Dropout": ("Dropout", ""),
    "Split": ("Split", ""),
    "Concat": ("Concat", ""),
    "Slice": ("Slice", ""),
    "Reshape": ("Reshape", "reshape_param { shape { dim: 0 dim: 2 dim: -1 dim: 0 } }"),
    "Permute": ("Permute", "permute_param { order: 0 order: 3 order: 1 order: 2 }"),
    "Tile": ("Tile", "tile_param { tiles: 2 }"),
    "Scale": ("Scale", "scale_param { bias_term: true }"),
    "Bias": ("Bias", ""),
    "Power": ("Power", "power_param { scale: 2 shift: 1 }"),
}
STOPS = {
    "BatchNorm": ("BatchNorm", ""),
    "LRN": ("LRN", ""),
    "MVN": ("MVN", ""),
    "Softmax": ("Softmax", ""),
    "Square": ("Power", "power_param { power: 2 }"),
    "Exp": ("Exp", ""),
}


@pytest.mark.parametrize("case", [*THROUGH, *STOPS])
def test_layers_on_the_path_and_at_its_end(case):
    type, more = (THROUGH | STOPS)[case]
    text = (
        INPUT
        + conv("one", "data", norm="FAN_OUT")
        + layer(type, "one", "x", more, "down")
        + layer("ReLU", "x", "y")
        + layer(type, "y", "z", more, "up")
        + conv("two", "z", kernel=1)
    )
    want = [(("relu",), 1.0)] if case in THROUGH else [((), 2.0)]
    r = resolved(text)
    assert gain(r["one"]) == want
    assert gain(r["two"]) == want


def test_the_path_leads_through_flatten():
    param = 'inner_product_param { num_output: 5 weight_filler { type: "msra" } }'
    text = (
        INPUT
        + layer("ReLU", "data", "x")
        + layer("Flatten", "x", "y")
        + layer("InnerProduct", "y", "z", param, "fc")
    )
    assert gain(resolved(text)["fc"]) == [(("relu",), 1.0)]


def test_a_rectifier_behind_a_normalisation_is_met_first():
    text = (
        INPUT
        + conv("one", "data")
        + layer("BatchNorm", "one", "one", "", "bn")
        + layer("Scale", "one", "one")
        + layer("ReLU", "one", "one")
        + conv("two", "one")
    )
    assert gain(resolved(text)["two"]) == [(("relu",), 1.0)]


def test_a_mask_of_pooling_is_no_rectifiers():
    text = (
        INPUT
        + layer("ReLU", "data", "x")
        + layer("Pooling", "x", "p mask", "pooling_param { kernel_size: 2 stride: 2 }")
        + conv("one", "p")
        + conv("two", "mask")
    )
    r = resolved(text)
    assert (r["one"].feeding.gain, r["two"].feeding.gain) == (1.0, 2.0)


# ---- branches ------------------------------------------------------------------------------------


def test_concat_weighs_by_elements():
    text = (
        INPUT
        + conv("one", "data", outputs=6, norm="FAN_OUT")
        + layer("PReLU", "one", "one")
        + conv("two", "data", outputs=2)
        + layer("Concat", "one two", "x")
        + conv("three", "x")
    )
    three = resolved(text)["three"]
    assert three.feeding.layers == ("prelu",)
    assert three.feeding.gain == (6 * 1.0625 + 2 * 2) / 8
    assert three.sigma == np.float32(math.sqrt(2 / (three.feeding.gain * 72)))


def test_eltwise_averages_and_slice_weighs_by_elements():
    text = (
        INPUT
        + conv("one", "data", norm="FAN_OUT")
        + layer("Slice", "one", "a b", "slice_param { slice_point: 1 }")
        + layer("ReLU", "a", "ra", "", "r1")
        + layer("TanH", "b", "rb")
        + layer("PReLU", "data", "p")
        + layer("ReLU", "data", "r", "", "r2")
        + layer("Eltwise", "p r", "sum")
        + conv("two", "sum")
    )
    r = resolved(text)
    tanh = np.float32(2 * hermite(np.tanh))
    assert r["one"].fed.layers == ("r1", "tanh")
    assert r["one"].fed.gain == pytest.approx((1 + 3 * tanh) / 4, rel=1e-6)
    assert r["two"].feeding == Rectifier(("prelu", "r2"), 1.03125)


def test_readers_without_a_gradient_do_not_count():
    text = (
        'input: "label" input_shape { dim: 2 dim: 10 dim: 11 }\n'
        + INPUT
        + conv("one", "data", norm="FAN_OUT")
        + layer("ReLU", "one", "x")
        + layer("Silence", "one", "")
        + layer("ArgMax", "one", "m")
        + layer("Accuracy", "one label", "acc")
        + conv("two", "data", norm="FAN_OUT")
        + layer("Silence", "two", "", "", "s2")
        + layer("Crop", "data one", "cut", "crop_param { offset: 1 }")
    )
    r = resolved(text)
    assert r["one"].fed == Rectifier(("relu",), 1.0)
    assert r["two"].fed == LINEAR


def test_several_readers_count_alike():
    text = (
        INPUT
        + conv("one", "data", norm="FAN_OUT")
        + layer("ReLU", "one", "x")
        + conv("two", "one")
        + layer("PReLU", "one", "y")
    )
    assert resolved(text)["one"].fed.gain == np.float32((1 + 2 + 1.0625) / 3)


def test_shared_weights_and_shared_slopes():
    param, slope = 'param { name: "w" }', 'param { name: "s" }'
    text = (
        INPUT
        + layer("PReLU", "data", "x", slope + " prelu_param { filler { value: 0.5 } }", "p1")
        + layer("PReLU", "x", "y", slope, "p2")
        + conv("one", "data", outputs=3, more=param)
        + conv("two", "y", outputs=3, more=param)
    )
    graph = graph_of(text)
    one, two = slopes.resolve(graph)
    assert (one.feeding.gain, two.feeding.gain) == (2.0, 1.25)
    net = fill(slopes.apply(graph, (one, two)), BoostRng(1701))
    assert net.arrays[-1][0].tobytes() == net.arrays[-2][0].tobytes()  # the owner's, at its std
    assert net.arrays[-1][0].tobytes() == BoostRng(1701).normal(0, one.sigma, 81).tobytes()


# ---- other layers --------------------------------------------------------------------------------

SEQUENCE = """
input: "x" input_shape { dim: 4 dim: 2 dim: 3 }
input: "c" input_shape { dim: 4 dim: 2 }
"""
RECURRENT = """
recurrent_param { num_output: 5 weight_filler { type: "msra" variance_norm: AVERAGE } }
"""


def test_recurrent_layers_are_the_nets_that_caffe_unrolls():
    tanh = float(np.float32(2 * hermite(np.tanh)))
    text = (
        SEQUENCE
        + layer("ReLU", "x", "x")
        + layer("RNN", "x c", "h", RECURRENT)
        + layer("LSTM", "h c", "o", RECURRENT)
        + layer("InnerProduct", "o", "y", "inner_product_param { num_output: 2 axis: 2 }", "fc")
    )
    graph = graph_of(text)
    got = {
        (graph.nodes[r.place[0]].layer.name, graph.nodes[r.place[0]].blobs[r.place[1]].name): (
            r.feeding.gain,
            r.fed.gain,
        )
        for r in slopes.resolve(graph)
    }
    want = {
        ("rnn", "W_xh"): (1.0, tanh),
        ("rnn", "W_hh"): (tanh, tanh),
        ("rnn", "W_ho"): (tanh, tanh),
        ("lstm", "W_xc"): (tanh, 2.0),
        ("lstm", "W_hc"): (2.0, 2.0),
        ("fc", "weight"): (2.0, 2.0),
    }
    assert got.keys() == want.keys()
    for key, gains in got.items():
        assert gains == pytest.approx(want[key], rel=1e-6), key
    net = fill(slopes.apply(graph, slopes.resolve(graph)), BoostRng(3))
    rng = BoostRng(3)
    stds = {r.place: float(r.sigma) for r in slopes.resolve(graph)}
    at = next(i for i, n in enumerate(graph.nodes) if n.layer.name == "rnn")
    assert net.arrays[at][0].tobytes() == rng.normal(0, stds[at, 0], 15).tobytes()
    assert net.arrays[at][2].tobytes() == rng.normal(0, stds[at, 2], 25).tobytes()
    assert net.arrays[at][3].tobytes() == rng.normal(0, stds[at, 3], 25).tobytes()


def test_biases_and_scales_have_no_rectifier():
    text = (
        INPUT
        + layer("ReLU", "data", "x")
        + layer("Scale", "x", "s", 'scale_param { num_axes: 2 filler { type: "msra" } }')
        + conv("one", "s", more="").replace(
            "weight_filler", 'bias_filler { type: "msra" } weight_filler'
        )
    )
    graph = graph_of(text)
    (one,) = slopes.resolve(graph)
    assert one.place == (len(graph.nodes) - 1, 0)


def test_deconvolution_and_embed_by_caffes_fans():
    param = 'embed_param { input_dim: 8 num_output: 4 weight_filler { type: "msra" } }'
    text = (
        INPUT
        + layer("ReLU", "data", "x")
        + conv("one", "x", outputs=10).replace("Convolution", "Deconvolution")
        + 'input: "i" input_shape { dim: 6 }'
        + layer("Embed", "i", "e", param)
    )
    r = resolved(text)
    assert (r["one"].n, r["one"].sigma) == (90, np.float32(math.sqrt(2 / 90)))
    assert (r["embed"].n, r["embed"].sigma) == (4, 0.5)
