"""BatchNorm, and BatchNormScale, which has its Scale inside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.onnx.lowering import lower

from ...cases import assert_close, check_gradients, feed, make, operators, run_onnx

SHAPE = (2, 7, 5, 4)


def text(body, shape=SHAPE, top="y"):
    dims = " ".join(f"dim: {n}" for n in shape)
    return f"""
        layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ {dims} }} }} }}
        layer {{ name: "norm" bottom: "x" top: "{top}" {body} }}"""


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
    assert operators(net) == ["BatchNormalization"]  # which every runtime folds into a Conv


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


@pytest.mark.parametrize("param", ["", "use_global_stats: false"])
def test_batch_norm_gradients(param):
    check_gradients(text(f'type: "BatchNorm" batch_norm_param {{ {param} }}'))


def test_three_params_of_any_rate_are_upgraded():
    net = make(text('type: "BatchNorm" param { lr_mult: 1 } param { lr_mult: 2 } param { }'))
    assert [blob.shape for blob in net.graph.nodes[1].blobs] == [(7,), (7,), (1,)]


@pytest.mark.parametrize(
    ("body", "shape", "message"),
    [
        ('type: "BatchNorm"', (7,), r"'norm' \(BatchNorm\): needs a bottom of 2 axes or more"),
        ('type: "BatchNorm" param { lr_mult: 0.5 }', SHAPE, "lr_mult must be 0 .* and is 0.5"),
        ('type: "BatchNorm" param { decay_mult: 0 }', SHAPE, "lr_mult must be 0 .* and is 1"),
    ],
)
def test_batch_norm_refused(body, shape, message):
    with pytest.raises(ShapeError, match=message):
        make(text(body, shape))


SCALED = """type: "BatchNormScale" batch_norm_param { %s } scale_param { bias_term: true
    filler { type: "uniform" min: 0.5 max: 2 } bias_filler { type: "uniform" min: -1 max: 1 } }"""


def test_batch_norm_scale_by_hand():
    """BatchNorm's first two blobs are divided by its third, 2."""
    blobs = [2, 4], [7.5, 0], [2], [2, 1], [1, 0]
    net = make(text(SCALED % "eps: 0.25", (1, 2, 1, 2), "x"))
    net = replace(net, arrays=((), tuple(np.float32(blob) for blob in blobs)))
    x = np.float32([[[[1, 3]], [[-2, 6]]]])
    want = [[[[1, 3]], [[-8, 8]]]]
    assert_close(net.forward({"x": x})["x"], want, 1e-6)
    assert_close(run_onnx(net, {"x": x})["x"], want, 1e-6)


@pytest.mark.parametrize("param", ["", "use_global_stats: false"])
def test_batch_norm_scale(param):
    net = make(text(SCALED % param, top="x"))
    feeds = feed(net)
    assert_close(run_onnx(net, feeds)["x"], net.forward(feeds)["x"], 1e-5)
    check_gradients(text(SCALED % param, (4, 3, 5), "x"))


@pytest.mark.parametrize(
    ("body", "top", "error", "words"),
    [
        ("", "x", ShapeError, "bias_term: true"),
        ("scale_param { bias_term: true }", "y", UnsupportedError, "only in place"),
        ("scale_param { bias_term: true axis: 2 }", "x", UnsupportedError, "axis 2"),
    ],
)
def test_batch_norm_scale_refused(body, top, error, words):
    with pytest.raises(error, match=words):
        make(text(f'type: "BatchNormScale" {body}', top=top))


@settings(max_examples=15)
@given(
    shape=st.lists(st.integers(2, 6), min_size=2, max_size=4),
    eps=st.sampled_from([0.01, 0.5]),
    stats=st.sampled_from(["true", "false"]),
)
def test_any_shape_and_parameters(shape, eps, stats):
    param = f"use_global_stats: {stats} eps: {eps}"
    for body, top in (
        (f'type: "BatchNorm" batch_norm_param {{ {param} }}', "y"),
        (SCALED % param, "x"),
    ):
        net = make(text(body, shape, top))
        feeds = feed(net)
        assert_close(run_onnx(net, feeds)[top], net.forward(feeds)[top])
