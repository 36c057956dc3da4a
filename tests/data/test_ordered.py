"""A map by several threads: in order, a few ahead, and an error where it belongs."""

from __future__ import annotations

import time

import pytest

from caffe_compat.data.ordered import ordered_map


def test_results_come_in_order_and_items_are_taken_a_few_ahead():
    taken = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i

    def slow(i):
        time.sleep(0.002 * (i % 3))
        return i * i

    for number, result in enumerate(ordered_map(slow, items(), workers=3)):
        assert result == number * number
        assert len(taken) <= number + 14


def test_an_error_is_raised_in_its_place():
    results = ordered_map(lambda i: 6 // (3 - i), range(9), workers=2)
    assert [next(results) for _ in range(3)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)
