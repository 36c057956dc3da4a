"""Boxes as SSD's layers know them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_compat.caffe_pb2 import NonMaximumSuppressionParameter, PriorBoxParameter
from caffe_compat.errors import ShapeError
from caffe_compat.layers.boxes import check_priors, decode, overlaps, suppress

PRIOR = np.float32([[2, 2, 4, 6]])


def nms(**fields):
    return NonMaximumSuppressionParameter(**fields)


@pytest.mark.parametrize("code", ["CORNER", "CENTER_SIZE", "CORNER_SIZE"])
def test_a_prediction_of_nothing_is_the_prior(code):
    number = PriorBoxParameter.CodeType.Value(code)
    variances = np.float32([[0.1, 0.1, 0.2, 0.2]])
    for scale in (None, variances):
        np.testing.assert_allclose(
            decode(np.zeros((1, 4), np.float32), PRIOR, scale, number), PRIOR
        )


def test_decode_by_hand():
    move = np.float32([[0.5, -0.25, np.log(2), 0]])
    made = decode(move, PRIOR, None, PriorBoxParameter.CENTER_SIZE)
    np.testing.assert_allclose(made, [[2, 1, 6, 5]], rtol=1e-6)
    made = decode(np.float32([[0.5, 0.25, 1, 0]]), PRIOR, None, PriorBoxParameter.CORNER_SIZE)
    np.testing.assert_allclose(made, [[3, 3, 6, 6]])


def test_a_prior_needs_an_extent_where_it_scales():
    flat = np.float32([[0, 0, 1, 1], [1, 0, 1, 2]])
    with pytest.raises(ShapeError, match=r"prior 1 has no width or height: \[1.0, 0.0, 1.0, 2.0\]"):
        check_priors(flat, PriorBoxParameter.CENTER_SIZE)
    check_priors(flat, PriorBoxParameter.CORNER)


def test_overlaps_by_hand():
    boxes = np.float32([[0, 0, 2, 2], [1, 1, 3, 3], [2, 2, 4, 4], [2, 2, 0, 0]])
    np.testing.assert_allclose(overlaps(boxes[0], boxes), [1, 1 / 7, 0, 0], rtol=1e-6)


@settings(max_examples=50)
@given(
    seed=st.integers(0, 999), threshold=st.sampled_from([0, 0.3, 0.7, 1]), top=st.integers(-1, 12)
)
def test_no_two_that_stay_overlap_and_none_goes_without_a_better_one(seed, threshold, top):
    rng = np.random.default_rng(seed)
    first = rng.uniform(0, 4, (15, 2))
    boxes = np.concatenate([first, first + rng.uniform(0.5, 3, (15, 2))], 1).astype(np.float32)
    scores = rng.uniform(0, 1, 15).astype(np.float32)
    stay = suppress(boxes, scores, 0.25, nms(nms_threshold=threshold, top_k=top))
    assert np.all(np.diff(scores[stay]) <= 0)
    assert np.all(scores[stay] > 0.25)
    limit = np.float32(threshold)
    for i, index in enumerate(stay):
        assert np.all(overlaps(boxes[index], boxes[stay[:i]]) <= limit)
    candidates = [i for i in np.argsort(-scores, kind="stable") if scores[i] > 0.25]
    for index in candidates[: top if top > -1 else None]:
        better = [i for i in stay if scores[i] >= scores[index]]
        assert index in stay or np.any(overlaps(boxes[index], boxes[better]) > limit)


def test_a_threshold_falls_as_boxes_stay():
    boxes = np.float32([[0, 0, 10, 1], [2, 0, 12, 1], [4, 0, 14, 1]])  # neighbours overlap by 2/3
    scores = np.float32([0.9, 0.8, 0.7])
    assert len(suppress(boxes, scores, 0, nms(nms_threshold=0.7))) == 3
    assert suppress(boxes, scores, 0, nms(nms_threshold=0.7, eta=0.9)).tolist() == [0, 2]
