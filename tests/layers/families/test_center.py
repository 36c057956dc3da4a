"""CenterLoss and InnerDistance, by loops."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError

from ...cases import assert_close, check_both, check_gradients, feed, make, one_layer

CENTER = (
    'type: "CenterLoss" center_loss_param { num_output: 4 center_filler { type: "gaussian" } %s }'
)
DISTANCE = (
    'type: "InnerDistance" inner_distance_param { num_output: 4 '
    'weight_filler { type: "gaussian" } %s }'
)


def test_center_loss():
    text = one_layer(CENTER % "", (6, 3, 2), (6,))
    net = make(text)
    feeds = feed(net, integers={"b": 3})  # class 3 has no item
    center = net.arrays[-1][0]
    x, y = feeds["a"].reshape(6, 6), feeds["b"].astype(int)
    want = sum(np.square(x[i] - center[y[i]]).sum() for i in range(6)) / 12
    assert_close(check_both(text, feeds=feeds)["y"], want, axis=None)
    check_gradients(text, integers={"b": 3}, fixed=("center",))
    layer = net.graph.nodes[-1].layer
    _, _, dcenter = layer.backward(np.float32(7), feeds["a"], feeds["b"], center=center)
    for k in range(4):
        rows = x[y == k]
        np.testing.assert_allclose(
            dcenter[k], (center[k] - rows).sum(0) / (len(rows) + 1), atol=1e-5
        )


@pytest.mark.parametrize("param", ["", 'distance_type: "L1"', "axis: 2"])
def test_inner_distance(param):
    text = one_layer(DISTANCE % param, (5, 3, 2))
    net = make(text)
    x, weight = feed(net)["a"], net.arrays[-1][0]
    rows = x.reshape(-1, weight.shape[1])
    want = np.empty((len(rows), 4), np.float32)
    for i, j in np.ndindex(len(rows), 4):
        d = rows[i] - weight[j]
        want[i, j] = np.abs(d).sum() if "L1" in param else np.dot(d, d)
    shape = (5, 3, 4) if "axis" in param else (5, 4)
    assert_close(check_both(text)["y"], want.reshape(shape))
    check_gradients(text)


@pytest.mark.parametrize(
    ("body", "shapes", "error", "words"),
    [
        (CENTER % 'distance_type: "L1"', [(6, 3), (6,)], UnsupportedError, "L1"),
        (CENTER % "", [(6, 3), (6, 2)], ShapeError, "one label"),
        (DISTANCE % "normalize: true", [(6, 3)], UnsupportedError, "normalize"),
        (DISTANCE % 'distance_type: "cosine"', [(6, 3)], UnsupportedError, "cosine"),
    ],
)
def test_refused(body, shapes, error, words):
    with pytest.raises(error, match=words):
        make(one_layer(body, *shapes))
