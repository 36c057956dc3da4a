"""A net's own fillers beside those that preserve the variance."""

from __future__ import annotations

import pytest

from caffe_compat.caffe_pb2 import FillerParameter
from caffe_compat.doctor.bench import Bench
from caffe_compat.doctor.patient import Patient, filler_with, type_of

from ..cases import feed, make
from .nets import stack


def patient(text, from_file=()):
    net = make(text)
    bench = Bench(range(1), "fast", None)
    flow = bench.measure(net.graph)
    measure = lambda graph, count: bench.measure(graph, None, count)  # noqa: E731
    return Patient(net, net.graph, frozenset(from_file), feed(net), False, flow, measure)


def test_the_factor_of_xavier_before_a_relu_is_a_half():
    examined = patient(stack(2, 'type: "xavier"'))
    rows = examined.drawn
    assert examined.names(rows) == ("conv1", "conv2", "fc")
    assert [examined.factor(index) for index in rows] == [
        pytest.approx(1),
        pytest.approx(0.5),
        pytest.approx(0.5),
    ]


def test_weights_from_a_file_are_not_drawn():
    examined = patient(stack(2, 'type: "xavier"'), ["conv2"])
    assert examined.names(examined.drawn) == ("conv1", "fc")


@pytest.mark.parametrize(
    ("filler", "variance", "want"),
    [
        ('type: "xavier"', 2 / 144, FillerParameter(type="msra")),
        ('type: "xavier"', 2 / (144 * 1.25), FillerParameter(type="msra", a=0.5)),
        (
            'type: "msra" variance_norm: FAN_OUT',
            2 / 144,
            FillerParameter(type="msra", variance_norm=FillerParameter.FAN_OUT),
        ),
        ('type: "xavier"', 1 / 144, FillerParameter(type="gaussian", std=1 / 12)),
        ('type: "xavier"', 4 / 144, FillerParameter(type="gaussian", std=2 / 12)),
    ],
)
def test_the_filler_of_a_std(filler, variance, want):
    node = patient(stack(2, filler)).nodes[3]
    filler = filler_with(variance**0.5, node)
    assert filler.type == want.type
    assert filler.variance_norm == want.variance_norm
    assert (filler.a, filler.std) == (
        pytest.approx(want.a, rel=1e-4),
        pytest.approx(want.std, rel=1e-4),
    )


def test_the_type_of_a_filler():
    assert type_of(patient(stack(2, 'type: "constant"')).nodes[3]) == "zero"
    assert type_of(patient(stack(2, "value: 1")).nodes[3]) == "constant"
    assert type_of(patient(stack(2)).nodes[3]) == "msra"
