"""Inner products with a margin for the label's class, beside angles computed in float64."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.caffe_pb2 import MarginInnerProductParameter
from caffe_compat.errors import ShapeError

from ...cases import assert_close, check_both, check_gradients, feed, make, one_layer

TYPES = {"SINGLE": 1, "DOUBLE": 2, "TRIPLE": 3, "QUADRUPLE": 4}
PARAMS = {
    "LargeMarginInnerProduct": "largemargin_inner_product_param",
    "MarginInnerProduct": "margin_inner_product_param",
}
LARGE, SPHERE = PARAMS


def net_of(kind, fields, x=(7, 3, 2), filler='type: "gaussian"'):
    param = f"{{ num_output: 5 weight_filler {{ {filler} }} {fields} }}"
    return one_layer(f'type: "{kind}" {PARAMS[kind]} {param}', x, (7,), top=["y", "z"])


def expected(kind, m, x, index, weight, mix):
    """Return the scores, with the angles themselves."""
    x, weight = x.reshape(len(x), -1).astype(np.float64), weight.astype(np.float64)
    if kind == SPHERE:
        weight = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    scores = x @ weight.T
    for i, label in enumerate(index):
        length = np.linalg.norm(x[i]) * np.linalg.norm(weight[label])
        angle = np.arccos(scores[i, label] / length)
        k = np.floor(m * angle / np.pi)
        bent = (-1) ** k * np.cos(m * angle) - 2 * k
        scores[i, label] = (length * bent + mix * scores[i, label]) / (1 + mix)
    return scores


@pytest.mark.parametrize("kind", PARAMS)
@pytest.mark.parametrize("name", TYPES)
def test_scores(kind, name):
    text = net_of(kind, f"type: {name} base: 3 gamma: 0.5 power: 2 iteration: 2 lambda_min: 0.1")
    net = make(text)
    feeds = feed(net, integers={"b": 5})
    mix = max(3 * (1 + 0.5 * 3) ** -2, 0.1)
    outputs = check_both(text, feeds=feeds)
    index, weight = feeds["b"].astype(int), net.arrays[-1][0]
    assert_close(outputs["y"], expected(kind, TYPES[name], feeds["a"], index, weight, mix))
    np.testing.assert_allclose(outputs["z"], [mix], 1e-6)


@pytest.mark.parametrize("name", TYPES)
def test_large_margin_gradient(name):
    check_gradients(
        net_of(LARGE, f"type: {name} base: 0.5"), integers={"b": 5}, step=3e-4, tolerance=2e-2
    )


@pytest.mark.parametrize("name", TYPES)
def test_sphere_gradient(name):
    """The rows' gradient is the plain product's; x's has the fork's scale at the label."""
    net = make(net_of(SPHERE, f"type: {name} base: 0.5"))
    feeds = feed(net, integers={"b": 5})
    node = net.graph.nodes[-1].layer
    m, index = TYPES[name], feeds["b"].astype(int)
    weight = node.rows(net.arrays[-1][0])
    dy = np.random.default_rng(2).standard_normal((7, 5)).astype(np.float32)
    dx, _, dw = node.backward((dy, np.zeros(1)), feeds["a"], feeds["b"], weight=weight)
    x = feeds["a"].reshape(7, 6).astype(np.float64)
    assert_close(dw, dy.T @ x, axis=None)
    want = dy.astype(np.float64) @ weight
    for i, label in enumerate(index):
        w, size = weight[label].astype(np.float64), np.linalg.norm(x[i])
        angle = np.arccos(x[i] @ w / size)
        k = np.floor(m * angle / np.pi)
        bent = (-1) ** k * np.cos(m * angle) - 2 * k
        slope = (-1) ** k * m * np.sin(m * angle) / np.sin(angle)
        of_w, of_x = slope, (bent - np.cos(angle) * slope) / size
        own = w if name == "SINGLE" else (of_w * w + of_x * x[i]) / np.hypot(of_w, of_x)
        want[i] += dy[i, label] / 1.5 * (own - w)
    assert_close(dx.reshape(7, 6), want, 1e-4, axis=None)


def test_joints():
    """At right angles f is continuous, and there the sign is 0, as in the fork."""
    text = net_of(LARGE, "type: QUADRUPLE base: 0", (7, 2), 'type: "constant" value: 1')
    x = np.tile(np.float32([1, -1]), (7, 1))
    outputs = check_both(text, feeds={"a": x, "b": np.zeros(7, np.float32)})
    np.testing.assert_allclose(outputs["y"][:, 0], 2 * -3, 1e-6)


@pytest.mark.parametrize("kind", PARAMS)
def test_passes(kind):
    """Each pass goes on from the last; SphereFace's leaves rows of length 1 in the blob."""
    net = make(net_of(kind, "type: DOUBLE base: 10 gamma: 1"), phase="TRAIN")
    feeds, states, mixes = feed(net, integers={"b": 5}), net.state(), []
    rows = net.arrays[-1][0].copy()
    for _ in range(3):
        values = net.run(feeds, states)
        mixes.append(float(values["z"][0]))
        states = net.update(values, states)
    np.testing.assert_allclose(mixes, [10 / 2, 10 / 3, 10 / 4], 1e-6)
    scaled = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(net.arrays[-1][0], scaled if kind == SPHERE else rows, 1e-6)


COSINE = (
    'type: "CosinL2Normalize" cosin_loss_param { num_output: 5 '
    'cosin_filler { type: "gaussian" } %s }'
)


@pytest.mark.parametrize("fields", ["", "scale: 3 margin: -0.2"])
def test_cosines(fields):
    text = one_layer(COSINE % fields, (7, 3, 2), (7, 1))
    net = make(text)
    feeds = feed(net, integers={"b": 5})
    scale, margin = (3, -0.2) if fields else (64, -0.35)
    x, weight = feeds["a"].reshape(7, 6), net.arrays[-1][0]
    want = np.empty((7, 5))
    for i, j in np.ndindex(7, 5):
        cosine = x[i] @ weight[j] / (np.linalg.norm(x[i]) * np.linalg.norm(weight[j]))
        want[i, j] = scale * (cosine + margin * (j == feeds["b"][i, 0]))
    assert_close(check_both(text, feeds=feeds)["y"], want)
    check_gradients(text, integers={"b": 5})


@pytest.mark.parametrize(
    ("body", "shapes", "words"),
    [
        (COSINE % "axis: 2", [(7, 3, 2), (7,)], "needs axis 1"),
        (COSINE % "", [(7, 3), (7, 2)], "one label an item"),
        (COSINE % "", [(7, 3), (6,)], "same first dimension"),
        (COSINE.replace("5", "0") % "", [(7, 3), (7,)], "num_output must be positive"),
    ],
)
def test_refused(body, shapes, words):
    with pytest.raises(ShapeError, match=words):
        make(one_layer(body, *shapes))


def test_a_label_outside_the_classes():
    net = make(net_of(LARGE, "type: DOUBLE"))
    with pytest.raises(ShapeError, match="label 5 is outside the 5 classes"):
        net.forward({**feed(net), "b": np.full(7, 5, np.float32)})


def test_types_are_all():
    assert set(MarginInnerProductParameter.MarginType.keys()) == set(TYPES)
