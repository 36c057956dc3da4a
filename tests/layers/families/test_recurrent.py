"""LSTM and RNN over T = 5 steps of N = 3 streams."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, check_both, check_gradients, feed, make, operators, run_onnx

FILLERS = """weight_filler { type: "uniform" min: -0.8 max: 0.8 }
             bias_filler { type: "uniform" min: -0.3 max: 0.3 }"""
STATES = {"LSTM": ["h", "c"], "RNN": ["h"]}
CONTS = {
    "resets": [[0, 1, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]],
    "goes on": np.ones((5, 3)),
    "starts anew": np.zeros((5, 3)),
    "by parts": np.linspace(0.1, 1.5, 15).reshape(5, 3),
}


def text(kind, x=(5, 3, 2), static=None, expose=False, cont=None, hidden=4):
    """An LSTM or RNN; `cont` is the text of the layers that make it, an input if None."""
    inputs = {"x": x, "cont": x[:2] if cont is None else None, "static": static}
    states = STATES[kind] if expose else []
    inputs |= {f"{s}0": (1, x[1], hidden) for s in states}
    lines = [cont or ""]
    for name, shape in inputs.items():
        if shape is not None:
            dims = " ".join(f"dim: {n}" for n in shape)
            lines.append(
                f'layer {{ name: "{name}" type: "Input" top: "{name}" '
                f"input_param {{ shape {{ {dims} }} }} }}"
            )
    bottoms = ["x", "cont", *(["static"] if static else []), *(f"{s}0" for s in states)]
    ends = [*(f'bottom: "{b}"' for b in bottoms), 'top: "y"', *(f'top: "{s}T"' for s in states)]
    lines.append(f"""layer {{ name: "l" type: "{kind}" {" ".join(ends)}
        recurrent_param {{ num_output: {hidden} {FILLERS}
                           expose_hidden: {str(expose).lower()} }} }}""")
    return "\n".join(lines)


def feeds_of(prototxt, cont):
    return {**feed(make(prototxt)), "cont": np.asarray(cont, np.float32)}


def dummy(*parts):
    """DummyData layers, and a Concat of them if there are several: (steps, value) each."""
    tops = ["cont"] if len(parts) == 1 else [f"p{i}" for i in range(len(parts))]
    lines = [
        f"""layer {{ name: "{top}" type: "DummyData" top: "{top}"
            dummy_data_param {{ shape {{ dim: {t} dim: 3 }} data_filler {{ value: {v} }} }} }}"""
        for top, (t, v) in zip(tops, parts, strict=True)
    ]
    if len(parts) > 1:
        bottoms = " ".join(f'bottom: "{top}"' for top in tops)
        lines.append(
            f'layer {{ name: "cont" type: "Concat" {bottoms} top: "cont" '
            "concat_param { axis: 0 } }"
        )
    return "\n".join(lines)


@pytest.mark.parametrize("cont", CONTS)
@pytest.mark.parametrize("expose", [False, True])
@pytest.mark.parametrize("static", [None, (3, 6), (3, 6, 7)])
@pytest.mark.parametrize("kind", STATES)
def test_numpy_and_onnxruntime_agree(kind, static, expose, cont):
    for x in ((5, 3, 2), (5, 3, 2, 7)):
        prototxt = text(kind, x, static, expose)
        check_both(prototxt, feeds=feeds_of(prototxt, CONTS[cont]))


@pytest.mark.parametrize("cont", ["resets", "goes on", "starts anew"])
@pytest.mark.parametrize("static", [None, (3, 6)])
@pytest.mark.parametrize("kind", STATES)
def test_gradients_are_the_differences(kind, static, cont):
    prototxt = text(kind, static=static)
    inputs = ["x", "static"] if static else ["x"]
    check_gradients(prototxt, feeds=feeds_of(prototxt, CONTS[cont]), blobs=inputs)


@pytest.mark.parametrize("kind", STATES)
def test_no_gradient_passes_the_exposed_state_as_in_caffe(kind):
    prototxt = text(kind, expose=True)
    net = make(prototxt)
    values = net.run(feeds_of(prototxt, CONTS["goes on"]))
    dy = np.ones((5, 3, 4), np.float32)
    state = {f"{s}T": np.ones((1, 3, 4), np.float32) for s in STATES[kind]}
    plain, weights = net.backward(values, {"y": dy})
    more, same = net.backward(values, {"y": dy, **state})
    np.testing.assert_array_equal(plain["x"], more["x"])
    for one, other in zip(weights[-1], same[-1], strict=True):
        np.testing.assert_array_equal(one, other)
    assert not {"h0", "c0", "cont"} & set(more)


@pytest.mark.parametrize("kind", STATES)
def test_two_halves_carry_the_state(kind):
    whole = text(kind, x=(6, 3, 2), expose=True)
    net, half = make(whole), make(text(kind, x=(3, 3, 2), expose=True))
    feeds = feeds_of(whole, [*CONTS["resets"], [1, 1, 0]])
    want = net.forward(feeds)
    first = half.forward({**feeds, "x": feeds["x"][:3], "cont": feeds["cont"][:3]})
    state = {f"{s}0": first[f"{s}T"] for s in STATES[kind]}
    second = half.forward({"x": feeds["x"][3:], "cont": feeds["cont"][3:], **state})
    assert_close(np.concatenate([first["y"], second["y"]]), want["y"])


@pytest.mark.parametrize("expose", [False, True])
@pytest.mark.parametrize("static", [None, (3, 6), (3, 6, 4)])
@pytest.mark.parametrize(
    "parts", [[(5, 1)], [(1, 0), (4, 1)], [(1, 0.5), (4, 1)]], ids=["goes on", "anew", "half"]
)
@pytest.mark.parametrize("kind", STATES)
def test_the_operator_where_cont_never_resets_a_later_step(kind, parts, static, expose):
    for x in ((5, 3, 2), (5, 3, 2, 7)):
        prototxt = text(kind, x, static, expose, dummy(*parts))
        check_both(prototxt)
        assert kind in operators(prototxt)
        assert "Scan" not in operators(prototxt)


@pytest.mark.parametrize("expose", [False, True])
@pytest.mark.parametrize("static", [None, (3, 6)])
@pytest.mark.parametrize("kind", STATES)
def test_the_operator_for_one_step_whatever_cont_says(kind, static, expose):
    prototxt = text(kind, (1, 3, 2), static, expose)
    check_both(prototxt, feeds=feeds_of(prototxt, [[0, 1, 0.5]]))
    assert kind in operators(prototxt)
    assert "Scan" not in operators(prototxt)


@pytest.mark.parametrize("kind", STATES)
def test_the_operator_behind_a_reshaped_constant(kind):
    cont = dummy((5, 1)).replace('top: "cont"', 'top: "flat"').replace("dim: 3", "dim: 3 dim: 1")
    cont += """layer { name: "r" type: "Reshape" bottom: "flat" top: "cont"
                 reshape_param { shape { dim: 0 dim: 3 } } }"""
    prototxt = text(kind, cont=cont)
    check_both(prototxt)
    assert kind in operators(prototxt)


@pytest.mark.parametrize("parts", [None, [(5, 0)], [(3, 1), (2, 0)]])
@pytest.mark.parametrize("kind", STATES)
def test_a_scan_where_cont_may_reset(kind, parts):
    cont = dummy(*parts) if parts else None
    prototxt = text(kind, cont=cont)
    check_both(prototxt)
    assert "Scan" in operators(prototxt)
    assert kind not in operators(prototxt)


@pytest.mark.parametrize("expose", [False, True])
@pytest.mark.parametrize("kind", STATES)
def test_streams_may_vary(kind, expose):
    opened = {"x": (5, None, 2), "cont": (5, None)}
    if expose:
        opened |= {f"{s}0": (1, None, 4) for s in STATES[kind]}
    net = make(text(kind, expose=expose), inputs=opened)
    wider = text(kind, x=(5, 8, 2), expose=expose)
    feeds = feeds_of(wider, np.tile([0, 1, 1, 1, 0], (8, 1)).T)
    want = make(wider).forward(feeds)
    for name, array in run_onnx(net, feeds).items():
        assert_close(array, want[name], what=name)


def test_weights_stay_as_caffe_stores_them_in_a_scan():
    for kind in STATES:
        assert not lower(make(text(kind))).changed


# Drawn by real Caffe (seed 1701, Boost 1.74): first and last value of every blob, in net order.
DRAWN = {
    "l": [
        (0.08943323791027069, 0.8223270177841187),
        (2.7180495262145996, 2.3876841068267822),
        (0.8250561952590942, 0.6750704646110535),
    ],
    "r": [
        (0.04896630346775055, 0.5899980664253235),
        (2.1901512145996094, 2.219519853591919),
        (0.6608383655548096, 0.4184983968734741),
        (0.162445068359375, 0.15500488877296448),
        (2.648836135864258, 2.3753180503845215),
    ],
    "ip": [(0.5949772596359253, 0.6113126873970032), (0.0, 0.0)],
}


def test_every_time_step_draws_and_the_first_is_kept():
    filler = """weight_filler { type: "uniform" } bias_filler { type: "uniform" min: 2 max: 3 }"""
    net = make(f"""
        layer {{ name: "x" type: "Input" top: "x" top: "cont" input_param {{
            shape {{ dim: 3 dim: 2 dim: 4 }} shape {{ dim: 3 dim: 2 }} }} }}
        layer {{ name: "l" type: "LSTM" bottom: "x" bottom: "cont" top: "h"
            recurrent_param {{ num_output: 2 {filler} }} }}
        layer {{ name: "r" type: "RNN" bottom: "h" bottom: "cont" top: "o"
            recurrent_param {{ num_output: 5 {filler} }} }}
        layer {{ name: "ip" type: "InnerProduct" bottom: "o" top: "y"
            inner_product_param {{ num_output: 1 weight_filler {{ type: "uniform" }} }} }}""")
    for node, blobs in zip(net.graph.nodes, net.arrays, strict=True):
        got = [(float(blob.flat[0]), float(blob.flat[-1])) for blob in blobs]
        assert got == DRAWN.get(node.layer.name, [])


REFUSED = [
    (text("LSTM", x=(5, 3)), "3 axes or more"),
    (text("LSTM", static=(4, 2)), r"static bottom must be \(3, ...\), and is \(4, 2\)"),
    (text("LSTM", static=(3,)), r"static bottom must be \(3, ...\), and is \(3,\)"),
    (text("LSTM", hidden=0), "num_output must be positive"),
    (text("LSTM", cont=dummy((4, 1))), r"\(5, 3\), and is \(4, 3\)"),
    (text("LSTM").replace("hidden: false", "hidden: true"), "takes 4 to 5 bottom"),
    (text("RNN", static=(3, 6), expose=True).replace('top: "hT"', ""), "makes 2 top"),
    (
        text("LSTM", expose=True).replace("dim: 1 dim: 3 dim: 4", "dim: 1 dim: 3 dim: 6"),
        r"must be \(1, 3, 4\), and is \(1, 3, 6\)",
    ),
]


@pytest.mark.parametrize(("prototxt", "message"), REFUSED)
def test_refused(prototxt, message):
    with pytest.raises(ShapeError, match=f"layer 'l' .*{message}"):
        make(prototxt)


def test_more_time_steps_than_anyone_unrolls():
    """Each draws its weights anew, so 10^9 of them would take for ever."""
    with pytest.raises(UnsupportedError, match=r"layer 'l' .*: 1000000000 time steps"):
        make(text("LSTM", x=(10**9, 1, 1)))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=4, max_size=4),
    kind=st.sampled_from(sorted(STATES)),
    static=st.booleans(),
    expose=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_shape(sizes, kind, static, expose, seed):
    steps, streams, columns, hidden = sizes
    side = (streams, columns + 1) if static else None
    prototxt = text(kind, (steps, streams, columns), side, expose, hidden=hidden)
    check_both(prototxt, feeds=feed(make(prototxt), seed, {"cont": 2}))
