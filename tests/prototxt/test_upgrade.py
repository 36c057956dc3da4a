"""Upgrades against Caffe's own upgrade tool (golden/upgrade), and by hand beyond it."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffe_compat.caffe_pb2 import NetParameter, SolverParameter
from caffe_compat.errors import CaffeCompatError
from caffe_compat.prototxt.parser import parse
from caffe_compat.prototxt.reader import read_net
from caffe_compat.prototxt.upgrade import upgrade, upgrade_solver

CASES = sorted((Path(__file__).parents[1] / "golden" / "upgrade").iterdir())


def net(text):
    return parse(text, NetParameter)


def test_golden_is_whole():
    assert len(CASES) == 83


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_upgrade_equals_caffe(case):
    before, skipped = read_net(case / "before.prototxt")
    after, _ = read_net(case / "after.prototxt")
    binary = before.SerializeToString(deterministic=True)
    assert not skipped
    assert upgrade(before) == after
    assert before.SerializeToString(deterministic=True) == binary  # not changed
    assert upgrade(after) == after  # nothing left to do
    assert upgrade(NetParameter.FromString(binary)) == after  # a binary file is the same message


EQUAL = {
    "input_dim": (
        'input: "a" input: "b" input_dim: [2, 3, 5, 7, 11, 13, 17, 19] layer { name: "x" }',
        'layer { name: "input" type: "Input" top: "a" top: "b" input_param {'
        "  shape { dim: [2, 3, 5, 7] } shape { dim: [11, 13, 17, 19] } } } layer { name: 'x' }",
    ),
    "input_shape wins over input_dim": (
        'input: "a" input_shape { dim: [2, 3] } input_dim: [1, 1, 1, 1]',
        'layer { name: "input" type: "Input" top: "a" input_param { shape { dim: [2, 3] } } }',
    ),
    "inputs without extents": ('name: "n" input: "data"', 'name: "n"'),
    "BatchNorm with its three": (
        'layer { type: "BatchNorm" param { lr_mult: 1 } param { name: "s" } param {} }',
        'layer { type: "BatchNorm" param { lr_mult: 0 decay_mult: 0 }'
        '  param { name: "s" lr_mult: 0 decay_mult: 0 } param { lr_mult: 0 decay_mult: 0 } }',
    ),
    "BatchNorm with two": (
        'layer { type: "BatchNorm" param { lr_mult: 1 } param {} }',
        'layer { type: "BatchNorm" param { lr_mult: 1 } param {} }',
    ),
}


@pytest.mark.parametrize("before, after", EQUAL.values(), ids=EQUAL)
def test_upgrade_by_hand(before, after):
    assert upgrade(net(before)) == net(after)


REFUSED = {
    "too few input_dim": ('input: "a" input: "b" input_dim: [1, 2, 3, 4]', "2 inputs, but 4"),
    "too few input_shape": ('input: "a" input: "b" input_shape {}', "2 inputs, but 1"),
}


@pytest.mark.parametrize("text, message", REFUSED.values(), ids=REFUSED)
def test_upgrade_refuses(text, message):
    with pytest.raises(CaffeCompatError, match=message):
        upgrade(net(text))


def test_upgrade_solver():
    old = SolverParameter(base_lr=0.5, solver_type="ADAGRAD")
    assert upgrade_solver(old) == SolverParameter(base_lr=0.5, type="AdaGrad")
    assert old.HasField("solver_type")
    both = SolverParameter(type="SGD", solver_type="SGD")
    with pytest.raises(CaffeCompatError, match="not both"):
        upgrade_solver(both)
