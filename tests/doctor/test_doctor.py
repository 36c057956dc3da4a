"""The doctor: what it measures, what theory says, what it finds, and how it reports."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.doctor import Variant, chart, examine, refill, theory, variant
from caffe_compat.doctor.page import render
from caffe_compat.doctor.signals import find_ends, measure
from caffe_compat.errors import ParseError, ShapeError

from ..cases import feed, graph_of, make

RELU = 'type: "ReLU"'
DATA = """layer {{ name: "data" type: "Input" top: "data"
  input_param {{ shape {{ dim: {n} dim: {c} dim: {h} dim: {w} }} }} }}
"""


def stack(layers, filler='type: "msra"', act=RELU, *, width=16, end=True):
    """3x3 convolutions with activations, and a fully connected layer with a Softmax."""
    text = 'name: "stack" ' + DATA.format(n=2, c=5, h=12, w=11)
    below = "data"
    for i in range(1, layers + 1):
        text += (
            f'layer {{ type: "Convolution" name: "conv{i}" bottom: "{below}" top: "conv{i}" '
            f"convolution_param {{ num_output: {width} kernel_size: 3 pad: 1 "
            f"weight_filler {{ {filler} }} }} }}\n"
            f'layer {{ name: "act{i}" {act} bottom: "conv{i}" top: "conv{i}" }}\n'
        )
        below = f"conv{i}"
    if end:
        text += (
            f'layer {{ name: "fc" type: "InnerProduct" bottom: "{below}" top: "fc" '
            f"inner_product_param {{ num_output: 10 weight_filler {{ {filler} }} }} }}\n"
            'layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }\n'
        )
    return text


def one(layer, n=2, c=6, h=9, w=8):
    return DATA.format(n=n, c=c, h=h, w=w) + layer


def findings(text, **options):
    found = examine(graph_of(text), trials=options.pop("trials", 1), **options).findings
    return {finding.rule: finding for finding in found}


# -- what is measured -------------------------------------------------------------------------


def test_a_linear_map_gives_its_frobenius_norm():
    text = one(
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" '
        "inner_product_param { num_output: 300 "
        "weight_filler { type: 'gaussian' std: 0.1 } } }",
        n=40,
    )
    net = make(text)
    (signal,) = measure(net, feed(net))
    norm = np.square(net.arrays[1][0], dtype=np.float64).sum()
    assert signal.forward == pytest.approx(norm / 300, rel=0.05)
    assert signal.kept == pytest.approx(norm / 300, rel=0.05)


def test_gradients_are_the_backward_passes():
    text = one(
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" '
        "inner_product_param { num_output: 7 weight_filler { type: 'xavier' } } }"
        'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" '
        'top: "loss" }'
    )
    net = make(text)
    assert [end.name for end in find_ends(net.graph)] == ["fc"]
    feeds = feed(net, integers={"label": 7})
    signals = {signal.layer: signal for signal in measure(net, feeds, seed=5)}
    dy = np.random.default_rng(5).standard_normal((2, 7), np.float32)
    weight = net.arrays[1][0]
    assert signals["fc"].backward == pytest.approx(np.var(dy @ weight), rel=1e-5)
    assert signals["loss"].backward == pytest.approx(np.var(dy), rel=1e-5)
    assert signals["fc"].moment == pytest.approx(np.mean(feeds["data"] ** 2), rel=1e-5)


def test_ends_are_before_what_has_no_gradient():
    graph = graph_of(
        stack(1, end=False)
        + """
layer { name: "best" type: "ArgMax" bottom: "conv1" top: "best" }
layer { name: "side" type: "TanH" bottom: "data" top: "side" }
layer { name: "one" type: "DummyData" top: "one" dummy_data_param { shape { dim: 3 } } }
layer { name: "double" type: "Power" bottom: "one" top: "double" power_param { scale: 2 } }"""
    )
    assert {end.name for end in find_ends(graph)} == {"conv1", "side"}


def test_batchnorm_goes_by_the_batch():
    norm = 'layer { name: "n" type: "BatchNorm" bottom: "conv6" top: "n" }'
    text = stack(2, 'type: "gaussian" std: 0.05', end=False) + norm.replace("conv6", "conv2")
    *_, last = examine(graph_of(text), trials=1).runs[0].signals
    assert last.moment < 0.1
    assert last.forward == pytest.approx(1, rel=0.02)


def test_what_overflows_is_infinite():
    diagnosis = examine(graph_of(stack(8, 'type: "gaussian" std: 3e5')), trials=1)
    assert diagnosis.runs[0].weighted[-1].forward == math.inf
    assert '"forward": "inf"' in diagnosis.to_json()
    assert "overflow" in render(diagnosis)


# -- what theory says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        "Convolution kernel_size: 3 pad: 1",
        "Convolution kernel_size: 3 stride: 2 pad: 2 dilation: 2",
        "Convolution kernel_h: 4 kernel_w: 1 stride_h: 3 stride_w: 1 group: 2",
        "Deconvolution kernel_size: 4 stride: 2 pad: 1",
        "Deconvolution kernel_size: 3 stride: 2 group: 3",
        "InnerProduct",
        "InnerProduct transpose: true",
    ],
)
def test_connections_are_what_ones_count(layer):
    kind, _, more = layer.partition(" ")
    p = "inner_product_param" if kind == "InnerProduct" else "convolution_param"
    net = make(
        one(
            f'layer {{ name: "l" type: "{kind}" bottom: "data" top: "y" {p} {{ {more} '
            "num_output: 12 bias_term: false weight_filler { value: 1 } } }",
            n=1,
        )
    )
    node, weight = net.graph.nodes[1], net.arrays[1][0]
    x, dy = (np.ones(value.shape, np.float32) for value in (*node.bottoms, *node.tops))
    (y,) = np.atleast_1d(node.layer.forward(x, weight=weight)).reshape(1, -1)
    dx = node.layer.backward(dy, x, weight=weight)[0]
    assert theory.connections(node) == pytest.approx((y.mean(), dx.mean()), rel=1e-6)


@pytest.mark.parametrize(
    "act",
    [
        RELU,
        'type: "ReLU" relu_param { negative_slope: 0.3 }',
        'type: "PReLU" prelu_param { filler { type: "uniform" min: 0 max: 0.8 } }',
        'type: "TanH"',
        'type: "ELU"',
    ],
)
def test_measured_is_predicted(act):
    diagnosis = examine(graph_of(stack(5, act=act, width=96)), trials=4)
    for signal in diagnosis.runs[0].weighted:
        assert signal.forward == pytest.approx(signal.theory_forward, rel=0.4), signal.layer
        assert signal.backward == pytest.approx(signal.theory_backward, rel=0.4), signal.layer


def test_theory_goes_through_branches():
    text = (
        stack(1, 'type: "gaussian" std: 0.2', end=False, width=64)
        + """
layer { name: "r" type: "ReLU" bottom: "data" top: "r" }
layer { name: "k" type: "Concat" bottom: "conv1" bottom: "r" top: "k" }
layer { name: "s" type: "Scale" bottom: "k" top: "s" scale_param { filler { value: 3 } } }
layer { name: "p" type: "Power" bottom: "s" top: "p" power_param { scale: 0.5 } }
layer { name: "n" type: "BatchNorm" bottom: "s" top: "n" }
layer { name: "e" type: "Eltwise" bottom: "n" bottom: "s" top: "e"
  eltwise_param { coeff: 1 coeff: -2 } }"""
    )
    net = make(text, phase="TRAIN")
    values = net.run(feed(net))
    said = theory.predict_forward(net, {"data": 1.0})
    for name in ("k", "s", "p", "n"):
        assert said[name] == pytest.approx(np.mean(values[name] ** 2), rel=0.25), name
    assert said["e"] == pytest.approx(1 + 4 * said["s"])
    back = theory.predict_backward(net, said, find_ends(net.graph))
    through_norm, through_power, straight = 1 / said["s"], 0.25, 4.0
    assert back["s"] == pytest.approx(through_norm + through_power + straight)
    assert back["k"] == pytest.approx(9 * back["s"])
    assert back["r"] == back["k"]


# -- what is found ------------------------------------------------------------------------------


def test_a_sound_net_has_no_findings():
    prelu = 'type: "PReLU" param { decay_mult: 0 }'
    assert findings(stack(12, width=32), trials=2) == {}
    assert findings(stack(12, 'type: "msra" a: 0.25', prelu, width=32), trials=2) == {}
    assert findings(stack(12, act=prelu, width=32), slopes="auto") == {}


def test_xavier_in_a_deep_net():
    found = findings(stack(14, 'type: "xavier"', width=48))
    assert [finding.severity for finding in found.values()] == ["severe"] * 3
    lost = found["forward"]
    depth = int(lost.layers[0].removeprefix("conv"))
    assert 8 <= depth <= 13
    assert lost.number < 1e-3
    assert f"depth {depth} of 15" in lost.message
    assert "gradient vanishing" in found["backward"].message
    assert found["xavier"].layers == (*(f"conv{i}" for i in range(2, 15)), "fc")
    assert found["xavier"].number == pytest.approx(0.5)
    assert {finding.remedy for finding in found.values()} == {'weight_filler { type: "msra" }'}
    assert "xavier" not in findings(stack(5, 'type: "xavier"'))
    assert "xavier" not in findings(stack(14, 'type: "xavier"', 'type: "TanH"'))


def test_msra_without_the_slope():
    found = findings(stack(4, act='type: "PReLU" prelu_param { filler { value: 0.5 } }'))
    assert found["slope"].layers == ("conv2", "conv3", "conv4", "fc")
    assert found["slope"].number == pytest.approx(1.25)
    assert found["slope"].remedy == 'weight_filler { type: "msra" a: 0.5 }'
    leaky = 'type: "ReLU" relu_param { negative_slope: 0.5 }'
    found = findings(stack(3, 'type: "msra" variance_norm: FAN_OUT', leaky, end=False))
    assert found["slope"].layers == ("conv1", "conv2", "conv3")
    assert found["slope"].remedy == 'weight_filler { type: "msra" a: 0.5 variance_norm: FAN_OUT }'


def test_exploding():
    found = findings(stack(10, 'type: "gaussian" std: 0.5'))
    assert "signal exploding" in found["forward"].message
    assert "gradient exploding" in found["backward"].message
    assert found["gaussian"].severity == "severe"
    assert found["gaussian"].number > 5


def test_a_shallow_net_trains_from_nearly_any_variance():
    shallow, deep = (findings(stack(n, 'type: "gaussian" std: 0.001')) for n in (5, 9))
    assert (shallow["forward"].severity, deep["forward"].severity) == ("warning", "severe")
    assert (shallow["backward"].severity, deep["backward"].severity) == ("warning", "severe")


def test_gaussian_of_one_std():
    every = examine(graph_of(stack(9, 'type: "gaussian" std: 0.01')), trials=1).findings
    first, inner, last = (finding for finding in every if finding.rule == "gaussian")
    assert (first.layers, last.layers) == (("conv1",), ("fc",))
    assert first.number == pytest.approx(0.01**2 * 5 * 9)
    assert inner.number == pytest.approx(0.01**2 * 16 * 9 / 2)
    assert "std 0.01, where 0.118 keeps the variance" in inner.message
    assert "gaussian" not in findings(stack(5, 'type: "gaussian" std: 0.01'))
    right = math.sqrt(2 / (9 * 16))
    sound = findings(stack(12, f'type: "gaussian" std: {right}', end=False))
    assert sound["gaussian"].layers == ("conv1",)


def test_zero_weights():
    found = findings(stack(2, 'type: "constant"'))
    assert found["zero"].layers == ("conv1", "conv2", "fc")
    assert found["zero"].severity == "severe"
    assert found["dead"].number == 1
    assert found["forward"].layers == ("conv1",)


def test_prelu_under_decay():
    found = findings(stack(2, 'type: "msra" a: 0.25', 'type: "PReLU"'))
    assert found["decay"].layers == ("act1", "act2")
    assert found["decay"].remedy == "param { decay_mult: 0 }"
    half = 'type: "PReLU" param { decay_mult: 0.5 }'
    assert findings(stack(2, 'type: "msra" a: 0.25', half))["decay"].number == 0.5


def test_saturated_softmax():
    data = (
        'layer { name: "d" type: "MemoryData" top: "data" top: "label" memory_data_param { '
        "batch_size: 4 channels: 5 height: 12 width: 11 } %s }"
    )
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "l" }'
    layers = stack(3).split("layer {")[2:-1]
    net = "layer {".join([data, *layers]) + loss
    found = findings(net % "")
    assert found["saturated"].layers == ("d",)
    assert 0.8 < found["saturated"].number <= 1
    assert found["saturated"].remedy == "transform_param { mean_value: 127.5 scale: 0.0078125 }"
    assert "saturated" not in findings(net % "transform_param { scale: 0.00390625 }")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 12, 11)).astype(np.float32)
    found = findings(stack(3), data=pixels)
    assert found["saturated"].layers == ("data",)
    assert "mean square of 2.2" in found["saturated"].message
    assert "saturated" not in findings(stack(3), data=pixels / 128 - 1)


def test_fans_that_are_not_the_layers():
    up = (
        'layer { name: "up" type: "Deconvolution" bottom: "data" top: "up" convolution_param { '
        'num_output: 2 kernel_size: 4 stride: 4 weight_filler { type: "msra" } } }'
    )
    found = findings(one(up))
    assert found["fan"].number == pytest.approx((2 * 16) / (6 * 16 / 16))
    std = float(found["fan"].remedy.split("std: ")[1].split()[0])
    assert std == pytest.approx(math.sqrt(1 / 6), rel=1e-4)
    assert "fan" not in findings(one(up.replace('"msra"', '"bilinear"')))
    grouped = (
        'layer { name: "g" type: "Convolution" bottom: "data" top: "g" convolution_param { '
        "num_output: 8 group: 2 kernel_size: 3 "
        'weight_filler { type: "xavier" variance_norm: FAN_OUT } } }'
    )
    assert findings(one(grouped))["fan"].number == pytest.approx(2)
    assert "fan" not in findings(one(grouped.replace("FAN_OUT", "FAN_IN")))
    swapped = (
        'layer { name: "t" type: "InnerProduct" bottom: "data" top: "t" '
        "inner_product_param { num_output: 8 transpose: true "
        'weight_filler { type: "xavier" } } }'
    )
    assert findings(one(swapped))["fan"].number == pytest.approx(8 / (6 * 9 * 8))


def test_dead_rectifiers():
    text = stack(2, end=False).replace(
        'conv2" convolution_param {', 'conv2" convolution_param { bias_filler { value: -20 }'
    )
    found = findings(text)
    assert found["dead"].layers == ("act2",)
    assert found["dead"].severity == "severe"
    assert found["dead"].number == 1


# -- other fillers -------------------------------------------------------------------------------


def test_compared_with_other_fillers():
    others = [variant(text) for text in ("msra", "msra:auto", "gaussian:0.01")]
    diagnosis = examine(graph_of(stack(6, 'type: "xavier"')), compare=others, trials=2)
    assert [r.label for r in diagnosis.runs] == ["as written", "msra", "msra:auto", "gaussian:0.01"]
    last = {r.label: r.weighted[-1].forward for r in diagnosis.runs}
    assert last["gaussian:0.01"] < last["as written"] < last["msra:auto"] < last["msra"]
    written = examine(graph_of(stack(6, 'type: "msra"')), trials=2).runs[0].signals
    assert diagnosis.runs[1].signals == written


def test_bilinear_upsampling_stays():
    up = (
        'layer { name: "up" type: "Deconvolution" bottom: "data" top: "up" convolution_param { '
        "num_output: 6 group: 6 kernel_size: 4 stride: 2 bias_term: false "
        'weight_filler { type: "bilinear" } } }'
    )
    graph = graph_of(one(up))
    assert refill(graph, variant("msra")) == graph


def test_variants():
    assert variant("msra:auto") == Variant("msra:auto", variant("msra").filler, "auto")
    assert variant("msra:0.25").filler.a == 0.25
    assert variant("gaussian:0.02").filler.std == pytest.approx(0.02)
    for text in ("", "glorot", "xavier:2", "msra:automatic"):
        with pytest.raises(ParseError, match="is no"):
            variant(text)


def test_errors():
    with pytest.raises(ShapeError, match="trials must be positive, and is 0"):
        examine(graph_of(stack(1)), trials=0)
    data = np.zeros((3, 5, 12, 11), np.float32)
    with pytest.raises(ShapeError, match=r"input 'data' is \(2, 5, 12, 11\), the data are \(3, 5"):
        examine(graph_of(stack(1)), data=data)


# -- how it is told --------------------------------------------------------------------------------


class Page(HTMLParser):
    """The tags of a page, open and closed in order, and its text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.attributes = [], [], "", []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_page():
    evil = '<b onclick="x()">&'
    text = stack(11, 'type: "xavier"').replace('"stack"', f"'{evil}'").replace("conv3", "conv3<i>")
    diagnosis = examine(graph_of(text), compare=[variant("msra")], trials=1)
    html = render(diagnosis)
    page = Page(html)
    assert not {"script", "b", "i", "link", "img", "iframe"} & set(page.tags)
    assert not {"src", "href", "onclick"} & {name for name, _ in page.attributes}
    assert "url(" not in html
    assert "@import" not in html
    assert f"Signals of {evil}" in page.text
    assert page.tags.count("figure") == 2
    # Each chart has both runs, and theory; the legend has them once.
    assert page.tags.count("polyline") == 2 * 3 + 3
    assert page.tags.count("article") == len(diagnosis.findings)
    layers = len(diagnosis.runs[0].signals)
    assert page.tags.count("tr") == (2 + 12) + (1 + layers)
    assert "0.000" in page.text
    for finding in diagnosis.findings:
        assert finding.message in page.text
        assert finding.remedy in page.text


def test_page_of_a_net_without_weights():
    diagnosis = examine(graph_of(one('layer { name: "r" type: "ReLU" bottom: "data" top: "r" }')))
    assert diagnosis.findings == ()
    assert "Nothing to say against it" in render(diagnosis)


@given(st.lists(st.none() | st.floats(min_value=0), max_size=9), st.integers(2, 12))
@settings(max_examples=50)
def test_axis_holds_every_value(values, ticks):
    axis = chart.decades(values, ticks)
    assert axis.low <= -4 < 4 <= axis.high
    assert axis.low % axis.step == axis.high % axis.step == 0
    assert 0 < (axis.high - axis.low) / axis.step <= ticks + 1
    places = [axis.place(v) for v in sorted(v for v in values if v is not None)]
    assert all(0 <= place <= 1 for place in places)
    assert places == sorted(places)
    assert axis.place(1.0) == pytest.approx(-axis.low / (axis.high - axis.low))


def test_command(run, tmp_path):
    net, page, numbers = (tmp_path / name for name in ("n.prototxt", "r.html", "r.json"))
    net.write_text(stack(12, 'type: "xavier"'))
    status, out, err = run(
        "doctor",
        net,
        "--trials",
        1,
        "--compare",
        "msra,msra:auto",
        "--html",
        page,
        "--json",
        numbers,
    )
    assert status == 3
    assert err == ""
    assert "severe: conv2, conv3, conv4, conv5 and 8 more: xavier before a rectifier" in out
    assert '    weight_filler { type: "msra" }' in out
    assert "1e-04 |" in out
    Page(page.read_text(encoding="utf-8"))
    said = json.loads(numbers.read_text(encoding="utf-8"))
    assert said["severe"] is True
    assert [r["label"] for r in said["runs"]] == ["as written", "msra", "msra:auto"]
    assert said["findings"][0]["layers"][0].startswith("conv")
    net.write_text(stack(4, width=32))
    assert run("doctor", net, "--trials", 1, "--batch", 3)[0] == 0


def test_command_takes_data(run, tmp_path):
    net, data = tmp_path / "n.prototxt", tmp_path / "x.npy"
    net.write_text(stack(3))
    np.save(data, np.random.default_rng(0).standard_normal((3, 5, 10, 9), np.float32) * 300)
    status, out, _ = run("doctor", net, "--trials", 1, "--data", data)
    assert status == 3
    assert "data: input not normalised" in out
    assert run("doctor", net, "--compare", "glorot")[0] == 1
    assert run("doctor", net, "--data", tmp_path / "none.npy")[0] == 1


def test_weights_are_those_of_the_file(run, tmp_path):
    net, trained = tmp_path / "n.prototxt", tmp_path / "w.caffemodel"
    net.write_text(stack(12))
    assert run("init", net, "-o", trained, "--seed", 5)[0] == 0
    net.write_text(stack(12, 'type: "xavier"'))
    status, out, _ = run("doctor", net, "--weights", trained, "--trials", 1)
    assert status == 0
    assert "xavier" not in out


def test_terminal_marks_every_line():
    from caffe_compat.converters.curves import legend, plot
    from rich.console import Console

    console = Console(width=60, force_terminal=False)
    lines = [[1.0, 0.1, None], [1e3, math.inf, 0.0]]
    text = plot("title", lines, console).plain
    marks = legend(["first", "second"], console).plain.split()[::2]
    assert text.count(marks[0]) == 2
    assert text.count(marks[1]) == 3
