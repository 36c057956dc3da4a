"""A net with its weights: forward, backward, and what it lists by name."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import CaffeCompatError, ShapeError, UnsupportedError

from ..cases import check_gradients, feed, make
from ..slope_nets import INPUT, conv, layer


def dense(name, bottom, more=""):
    return layer(
        "InnerProduct",
        bottom,
        name,
        f"{more} inner_product_param {{ num_output: 4 bias_term: false weight_filler {{ "
        f'type: "xavier" }} }}',
        name,
    )


def test_forward_gives_every_blobs_last_version_and_run_all():
    net = make(INPUT + conv("c", "data") + layer("ReLU", "c", "c", name="r"))
    feeds = feed(net)
    blobs, values = net.forward(feeds), net.run(feeds)
    assert blobs.keys() == {"data", "c"}
    assert values.keys() == {"data", "c/c", "c"}
    np.testing.assert_array_equal(blobs["c"], np.maximum(values["c/c"], 0))
    assert values["c/c"].min() < 0


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, r"input 'data' \(2, 3, 12, 13\) is not fed"),
        ({"data": (2, 3, 12, 13), "dtaa": (1,)}, "the net has no input 'dtaa'; its inputs: data"),
        (
            {"data": (2, 3, 13, 12)},
            r"input 'data' is \(2, 3, 12, 13\), and was fed \(2, 3, 13, 12\)",
        ),
    ],
)
def test_wrong_feeds(feeds, message):
    net = make(INPUT + layer("ReLU", "data", "r"))
    with pytest.raises(ShapeError, match=message):
        net.forward({name: np.zeros(shape, np.float32) for name, shape in feeds.items()})


SHARED = (
    'input: "x" input_shape { dim: 3 dim: 4 }'
    + dense("a", "x", 'param { name: "w" }')
    + dense("b", "a", 'param { name: "w" }')
)


def test_the_gradient_of_a_shared_blob_is_the_sum():
    net = make(SHARED)
    feeds = feed(net)
    values = net.run(feeds)
    dy = np.random.default_rng(5).standard_normal((3, 4)).astype(np.float32)
    _, grads = net.backward(values, {"b": dy})
    w = net.arrays[1][0]
    want = dy.T @ values["a"] + (dy @ w).T @ values["x"]
    for place in (1, 2):
        np.testing.assert_allclose(grads[place][0], want, rtol=1e-5)
    check_gradients(SHARED)


def test_backward_starts_from_the_loss_weights():
    text = (
        'input: "x" input_shape { dim: 3 dim: 4 }'
        + dense("a", "x")
        + layer("ReLU", "a", "r", "loss_weight: 0.5")
        + layer("TanH", "a", "t")
    )
    net = make(text)
    values = net.run(feed(net))
    grads, params = net.backward(values, {})
    np.testing.assert_array_equal(grads["a"], np.where(values["a"] > 0, np.float32(0.5), 0))
    assert "t" not in grads
    assert params[1][0] is not None


def test_what_has_no_gradient_says_so():
    net = make('input: "x" input_shape { dim: 3 dim: 4 }' + layer("ArgMax", "x", "m"))
    values = net.run(feed(net))
    with pytest.raises(UnsupportedError, match=r"layer 'argmax' \(ArgMax\): has no backward pass"):
        net.backward(values, {"m": values["m"]})


def test_an_error_while_computing_names_the_layer():
    net = make(
        'input: "x" input_shape { dim: 3 dim: 1 }'
        + layer(
            "Embed", "x", "e", "embed_param { input_dim: 5 num_output: 2 bias_term: false }", "look"
        )
    )
    with pytest.raises(CaffeCompatError, match=r"^layer 'look' \(Embed\): "):
        net.forward({"x": np.full((3, 1), 5, np.float32)})


def test_parameters_and_blobs_by_name():
    net = make(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [2, 3] } } }'
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"'
        ' inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }'
    )
    assert list(net.params) == ["fc"]
    assert net.params["fc"]["weight"] is net.arrays[1][0]
    assert net.params["fc"]["bias"].shape == (4,)
    assert net.blobs["data"].shape == (2, 3)
    assert net.blobs["fc"].shape == (2, 4)


def test_a_loss_weight_adds_to_the_gradients_of_the_blobs_readers():
    """Caffe's Split adds them up; a gradient that the caller names stands alone."""
    net = make(
        INPUT
        + layer("Reduction", "data", "s", "loss_weight: 3", "sum")
        + layer("Power", "s", "p", "power_param { scale: 5 }", "five")
    )
    values = net.run(feed(net))
    grads, _ = net.backward(values, {"p": np.ones_like(values["p"])})
    np.testing.assert_array_equal(grads["data"], np.full(values["data"].shape, 8, np.float32))
    grads, _ = net.backward(values, {"s": np.float32(2)})
    np.testing.assert_array_equal(grads["data"], np.full(values["data"].shape, 2, np.float32))
