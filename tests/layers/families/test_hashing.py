"""HashNet's layers by plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError

from ...cases import assert_close, check_both, check_gradients, feed, make, one_layer

TANH = 'type: "ScaleTanH" scale_tanh_param { init_scale: 0.5 step_size: 3 gamma: 2 power: 0.5 }'
SHAPES = [(5, 3), (5, 2), (5, 3), (5, 2)]


def test_scaled_tanh():
    text = one_layer(TANH, (4, 3))
    x = feed(make(text))["a"]
    assert_close(check_both(text)["y"], np.tanh(0.5 * x))
    check_gradients(text)
    with pytest.raises(ShapeError, match="step_size must be positive"):
        make(text.replace("step_size: 3", "step_size: 0"))


def test_the_scale_grows():
    """It changes in passes 2, 5, 8: the net's setup counts as one, as in the fork."""
    net = make(one_layer(TANH, (4, 3)), phase="TRAIN")
    feeds, states, scales = feed(net), net.state(), []
    for _ in range(6):
        values = net.run(feeds, states)
        scales.append(float((np.arctanh(values["y"]) / feeds["a"]).mean()))
        states = net.update(values, states)
    grown = [0.5 * np.sqrt(1 + 2 * m) for m in (3, 6)]
    np.testing.assert_allclose(scales, [0.5, *[grown[0]] * 3, *[grown[1]] * 2], 1e-4)


def by_loops(x, fields, dy=None):
    """Return the loss, and the two gradients of the fork."""
    a, y, b, z = (each.astype(np.float64) for each in x)
    flow, total, count = np.zeros((5, 5)), 0.0, 0.0
    for i, j in np.ndindex(5, 5):
        similarity = y[i] @ z[j]
        if not 0 <= similarity < y.shape[1]:
            continue
        similar, weight = similarity > 0, 1.0
        p = fields["sigmoid_param"] * (a[i] @ b[j])
        if similar:
            weight = fields["class_num"]
        if fields["l_threshold"] >= 0 and p >= fields["l_threshold"]:
            loss = 0 if similar else p
        else:
            loss = np.log(1 + np.exp(p)) - similar * p
        total, count = total + weight * loss, count + weight
        flow[i, j] = 2 * weight * (1 / (1 + np.exp(-p)) - similar)
        if "continous_similarity" in fields:
            own = (y[i] @ y[i] or 1) * (z[j] @ z[j] or 1)
            flow[i, j] *= 4 * (similarity**2 / own or 0.25)
    flows = [flow @ b * fields["l_lambda"] / count, flow.T @ a * fields["l_lambda"] / count]
    for each in flows:
        each.reshape(-1)[:5] *= fields["sigmoid_param"]
    return total / count, flows


@pytest.mark.parametrize(
    "more",
    [
        {"l_threshold": -1},
        {"l_threshold": 0.3, "class_num": 3},
        {"l_threshold": 15, "continous_similarity": "true", "l_lambda": 2},
    ],
)
def test_pairs(more):
    fields = {"class_num": 1, "l_lambda": 1, "sigmoid_param": 0.5, **more}
    words = " ".join(f"{name}: {value}" for name, value in fields.items())
    text = one_layer(f'type: "PairwiseLoss" pairwise_param {{ {words} }}', *SHAPES)
    feeds = feed(make(text))
    feeds["b"] = np.float32([[1, 0], [0, 1], [1, 1], [0, 0], [0.5, -2]])
    feeds["d"] = np.float32([[1, 0], [0, 1], [1, 1], [0, 1], [1, 0]])
    loss, flows = by_loops(feeds.values(), fields)
    np.testing.assert_allclose(check_both(text, feeds=feeds)["y"], loss, 1e-5)
    got = make(text).graph.nodes[-1].layer.backward(np.float32(9), *feeds.values())
    for flow, want in zip(got[::2], flows, strict=True):
        assert_close(flow, want, axis=None)
    assert got[1] is None and got[3] is None


def test_refused():
    with pytest.raises(ShapeError, match="codes and labels alike"):
        make(one_layer('type: "PairwiseLoss"', *SHAPES[:3], (5, 3)))
