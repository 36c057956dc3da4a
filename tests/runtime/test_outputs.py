"""Which outputs are detections, and which are class scores."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.runtime.outputs import is_detection, scores


@pytest.mark.parametrize(
    ("shape", "answer"),
    [
        ((1, 1, 200, 7), True),
        ((1, 1, None, 7), True),
        ((2, 1, 200, 7), False),
        ((1, 1, 200, 8), False),
        ((1, 200, 7), False),
    ],
)
def test_detections_are_told_by_their_shape(shape, answer):
    assert is_detection(shape) is answer


def test_scores_are_one_vector_whatever_axes_of_size_one_follow():
    np.testing.assert_array_equal(scores(np.arange(5.0)), np.arange(5.0))
    np.testing.assert_array_equal(scores(np.arange(5.0).reshape(5, 1, 1)), np.arange(5.0))
    for shape in ((), (1,), (5, 2), (1, 5)):
        assert scores(np.zeros(shape)) is None
