"""The distance of a changed model from its original."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.runtime.parity import Parity, measure_parity


class Constant:
    """A session whose outputs are always the same."""

    def __init__(self, **outputs):
        self.outputs = {k: np.asarray(v, np.float32) for k, v in outputs.items()}

    def run(self, feeds):
        return self.outputs


def parity(want, other):
    return measure_parity(Constant(**want), Constant(**other), [{}])


BOXES = [
    [0, 1, 0.9, 0.1, 0.1, 0.5, 0.5],
    [0, 1, 0.8, 0.5, 0.5, 0.9, 0.8],
    [0, 2, 0.8, 0.5, 0.5, 0.9, 0.8],
]


def test_detections_are_compared_in_any_order():
    other = np.array(BOXES)
    other[:, 2:] += 0.01
    moved = parity({"out": [[BOXES]]}, {"out": [[other[::-1]]]})
    assert moved.matched == (3, 3)
    assert moved.largest["out"] == pytest.approx(0.01 / 0.9, rel=1e-4)
    assert str(moved).endswith("out 1.1e-02; 3 of 3 boxes match")


def test_a_detection_matches_once_and_only_its_class():
    once = parity({"out": [[BOXES[:1] * 2]]}, {"out": [[BOXES[:1]]]})
    assert once.matched == (1, 2)
    other = [[0, 3, *BOXES[0][2:]], [1, *BOXES[1][1:]], [0, 2, 0.8, 0.5, 0.5, 0.6, 0.6]]
    assert parity({"out": [[BOXES]]}, {"out": [[other]]}) == Parity({"out": 0.0}, None, (0, 3))
    nothing = [[[[0, -1, -1, -1, -1, -1, -1]]]]
    assert parity({"out": nothing}, {"out": nothing}).matched is None
    assert parity({"out": [[BOXES]]}, {"out": nothing}).matched == (0, 3)


def test_best_classes_are_counted():
    result = parity({"prob": [[0.9, 0.1], [0.2, 0.8]]}, {"prob": [[0.6, 0.4], [0.6, 0.4]]})
    assert result.same == (1, 2)
    assert result.largest["prob"] == pytest.approx(0.4 / 0.9)
    assert str(result).endswith("prob 4.4e-01; same best class 1 of 2 times")


def test_nan_is_infinitely_far():
    assert parity({"x": [[1, 2]]}, {"x": [[1, np.nan]]}).largest["x"] == float("inf")


def test_the_largest_difference_is_over_all_runs():
    class Counting:
        def __init__(self, step):
            self.step, self.runs = step, 0

        def run(self, feeds):
            self.runs += 1
            return {"x": np.array([10.0, self.step * self.runs], np.float32)}

    assert measure_parity(Counting(0), Counting(1), [{}] * 3).largest["x"] == pytest.approx(0.3)
