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


CONTRASTIVE = (
    'type: "GeneralContrastiveLoss" loss_weight: 1 %s general_contrastive_loss_param { %s }'
)
FIELDS = (
    "positive_margin: 0.1 negative_margin: 0.9 positive_weight: 2 negative_weight: 0.5 "
    "positive_outlier_thresh: 1.5"
)


@pytest.mark.parametrize("tops", [["y"], ["y", "z"]])
def test_distances_to_classes(tops):
    text = one_layer(
        CONTRASTIVE % ("loss_weight: 3" * (len(tops) - 1), FIELDS), (7, 4), (7,), top=tops
    )
    net = make(text)
    x, y = 1 + feed(net)["a"], feed(net, integers={"b": 4})["b"]
    near, far, flow = 0.0, 0.0, np.zeros((7, 4))
    for i, j in np.ndindex(7, 4):
        if j == y[i]:
            near += min(max(x[i, j] - 0.1, 0), 1.5)
            flow[i, j] = 2 * (0.1 < x[i, j] < 1.5)
        else:
            far += max(0.9 - x[i, j], 0)
            flow[i, j] = -0.5 * (x[i, j] < 0.9)
    outputs = check_both(text, feeds={"a": x, "b": y})
    np.testing.assert_allclose(outputs["y"], (2 * near + 0.5 * far) / 7, 1e-5)
    if len(tops) > 1:
        np.testing.assert_allclose(outputs["z"], [near / 7, far / 7 / 3], 1e-5)
    grads, _ = net.backward(net.run({"a": x, "b": y}), {})
    np.testing.assert_allclose(grads["a"], flow / 7, 1e-5)


def test_distances_that_are_refused():
    for field in ("max_negative_only: true", "add_intra_mae: true", "normalize_negative: 1"):
        with pytest.raises(UnsupportedError, match=f"{field.split(':')[0]}.* not supported"):
            make(one_layer(CONTRASTIVE % ("", field), (7, 4), (7,)))
    with pytest.raises(ShapeError, match="two classes or more"):
        make(one_layer(CONTRASTIVE % ("", ""), (7, 1), (7,)))
