"""BatchNorm, LRN and MVN beyond the golden cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, check_both, check_gradients, feed, make, run_onnx

SHAPE = (2, 7, 5, 4)


def text(body, shape=SHAPE, top="y"):
    dims = " ".join(f"dim: {n}" for n in shape)
    return f"""
        layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ {dims} }} }} }}
        layer {{ name: "norm" bottom: "x" top: "{top}" {body} }}"""


def ops(net):
    return [node.op_type for node in lower(net).model.graph.node]


def batch_norm(param="", shape=SHAPE, factor=4.0, top="y", seed=3, **kwargs):
    """A net of one BatchNorm with drawn statistics, stored as Caffe does: times the factor."""
    net = make(text(f'type: "BatchNorm" batch_norm_param {{ {param} }}', shape, top), **kwargs)
    rng = np.random.default_rng(seed)
    mean = rng.standard_normal(shape[1]).astype(np.float32) * np.float32(factor)
    variance = rng.uniform(0.25, 2, shape[1]).astype(np.float32) * np.float32(factor)
    return replace(net, arrays=((), (mean, variance, np.array([factor], np.float32))))


@pytest.mark.parametrize("shape", [(3, 5), (4, 3, 5), SHAPE, (2, 3, 1, 4, 6)])
@pytest.mark.parametrize("factor", [0, 1, 4, 999.5])
def test_batch_norm_by_stored_statistics(shape, factor):
    net = batch_norm("eps: 0.01", shape, factor)
    feeds = feed(net)
    mean, variance, _ = net.arrays[1]
    rate = 1 / np.float64(factor) if factor else 0
    channels = (-1,) + (1,) * (len(shape) - 2)
    want = feeds["x"] - (mean * rate).reshape(channels)
    want = want / np.sqrt((variance * rate).reshape(channels) + 0.01)
    assert_close(net.forward(feeds)["y"], want)
    assert_close(run_onnx(net, feeds)["y"], want)
    assert ops(net) == ["BatchNormalization"]


def test_batch_norm_keeps_statistics_that_need_no_division():
    net = batch_norm(factor=1)
    lowered = lower(net)
    assert lowered.changed == ()
    assert np.shares_memory(lowered.arrays["norm/mean"], net.arrays[1][0])
    assert lower(batch_norm(factor=2)).changed == ("norm/mean", "norm/variance")


@pytest.mark.parametrize("shape", [(3, 5), (4, 3, 5), SHAPE, (2, 3, 1, 4, 6)])
def test_batch_norm_by_the_batchs_own_statistics(shape):
    net = batch_norm("use_global_stats: false eps: 0.001", shape)
    feeds = feed(net)
    x = feeds["x"].astype(np.float64)
    axes = tuple(i for i in range(len(shape)) if i != 1)
    want = x - x.mean(axis=axes, keepdims=True)
    want = want / np.sqrt(x.var(axis=axes, keepdims=True) + 0.001)
    assert_close(net.forward(feeds)["y"], want)
    assert_close(run_onnx(net, feeds)["y"], want)


def test_batch_norm_takes_the_batchs_statistics_in_train_unless_told():
    body = 'type: "BatchNorm" batch_norm_param { %s }'
    train = make(text(body % ""), phase="TRAIN")
    feeds = feed(train)
    own = make(text(body % "use_global_stats: false")).forward(feeds)["y"]
    np.testing.assert_array_equal(train.forward(feeds)["y"], own)
    stored = make(text(body % "use_global_stats: true"), phase="TRAIN").forward(feeds)["y"]
    np.testing.assert_array_equal(stored, make(text(body % "")).forward(feeds)["y"])


@pytest.mark.parametrize("param", ["", "use_global_stats: false"])
def test_batch_norm_in_place(param):
    feeds = feed(batch_norm(param))
    want = batch_norm(param).forward(feeds)["y"]
    net = batch_norm(param, top="x")
    np.testing.assert_array_equal(net.forward(feeds)["x"], want)
    assert_close(run_onnx(net, feeds)["x"], want)


@pytest.mark.parametrize("param", ["", "use_global_stats: false"])
def test_batch_norm_where_batch_and_space_vary(param):
    net = batch_norm(param, inputs={"x": [None, 7, None, None]})
    feeds = feed(net)
    assert_close(run_onnx(net, feeds)["y"], net.forward(feeds)["y"])


NORMS = [
    (
        'type: "BatchNorm" batch_norm_param { use_global_stats: false }',
        ["ReduceMean", "Sub", "Mul", "ReduceMean", "Add", "Sqrt", "Div"],
    ),
    ('type: "LRN" lrn_param { alpha: 0.5 }', ["LRN"]),
    ('type: "LRN" lrn_param { local_size: 3 alpha: 2 beta: 0.25 k: 2 }', ["LRN"]),
    ('type: "LRN" lrn_param { local_size: 15 alpha: 2 beta: 2 k: 0.5 }', ["LRN"]),
    # What onnxruntime or cuDNN has no LRN for.
    (
        'type: "LRN" lrn_param { local_size: 17 alpha: 0.5 }',
        ["Mul", "Unsqueeze", "AveragePool", "Squeeze", "Mul", "Add", "Pow", "Mul"],
    ),
    (
        'type: "LRN" lrn_param { alpha: -0.01 k: 3 }',
        ["Mul", "Unsqueeze", "AveragePool", "Squeeze", "Mul", "Add", "Pow", "Mul"],
    ),
    (
        'type: "LRN" lrn_param { alpha: 0.25 beta: -1 }',
        ["Mul", "Unsqueeze", "AveragePool", "Squeeze", "Mul", "Add", "Pow", "Mul"],
    ),
    (
        'type: "LRN" lrn_param { local_size: 3 alpha: 2 norm_region: WITHIN_CHANNEL }',
        ["Mul", "AveragePool", "Mul", "Add", "Pow", "Mul"],
    ),
    (
        'type: "LRN" lrn_param { local_size: 11 alpha: 2 beta: 1.5 norm_region: WITHIN_CHANNEL }',
        ["Mul", "AveragePool", "Mul", "Add", "Pow", "Mul"],
    ),
    ('type: "MVN"', ["ReduceMean", "Sub", "Mul", "ReduceMean", "Sqrt", "Add", "Div"]),
    (
        'type: "MVN" mvn_param { across_channels: true eps: 0.001 }',
        ["ReduceMean", "Sub", "Mul", "ReduceMean", "Sqrt", "Add", "Div"],
    ),
    ('type: "MVN" mvn_param { normalize_variance: false }', ["ReduceMean", "Sub"]),
    *[
        (
            f'type: "Normalize" norm_param {{ {body} '
            'scale_filler { type: "uniform" min: 1 max: 3 } '
            "}",
            ["ReduceSumSquare", "Add", "Sqrt", "Div", "Mul"],
        )
        for body in (
            "",
            "across_spatial: false channel_shared: false",
            "channel_shared: false",
            "across_spatial: false eps: 0.5",
        )
    ],
]
BODIES = [body for body, _ in NORMS]


@pytest.mark.parametrize(("body", "wanted"), NORMS)
def test_nodes_and_agreement(body, wanted):
    assert ops(make(text(body))) == wanted
    check_both(text(body))


@pytest.mark.parametrize("body", [body for body in BODIES if "channel_shared: false" not in body])
def test_gradients(body):
    check_gradients(text(body))


@pytest.mark.parametrize(("param", "axes"), [("", (1, 2, 3)), ("across_spatial: false", (1,))])
def test_gradient_of_normalize_as_caffe_has_it(param, axes):
    """What comes down is scaled last, by which it is not the derivative where scales differ."""
    body = (
        f'type: "Normalize" norm_param {{ channel_shared: false {param} scale_filler {{ '
        'type: "uniform" min: 1 max: 3 } }'
    )
    net = make(text(body))
    x, dy = feed(net)["x"], feed(net, seed=8)["x"]
    grads, params = net.backward(net.run({"x": x}), {"y": dy})
    norm = np.sqrt(np.sum(x * x, axis=axes, keepdims=True) + 1e-10)
    scale = net.arrays[1][0].reshape(7, 1, 1)
    want = scale * (dy - x * np.sum(x * dy, axis=axes, keepdims=True) / norm**2) / norm
    assert_close(grads["x"], want)
    assert_close(params[1][0], np.sum(dy * x / norm, axis=(0, 2, 3)))


@pytest.mark.parametrize("body", BODIES)
def test_batch_and_space_may_vary(body):
    check_both(text(body), inputs={"x": [None, 7, None, None]})


def lrn(x, size, alpha, beta, k):
    """Caffe's across-channel LRN, an element at a time."""
    y = np.empty_like(x)
    for n, c, h, w in np.ndindex(*x.shape):
        near = x[n, max(0, c - size // 2) : c + size // 2 + 1, h, w]
        y[n, c, h, w] = x[n, c, h, w] / (k + alpha / size * np.sum(near**2)) ** beta
    return y


def lrn_within(x, size, alpha, beta):
    y = np.empty_like(x)
    half = size // 2
    for n, c, h, w in np.ndindex(*x.shape):
        rows, columns = (slice(max(0, i - half), i + half + 1) for i in (h, w))
        total = np.sum(x[n, c, rows, columns] ** 2)
        y[n, c, h, w] = x[n, c, h, w] / (1 + alpha / size**2 * total) ** beta
    return y


@pytest.mark.parametrize("size", [1, 3, 5, 7, 13])
def test_lrn_against_its_definition(size):
    param = f"local_size: {size} alpha: 0.75 beta: 0.5 k: 2"
    net = make(text(f'type: "LRN" lrn_param {{ {param} }}'))
    feeds = feed(net)
    x = feeds["x"].astype(np.float64)
    assert_close(net.forward(feeds)["y"], lrn(x, size, 0.75, 0.5, 2))
    # Within a channel Caffe reads no k.
    net = make(text(f'type: "LRN" lrn_param {{ {param} norm_region: WITHIN_CHANNEL }}'))
    assert_close(net.forward(feeds)["y"], lrn_within(x, size, 0.75, 0.5))


def test_mvn_adds_eps_to_the_deviation():
    feeds = {"x": np.array([1, 3], np.float32).reshape(1, 1, 2, 1)}
    made = check_both(text('type: "MVN" mvn_param { eps: 1 }', (1, 1, 2, 1)), feeds=feeds)
    np.testing.assert_array_equal(made["y"].ravel(), [-0.5, 0.5])


@pytest.mark.parametrize("shape", [(7,), (3, 5), (4, 3, 5)])
def test_mvn_makes_four_axes(shape):
    made = check_both(text('type: "MVN" mvn_param { across_channels: true eps: 0.1 }', shape))
    assert made["y"].shape == shape + (1,) * (4 - len(shape))
    check_gradients(text('type: "MVN" mvn_param { normalize_variance: false }', shape))


@pytest.mark.parametrize(
    ("body", "shape", "message"),
    [
        ('type: "BatchNorm"', (7,), r"'norm' \(BatchNorm\): needs a bottom of 2 axes or more"),
        ('type: "BatchNorm" param { lr_mult: 0.5 }', SHAPE, "lr_mult must be 0 .* and is 0.5"),
        ('type: "BatchNorm" param { decay_mult: 0 }', SHAPE, "lr_mult must be 0 .* and is 1"),
        ('type: "LRN" lrn_param { local_size: 4 }', SHAPE, "local_size must be odd, and is 4"),
        ('type: "LRN"', (7, 5, 4), r"needs a bottom of 4 axes, and has \(7, 5, 4\)"),
        ('type: "MVN"', (2, 3, 1, 4, 6), "at most 4 axes"),
        ('type: "MVN" mvn_param { eps: nan }', SHAPE, r"'norm' \(MVN\): mvn_param.eps is nan"),
    ],
)
def test_what_caffe_refuses(body, shape, message):
    with pytest.raises(ShapeError, match=message):
        make(text(body, shape))


def test_three_params_of_any_rate_are_upgraded():
    net = make(text('type: "BatchNorm" param { lr_mult: 1 } param { lr_mult: 2 } param { }'))
    assert [blob.shape for blob in net.graph.nodes[1].blobs] == [(7,), (7,), (1,)]


def test_lrn_refuses_to_run_in_place():
    with pytest.raises(ShapeError, match="in place"):
        make(text('type: "LRN"', top="x"))


@st.composite
def layers(draw):
    """Every type, with parameters that its rules allow."""
    size, flag = draw(st.sampled_from([1, 3, 5, 9])), draw(st.sampled_from(["true", "false"]))
    alpha, beta = draw(st.sampled_from([0.001, 0.5, 2])), draw(st.sampled_from([-0.5, 0.75, 1]))
    region = draw(st.sampled_from(["ACROSS_CHANNELS", "WITHIN_CHANNEL"]))
    other = draw(st.sampled_from(["true", "false"]))
    return [
        f'type: "LRN" lrn_param {{ local_size: {size} alpha: {alpha} beta: {beta} k: 1.5 '
        f"norm_region: {region} }}",
        f'type: "MVN" mvn_param {{ across_channels: {flag} eps: {alpha} }}',
        f'type: "MVN" mvn_param {{ across_channels: {flag} normalize_variance: false }}',
        f'type: "BatchNorm" batch_norm_param {{ use_global_stats: {flag} eps: {alpha} }}',
        f'type: "Normalize" norm_param {{ across_spatial: {flag} channel_shared: {other} '
        f"eps: {alpha} scale_filler {{ value: {size} }} }}",
    ]


@settings(max_examples=15)
@given(bodies=layers(), shape=st.tuples(*[st.integers(2, 6)] * 4))
def test_any_shape_and_parameters(bodies, shape):
    for body in bodies:
        check_both(text(body, shape))


def test_normalize_by_hand():
    feeds = {"x": np.float32([3, 0, 4, 5, 12, 0, 0, 0]).reshape(1, 2, 2, 2)}
    body = 'type: "Normalize" norm_param { across_spatial: %s scale_filler { value: 13 } %s }'
    made = check_both(text(body % ("true", ""), (1, 2, 2, 2)), feeds=feeds)["y"]
    assert_close(made.ravel(), np.float32([3, 0, 4, 5, 12, 0, 0, 0]) * 13 / np.sqrt(194), 1e-6)
    made = check_both(text(body % ("false", ""), (1, 2, 2, 2)), feeds=feeds)["y"]
    want = 13 * np.float32([3 / np.sqrt(153), 0, 1, 1, 12 / np.sqrt(153), 0, 0, 0])
    assert_close(made.ravel(), want, 1e-6)
    made = check_both(text(body % ("false", "eps: 16"), (1, 2, 2, 2)), feeds=feeds)["y"]
    assert_close(made.ravel()[[0, 2, 3]], np.float32([3, 4 * 13 / 32**0.5, 5 * 13 / 41**0.5]))


@pytest.mark.parametrize(("param", "shape"), [("", ()), ("channel_shared: false", (7,))])
def test_normalize_has_a_scale(param, shape):
    net = make(text(f'type: "Normalize" norm_param {{ {param} }}'))
    assert net.arrays[1][0].shape == shape
    assert np.all(net.arrays[1][0] == 1)
    assert lower(net).changed == ()


def test_normalize_in_place():
    body = 'type: "Normalize" norm_param { across_spatial: false }'
    feeds = feed(make(text(body)))
    want = make(text(body)).forward(feeds)["y"]
    net = make(text(body, top="x"))
    np.testing.assert_array_equal(net.forward(feeds)["x"], want)
    assert_close(run_onnx(net, feeds)["x"], want)


@pytest.mark.parametrize("shape", [(7,), (2, 3, 4, 5, 6)])
def test_normalize_refuses_other_ranks(shape):
    with pytest.raises(ShapeError, match="needs a bottom of 2 to 4 axes"):
        make(text('type: "Normalize"', shape))
