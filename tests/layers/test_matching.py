"""Ground truth matched with default boxes, by loops over pairs."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.caffe_pb2 import MultiBoxLossParameter, PriorBoxParameter
from caffe_compat.errors import ShapeError
from caffe_compat.layers import boxes as bx
from caffe_compat.layers.matching import encode, match, mine, read_truth


def some_boxes(count, seed):
    rng = np.random.default_rng(seed)
    middle, half = rng.uniform(0, 1, (count, 2)), rng.uniform(0.05, 0.3, (count, 2))
    return np.hstack([middle - half, middle + half]).astype(np.float32)


def overlap(a, b):
    width, height = (max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0) for i in (0, 1))
    sizes = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (sizes - width * height)


@pytest.mark.parametrize("code", [1, 2, 3])
@pytest.mark.parametrize("scaled", [True, False])
def test_what_is_encoded_is_decoded(code, scaled):
    boxes, priors = some_boxes(9, 1), some_boxes(9, 2)
    variances = np.tile(np.float32([0.1, 0.1, 0.2, 0.2]), (9, 1)) if scaled else None
    decoded = bx.decode(encode(boxes, priors, variances, code), priors, variances, code)
    np.testing.assert_allclose(decoded, boxes, atol=1e-6)


def test_a_line_has_no_logarithm():
    with pytest.raises(ShapeError, match="no width or height"):
        encode(np.float32([[0, 0, 0, 1]]), some_boxes(1, 2), None, PriorBoxParameter.CENTER_SIZE)


@pytest.mark.parametrize("kind", ["BIPARTITE", "PER_PREDICTION"])
@pytest.mark.parametrize("inside", [True, False])
def test_match(kind, inside):
    """First the best pair of all again and again, then whatever is near enough."""
    boxes, truth = some_boxes(30, 3), some_boxes(4, 4)
    p = MultiBoxLossParameter(match_type=kind, overlap_threshold=0.2)
    p.ignore_cross_boundary_bbox = inside
    out = [inside and bool(np.any((box < 0) | (box > 1))) for box in boxes]
    pairs = {(i, j): overlap(boxes[i], truth[j]) for i in range(30) for j in range(4) if not out[i]}
    want = [-2 if each else -1 for each in out]
    for (i, j), share in sorted(pairs.items(), key=lambda item: -item[1]):
        if share > 1e-6 and want[i] == -1 and j not in want:
            want[i] = j
    for i in range(30):
        j = max(range(4), key=lambda j: pairs.get((i, j), 0))
        if kind == "PER_PREDICTION" and want[i] == -1 and pairs[i, j] >= 0.2:
            want[i] = j
    index, best = match(boxes, truth, p)
    assert index.tolist() == want
    assert np.count_nonzero(index > -1) == (4 if kind == "BIPARTITE" else len(index[index > -1]))
    for i in np.flatnonzero(index > -1):
        np.testing.assert_allclose(best[i], pairs[i, index[i]], 1e-4)


def test_mine():
    index, best = np.array([-1, 1, -1, -2, -1, -1]), np.float32([0, 0.9, 0.6, 0, 0.1, 0.2])
    loss = np.float32([1, 9, 8, 7, 3, 2])
    p = MultiBoxLossParameter(neg_pos_ratio=2.5)
    hits, negatives = mine(index, best, loss, p)
    assert (hits.tolist(), negatives.tolist()) == ([1], [4, 5])
    p.mining_type, p.sample_size = MultiBoxLossParameter.HARD_EXAMPLE, 4
    hits, negatives = mine(index, best, loss, p)
    assert (hits.tolist(), negatives.tolist()) == ([1], [2, 4])


def test_read_truth():
    rows = np.float32([[0, 2, 0, 0, 0, 1, 1, 1], [-1] * 8, [1, 3, 0, 0, 0, 0.5, 1, 0]])
    truth = read_truth(rows[None, None], 0)
    assert truth.image.tolist() == [0, 1]
    assert truth.of(~truth.difficult).label.tolist() == [3]
    with pytest.raises(ShapeError, match="background's label 2"):
        read_truth(rows, 2)
