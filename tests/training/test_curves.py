"""Logs of trainings: numbers as solvers write them, and lines that are damaged."""

from __future__ import annotations

from caffe_compat.training.curves import Curves


def test_a_damaged_number_is_none_or_what_is_left_of_it():
    curves = Curves()
    for line in (
        "Iteration 1 (1 iter/s), loss = 2.5e-3",
        "Iteration 2, loss = 0..5",
        f"Iteration {'9' * 5000}, loss = 1",
        "Iteration 3, lr = ...",
    ):
        curves.read(line)
    assert (curves.loss.iterations, curves.loss.values) == ([1, 2], [0.0025, 0])
    assert curves.rate.iterations == []
