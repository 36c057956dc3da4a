"""Second moments, against the fillers' own draws and against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from google.protobuf import text_format

from caffe_compat import fillers
from caffe_compat.caffe_pb2 import FillerParameter
from caffe_compat.errors import ShapeError, UnsupportedError
from caffe_compat.fillers import moments
from caffe_compat.fillers.rng import BoostRng

SHAPE = (50, 10, 7, 7)


@pytest.mark.parametrize(
    "text",
    [
        'type: "constant" value: -3',
        'type: "uniform" min: -1 max: 3',
        'type: "gaussian" mean: 0.5 std: 2',
        'type: "gaussian" mean: 0.5 std: 2 sparse: 20',
        'type: "xavier"',
        'type: "xavier" variance_norm: AVERAGE',
        'type: "msra" variance_norm: FAN_OUT',
        'type: "msra" a: 0.75',
        'type: "bilinear"',
    ],
)
def test_what_a_filler_gives(text):
    p = text_format.Parse(text, FillerParameter())
    values = fillers.fill(SHAPE, p, BoostRng(1701)).astype(np.float64)
    moment = moments.second_moment(SHAPE, p)
    assert moment == pytest.approx(float(np.mean(values**2)), rel=0.03)


def test_zeros_and_the_unit_ball():
    ball = FillerParameter(type="positive_unitball")
    assert moments.second_moment((4,), None) == 0
    assert moments.second_moment((4,), ball) == 1  # each is its own sum
    assert moments.second_moment((4, 5), ball) is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('type: "xiangyu"', UnsupportedError),
        ('type: "uniform" min: nan', ShapeError),
        ('type: "bilinear"', ShapeError),
    ],
)
def test_refused_as_the_filler_refuses(text, error):
    with pytest.raises(error):
        moments.second_moment((4,), text_format.Parse(text, FillerParameter()))


def double_factorial(n):
    return math.prod(range(n, 0, -2))


@pytest.mark.parametrize("k", [0, 1, 2, 5, 9])
def test_powers(k):
    assert moments.of_activation(lambda z: z**k) == pytest.approx(double_factorial(2 * k - 1))


@pytest.mark.parametrize("kink", [0.0, 0.3, -2.71, 40.0])
def test_a_step_at_a_kink(kink):
    """Exact where the kink is named, however steep the function there."""
    moment = moments.of_activation(lambda z: (z > kink).astype(np.float32), (kink,))
    assert moment == pytest.approx(math.erfc(kink / math.sqrt(2)) / 2, abs=1e-14)
