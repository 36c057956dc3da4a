"""What TRAIN draws, keeps and changes: by hand, by difference, and in the order of Caffe's."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat import fillers
from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.fillers.rng import BoostRng
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, feed, make, run_onnx

INPUT = """
layer { name: "in" type: "Input" top: "x"
  input_param { shape { dim: 2 dim: 3 dim: 5 dim: 4 } } }"""


def text(body, top="y"):
    return INPUT + f'layer {{ name: "act" bottom: "x" top: "{top}" {body} }}'


def trained(body, **options):
    net = make(text(body, **options), phase="TRAIN")
    return net, feed(net), net.draw(BoostRng(5))


def check_gradient(net, feeds, extra, step=1e-2):
    """By central differences of a random projection, at the same draws."""
    rng = np.random.default_rng(3)
    kept = {}
    values = net.run(feeds, extra, kept)
    (out,) = net.graph.outputs
    weight = rng.standard_normal(out.shape).astype(np.float32)
    direction = rng.standard_normal(feeds["x"].shape).astype(np.float32)

    def objective(sign):
        moved = {"x": feeds["x"] + np.float32(sign * step) * direction}
        return float(np.sum(net.run(moved, extra)[out.name].astype(np.float64) * weight))

    want = (objective(1) - objective(-1)) / (2 * step)
    for more in (extra, {i: {**extra.get(i, {}), **kept.get(i, {})} for i in (0, 1)}):
        grads, _ = net.backward(values, {out.blob: weight}, more)
        got = float(np.sum(grads["x"].astype(np.float64) * direction))
        assert abs(got - want) <= 1e-2 * max(1, abs(want))


def test_dropout():
    net, feeds, extra = trained('type: "Dropout" dropout_param { dropout_ratio: 0.25 }')
    mask = BoostRng(5).bernoulli(0.75, 120).reshape(2, 3, 5, 4)
    np.testing.assert_array_equal(extra[1]["mask"], mask)
    y = net.run(feeds, extra)["y"]
    assert_close(y, feeds["x"] * mask / np.float32(0.75), 1e-6)
    check_gradient(net, feeds, extra)


def test_dropout_of_nothing_still_draws():
    net, feeds, extra = trained('type: "Dropout" dropout_param { dropout_ratio: 0 }')
    assert extra[1]["mask"].all()
    np.testing.assert_array_equal(net.run(feeds, extra)["y"], feeds["x"])
    with pytest.raises(ShapeError, match="dropout_ratio must be at least 0 and below 1"):
        trained('type: "Dropout" dropout_param { dropout_ratio: 1 }')


def test_spatial_dropout_drops_channels():
    net, feeds, extra = trained('type: "SpatialDropout"')
    assert extra[1]["mask"].shape == (2, 3, 1, 1)
    assert_close(net.run(feeds, extra)["y"], feeds["x"] * extra[1]["mask"] * 2, 1e-6)
    check_gradient(net, feeds, extra)


@pytest.mark.parametrize("kind", ["Insanity", "RReLU"])
def test_drawn_slopes(kind):
    name = f"{kind.lower()}_param"
    net, feeds, extra = trained(f'type: "{kind}" {name} {{ lb: 3 ub: 8 }}')
    a = BoostRng(5).uniform(3, 8, 120).reshape(2, 3, 5, 4)
    np.testing.assert_array_equal(extra[1]["a"], a)
    x = feeds["x"]
    assert_close(net.run(feeds, extra)["y"], np.maximum(x, 0) + np.minimum(x, 0) / a, 1e-6)
    check_gradient(net, feeds, extra, step=1e-3)
    with pytest.raises(UnsupportedError, match="draws its slopes at random in TRAIN; give them"):
        net.run(feeds)
    with pytest.raises(UnsupportedError, match=r"'act' .* at random in TRAIN"):
        lower(net)


def test_stochastic_pooling():
    """The element at which the running sum reaches the drawn share, counted by hand."""
    body = 'type: "Pooling" pooling_param { pool: STOCHASTIC kernel_size: 3 stride: 2 }'
    net, feeds, extra = trained(body)
    x = feeds["x"] = np.abs(feeds["x"])
    x[0, 0] = 0  # a window of zeros gives its first
    fraction = extra[1]["fraction"]
    np.testing.assert_array_equal(fraction.ravel(), BoostRng(5).uniform(0, 1, fraction.size))
    y = net.run(feeds, extra)["y"]
    assert y.shape == fraction.shape == (2, 3, 2, 2)
    for index in np.ndindex(*y.shape):
        n, c, i, j = index
        window = x[n, c, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].ravel()
        running = np.cumsum(window, dtype=np.float32)
        assert y[index] == window[np.argmax(running >= fraction[index] * running[-1])]
    values = net.run(feeds, extra)
    dy = np.random.default_rng(0).standard_normal(y.shape).astype(np.float32)
    grads, _ = net.backward(values, {"y": dy}, extra)
    assert_close(grads["x"].sum((2, 3)), dy.sum((2, 3)), 1e-6)
    assert ((grads["x"] != 0).sum() <= y.size).all()
    feeds["x"] = -x
    with pytest.raises(ShapeError, match="must not be negative"):
        net.run(feeds, extra)


def test_dummy_data_is_drawn_in_layer_order():
    net = make(
        """
        layer { name: "a" type: "DummyData" top: "a" top: "c" dummy_data_param {
          shape { dim: 2 dim: 3 } data_filler { type: "gaussian" std: 2 }
          data_filler { type: "constant" value: 7 } } }
        layer { name: "d" type: "Dropout" bottom: "a" top: "a" }
        layer { name: "b" type: "DummyData" top: "b" dummy_data_param {
          shape { dim: 4 } data_filler { type: "uniform" } } }""",
        phase="TRAIN",
    )
    rng = BoostRng(9)
    for _ in range(2):  # each pass draws anew
        want = BoostRng(9)
        want.restore(rng.state())
        extra = net.draw(rng)
        assert [(i, list(arrays)) for i, arrays in extra.items()] == [
            (0, ["a"]),
            (1, ["mask"]),
            (2, ["b"]),
        ]
        gaussian, uniform = (net.graph.nodes[i].layer.p.data_filler[0] for i in (0, 2))
        np.testing.assert_array_equal(extra[0]["a"], fillers.fill((2, 3), gaussian, want))
        np.testing.assert_array_equal(extra[1]["mask"].ravel(), want.bernoulli(0.5, 6))
        np.testing.assert_array_equal(extra[2]["b"], fillers.fill((4,), uniform, want))


BN = [
    ("segnet", "bn_param { scale_filler { value: 1 } }", {}),
    ("pspnet", "bn_param { momentum: 0.8 }", {"mean": 0.2, "variance": 0.2}),
    ("yjxiong", "bn_param { momentum: 0.8 }", {"mean": 0.2, "variance": 0.2}),
    ("caffe-windows", "bn_param { momentum: 0.8 }", {"mean": 0.2, "inverse": 0.2}),
    ("pspnet", "bn_param { momentum: 0.8 frozen: true }", {}),
]


@pytest.mark.parametrize(("fork", "body", "moves"), BN)
def test_moving_averages_of_bn(fork, body, moves):
    net = make(text(f'type: "BN" {body}'), phase="TRAIN", fork=fork)
    feeds = feed(net)
    before = {name: array.copy() for name, array in net.params["act"].items()}
    values = net.run(feeds)
    states = net.update(values, {})
    x, axes = feeds["x"].astype(np.float64), (0, 2, 3)
    moments = {"mean": x.mean(axes), "variance": x.var(axes)}
    moments["inverse"] = 1 / np.sqrt(moments["variance"] + 1e-5)
    for name, array in net.params["act"].items():
        share = moves.get(name, 0)
        want = before[name] if not share else 0.8 * before[name].ravel() + 0.2 * moments[name]
        assert_close(array, np.reshape(want, array.shape), 1e-5, name)
    assert states == {}


def test_lstm_goes_on_from_the_last_pass():
    body = """
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 } } }
        layer { name: "c" type: "Input" top: "cont" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "rec" type: "KIND" bottom: "x" bottom: "cont" top: "h" recurrent_param {
          num_output: 5 weight_filler { type: "uniform" min: -1 max: 1 } } }"""
    for kind, names in (("LSTM", ["h0", "c0"]), ("RNN", ["h0"])):
        net = make(body.replace("KIND", kind), phase="TRAIN")
        rng = np.random.default_rng(1)
        x = rng.standard_normal((4, 3, 4)).astype(np.float32)
        cont = np.ones((4, 3), np.float32)
        cont[0] = 0
        whole = make(body.replace("KIND", kind).replace("dim: 2", "dim: 4"), phase="TRAIN")
        for index, arrays in enumerate(whole.arrays):
            for i, array in enumerate(arrays):
                array[...] = net.arrays[index][i]
        want = whole.run({"x": x, "cont": cont})["h"]
        state = net.state()
        assert list(state[2]) == names
        got = []
        for part in (slice(0, 2), slice(2, 4)):
            kept = {}
            feeds = {"x": x[part], "cont": cont[part]}
            values = net.run(feeds, state, kept)
            got.append(values["h"])
            again = net.update(values, state)
            state = net.update(values, {2: {**state[2], **kept[2]}})
            for name in names:
                np.testing.assert_array_equal(state[2][name], again[2][name])
        assert_close(np.concatenate(got), want, 1e-6)


def test_convert_refuses_what_is_drawn():
    """An ONNX file has nobody who would draw; TEST is what is deployed."""
    net = make(text('type: "Dropout"'), phase="TRAIN")
    with pytest.raises(UnsupportedError, match=r"drops at random in TRAIN .*select the TEST"):
        lower(net)
    plain = make(text('type: "ReLU"'), phase="TRAIN")
    assert_close(run_onnx(plain, feed(plain))["y"], np.maximum(feed(plain)["x"], 0))
