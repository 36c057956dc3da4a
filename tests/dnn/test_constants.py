"""Backends and targets have OpenCV's numbers."""

from __future__ import annotations

import pytest

from caffe_compat import dnn
from caffe_compat.dnn import constants


def test_the_numbers_are_opencvs():
    cv2 = pytest.importorskip("cv2")
    numbers = {n: value for n, value in vars(constants).items() if n.startswith("DNN_")}
    assert len(numbers) == 20
    for name, number in numbers.items():
        assert getattr(dnn, name) == number
        assert getattr(cv2.dnn, name, number) == number  # some are gone in OpenCV 5
