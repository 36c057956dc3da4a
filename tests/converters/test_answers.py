"""Answers as lines of text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from caffe_compat.converters.answers import lines
from caffe_compat.converters.terminal import statistics

from caffe_compat.images.answers import Answer, Classes, Detections, Statistics
from caffe_compat.images.decode import Class, Detection


def test_each_kind_of_output_has_its_lines():
    answer = Answer(
        "a.png",
        (40, 30),
        {
            "prob": Classes((Class(7, "cat", 0.75), Class(12, None, float("nan")))),
            "boxes": Detections((Detection(2, None, 0.5, (1, 2.25, float("nan"), 4)),)),
            "map": Statistics((3, 4), 0.5, -1, 2),
            "none": Statistics((0, 4), None, None, None),
        },
    )
    assert list(lines(answer, Path("d/a.png"))) == [
        "a.png  30x40 pixels",
        "  prob",
        "     0.7500      7  cat",
        "        NaN     12",
        "  boxes  1 boxes",
        "     0.5000  2  1.0 2.2 NaN 4.0",
        "  map  3x4  mean 0.5  min -1  max 2",
        "  none  0x4  ",
        "  d/a.png",
    ]


@pytest.mark.parametrize(
    ("array", "line"),
    [
        (np.float32(1.5), "1.5"),
        (np.full((1, 1), 2.0), "2"),
        (np.zeros((0, 3)), "empty"),
        (np.array([1.0, 2.0, 6.0]), "mean 3  std 2.16025  min 1  max 6"),
    ],
)
def test_an_array_in_one_line(array, line):
    assert statistics(np.asarray(array)) == line
