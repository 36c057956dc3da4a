"""Triplets and their loss by plain loops; ContrastiveLoss is in test_loss."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.fillers.rng import BoostRng
from caffe_compat.onnx.lowering import lower

from ...cases import check_both, check_gradients, feed, make, one_layer

SAMPLE = 'type: "SampleTriplet" sample_triplet_param { alpha: %g }'
LOSS = 'type: "TripletLoss" triplet_loss_param { margin: 0.5 }'


def by_loops(x, sizes, alpha, numbers):
    """Return the triplets of a batch, image by image."""
    x, numbers, triplets = x.reshape(len(x), -1), iter(numbers), []
    owner = np.repeat(np.arange(len(sizes)), sizes)
    owner = np.append(owner, [-1] * (len(x) - len(owner)))
    for a in range(len(x)):
        for p in range(a + 1, len(x)):
            if owner[a] < 0 or owner[p] != owner[a]:
                continue
            pair = ((x[a] - x[p]) ** 2).sum()
            near = [
                n
                for n in range(len(x))
                if owner[n] != owner[a] and ((x[a] - x[n]) ** 2).sum() - pair < alpha
            ]
            if near:
                triplets.append((a, p, near[next(numbers) % len(near)]))
    return triplets


@pytest.mark.parametrize(("alpha", "least"), [(0.2, 3), (-1, 1), (-99, 0)])
def test_sampling(alpha, least):
    net = make(one_layer(SAMPLE % alpha, (9, 2, 3), (3, 1)), phase="TRAIN")
    x, sizes = feed(net)["a"], np.float32([[4], [3], [1]])
    (numbers,) = net.draw(BoostRng(3)).values()
    want = by_loops(x, [4, 3, 1], alpha, BoostRng(3).u32(36))
    got = net.graph.nodes[-1].layer.forward(x, sizes, **numbers)
    assert got.shape == (len(want), 3, 1, 1)
    assert got.reshape(-1, 3).tolist() == [list(map(float, each)) for each in want]
    assert least <= len(want) <= 9


def test_sampling_outside_training():
    net = make(one_layer(SAMPLE % 0.2, (9, 2), (3,)))
    with pytest.raises(UnsupportedError, match="at random"):
        net.forward(feed(net))
    with pytest.raises(UnsupportedError, match="no ONNX form"):
        lower(net)
    (numbers,) = net.draw(BoostRng(3)).values()
    with pytest.raises(ShapeError, match=r"\[5, 4, 1\] images do not fit a batch of 9"):
        net.graph.nodes[-1].layer.forward(feed(net)["a"], np.float32([5, 4, 1]), **numbers)


def test_loss_of_indices():
    """The gradient of each image is that of the last triplet that it is in."""
    text = one_layer(LOSS, (6, 4, 1), (3, 3, 1, 1))
    x = feed(make(text))["a"]
    triplets = [(0, 1, 4), (1, 2, 5), (2, 1, 3)]
    y = np.float32(triplets).reshape(3, 3, 1, 1)
    rows, loss, dx = x.reshape(6, 4), 0.0, np.zeros((6, 4))
    for a, p, n in triplets:
        loss += max(((rows[a] - rows[p]) ** 2 - (rows[a] - rows[n]) ** 2).sum() + 0.5, 0) / 3
        dx[a] = 2 * (rows[n] - rows[p])
        dx[p] = 2 * (rows[p] - rows[a])
        dx[n] = 2 * (rows[a] - rows[p])
    got = check_both(text, feeds={"a": x, "b": y})["y"]
    np.testing.assert_allclose(got, [loss], 1e-5)
    layer = make(text).graph.nodes[-1].layer
    flow, none = layer.backward(np.float32([6]), x, y)
    np.testing.assert_allclose(flow.reshape(6, 4), 2 * dx, 1e-5)
    assert none is None


def test_loss_without_triplets():
    layer = make(one_layer(LOSS, (6, 4), (3, 3))).graph.nodes[-1].layer
    x, none = np.ones((6, 4), np.float32), np.zeros((0, 3), np.float32)
    assert layer.forward(x, none).tolist() == [0]
    assert not layer.backward(np.float32([1]), x, none)[0].any()


def test_loss_of_three_bottoms():
    text = one_layer(LOSS, *[(7, 3, 1, 1)] * 3)
    feeds = feed(make(text))
    a, p, n = (each.reshape(7, 3) for each in feeds.values())
    each = [((a[i] - p[i]) ** 2 - (a[i] - n[i]) ** 2).sum() + 0.5 for i in range(7)]
    assert min(each) < 0 < max(each)
    want = sum(max(loss, 0) for loss in each) / 14
    np.testing.assert_allclose(check_both(text)["y"], want, 1e-5)
    check_gradients(text)


@pytest.mark.parametrize(
    ("body", "shapes", "error", "words"),
    [
        (LOSS, [(6, 4), (3, 4)], ShapeError, r"\(M, 3, 1, 1\)"),
        (LOSS, [(6, 4), (6, 4), (6, 3)], ShapeError, "three bottoms"),
        (LOSS, [(6, 4)] * 4, UnsupportedError, "MyCaffe"),
        ('type: "TripletLoss"', [(6, 4)] * 3, UnsupportedError, "default margin"),
    ],
)
def test_refused(body, shapes, error, words):
    with pytest.raises(error, match=words):
        make(one_layer(body, *shapes))


def test_an_index_outside_the_batch():
    layer = make(one_layer(LOSS, (6, 4), (1, 3))).graph.nodes[-1].layer
    with pytest.raises(ShapeError, match="index 6 is outside the batch of 6"):
        layer.forward(np.zeros((6, 4), np.float32), np.float32([[0, 1, 6]]))
