"""Errors: their kinds, the place in front of the message, and the remedies that they propose."""

from __future__ import annotations

import pickle

import pytest

import caffe_compat
from caffe_compat import pycaffe
from caffe_compat.errors import (
    CaffeCompatError,
    DeviceError,
    ParseError,
    ShapeError,
    UnsupportedError,
    WeightsError,
)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (ParseError, ValueError),
        (ShapeError, ValueError),
        (WeightsError, ValueError),
        (UnsupportedError, NotImplementedError),
        (DeviceError, RuntimeError),
    ],
)
def test_a_place_in_front_keeps_the_kind_and_the_remedies(kind, builtin):
    error = kind("no good", remedies=["fork"]).within("layer 'a'")
    assert isinstance(error, CaffeCompatError)
    assert isinstance(error, builtin)
    assert (type(error), str(error), error.remedies) == (kind, "layer 'a': no good", ("fork",))


def test_errors_joined_into_one():
    errors = [
        UnsupportedError("a", remedies=("fork",)),
        UnsupportedError("b"),
        UnsupportedError("a", remedies=("fork", "inputs")),
    ]
    joined = UnsupportedError.joined(errors)
    assert (type(joined), str(joined)) == (UnsupportedError, "a; b")
    assert joined.remedies == ("fork", "inputs")


def test_errors_cross_processes_with_their_remedies():
    error = pickle.loads(pickle.dumps(ShapeError("no size", remedies=("batch",))))
    assert (type(error), str(error), error.remedies) == (ShapeError, "no size", ("batch",))


def test_the_command_line_adds_its_flags(run, tmp_path):
    net = tmp_path / "net.prototxt"
    net.write_text(
        'input: "x" input_shape { dim: 2 dim: 3 dim: 4 dim: 5 }'
        'layer { name: "b" type: "BN" bottom: "x" top: "y" }'
    )
    status, _, err = run("show", net)
    assert status == 1
    assert "fork=" in err
    first, second = err.splitlines()
    assert first.endswith("(--fork NAME)")
    assert second == f"try: caffe-compat show {net} --fork BN=segnet"


def upgraded(path):
    caffe_compat.upgrade(path, path.with_suffix(".new"))


def pycaffe_net(path):
    pycaffe.Net(str(path), pycaffe.TEST)


@pytest.mark.parametrize("read", [caffe_compat.read, caffe_compat.diagnose, pycaffe_net, upgraded])
def test_a_net_that_cannot_be_upgraded_is_named(tmp_path, read):
    path = tmp_path / "net.prototxt"
    path.write_text('input: "x" input_dim: 1 layers { type: RELU } layer { type: "ReLU" }')
    with pytest.raises(CaffeCompatError) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}: the net has both 'layer'")
