"""A net's own fillers beside those that preserve the variance."""

from __future__ import annotations

import numpy as np
import pytest

from caffe_compat.caffe_pb2 import FillerParameter
from caffe_compat.doctor.patient import Patient, factor_of, is_right, remedy, std_of

from ..cases import feed, make
from .nets import RELU, stack


def patient(text, from_file=()):
    net = make(text)
    return Patient(net, net.graph, frozenset(from_file), feed(net), False)


@pytest.mark.parametrize(
    ("filler", "std"),
    [
        ({"type": "msra"}, (2 / 12) ** 0.5),
        ({"type": "msra", "a": 1}, (1 / 12) ** 0.5),
        ({"type": "xavier"}, (1 / 12) ** 0.5),
        ({"type": "gaussian", "std": 0.25}, 0.25),
        ({"type": "gaussian", "std": 0.25, "mean": 1}, None),
        ({"type": "gaussian", "std": 0.25, "sparse": 2}, None),
        ({"type": "uniform"}, None),
    ],
)
def test_the_std_of_a_filler(filler, std):
    assert std_of((5, 3, 2, 2), FillerParameter(**filler)) == (
        None if std is None else pytest.approx(std, rel=1e-6)
    )


def test_the_factor_of_xavier_before_a_relu_is_a_half():
    examined = patient(stack(2, 'type: "xavier"'))
    rows = [(n.layer.name, factor_of(n, each)) for _, n, each in examined.drawn("xavier")]
    assert [name for name, _ in rows] == ["conv1", "conv2", "fc"]
    assert [factor for _, factor in rows] == [1, pytest.approx(0.5), pytest.approx(0.5)]
    assert not list(examined.drawn("msra"))
    assert [is_right(n, each) for _, n, each in examined.drawn("xavier")] == [True, False, False]


def test_weights_from_a_file_are_not_drawn():
    examined = patient(stack(2, 'type: "xavier"'), ["conv2"])
    assert [n.layer.name for _, n, _ in examined.drawn("xavier")] == ["conv1", "fc"]


@pytest.mark.parametrize(
    ("filler", "act", "line"),
    [
        ('type: "xavier"', RELU, 'weight_filler { type: "msra" }'),
        (
            'type: "xavier" variance_norm: FAN_OUT',
            'type: "ReLU" relu_param { negative_slope: 0.5 }',
            'weight_filler { type: "msra" a: 0.5 variance_norm: FAN_OUT }',
        ),
    ],
)
def test_the_remedy_is_a_line_of_the_prototxt(filler, act, line):
    examined = patient(stack(2, filler, act, end=False))
    assert remedy(examined.resolved[3]) == line


def test_the_remedy_after_another_activation_is_a_gaussian():
    examined = patient(stack(2, act='type: "TanH"', end=False))
    each = examined.resolved[3]
    assert remedy(each) == f'weight_filler {{ type: "gaussian" std: {float(each.sigma):.6g} }}'


def test_the_moment_of_the_first_input():
    examined = patient(stack(1))
    want = np.mean(np.square(examined.feeds["data"]))
    assert examined.moment == pytest.approx(want, rel=1e-6)
    text = 'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 3 } } }'
    assert patient(text).moment == 1
