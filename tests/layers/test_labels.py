"""Class labels beside scores, and what a loss is divided by."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.caffe_pb2 import LossParameter
from caffe_compat.errors import ShapeError
from caffe_compat.layers import labels


def test_labels_take_the_scores_form_with_one_on_the_class_axis():
    y = np.float32([[0, 3], [2, 1.9]])
    index, counts = labels.read(y, (2, 4, 2), 1, None)
    assert index.tolist() == [[[0, 3]], [[2, 1]]]
    assert counts.all()
    index, counts = labels.read(y, (2, 4, 2), 1, 3)
    assert index.tolist() == [[[0, 0]], [[2, 1]]]
    assert counts.tolist() == [[[True, False]], [[True, True]]]


@pytest.mark.parametrize("wrong", [-1, 4])
def test_a_label_of_no_class(wrong):
    with pytest.raises(ShapeError, match=f"label {wrong} is outside the 4 classes"):
        labels.read(np.float32([0, wrong]), (2, 4), 1, None)
    labels.read(np.float32([0, wrong]), (2, 4), 1, wrong)  # unless it is ignored


@pytest.mark.parametrize(
    ("mode", "number"), [("FULL", 12), ("VALID", 5), ("BATCH_SIZE", 3), ("NONE", 1)]
)
def test_what_a_loss_is_divided_by(mode, number):
    counts = np.zeros((3, 1, 4), bool)
    counts.flat[:5] = True
    assert labels.normalizer(LossParameter.NormalizationMode.Value(mode), counts, 1) == number


def test_nothing_is_divided_by_zero():
    assert labels.normalizer(LossParameter.VALID, np.zeros((3, 1), bool), 1) == 1


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({}, "FULL"),
        ({"normalize": True}, "VALID"),
        ({"normalize": False}, "BATCH_SIZE"),
        ({"normalize": True, "normalization": LossParameter.NONE}, "NONE"),
    ],
)
def test_the_mode_in_force(fields, mode):
    found = labels.mode(LossParameter(**fields), LossParameter.FULL)
    assert LossParameter.NormalizationMode.Name(found) == mode


def test_what_is_checked():
    labels.check_same_batch((3, 4), (3,))
    with pytest.raises(ShapeError, match="same first dimension: 3 and 2"):
        labels.check_same_batch((3, 4), (2,))
    with pytest.raises(ShapeError, match=r"2 labels .* for 6 predictions"):
        labels.check_one_label_each((3, 4, 2), (2,), 1)
    with pytest.raises(ShapeError, match="4 axes at most"):
        labels.check_legacy((1,) * 4, (1,) * 5)
