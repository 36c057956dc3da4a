"""Layer types by name; every family has its test."""

from __future__ import annotations

from pathlib import Path

import pytest

import caffe_compat
from caffe_compat.caffe_pb2 import LayerParameter
from caffe_compat.errors import UnsupportedError
from caffe_compat.layers import families
from caffe_compat.layers.layer import Layer
from caffe_compat.layers.registry import find, layer, registry


def test_every_module_is_looked_through():
    types = registry()
    assert {"Convolution", "ReLU", "LSTM", "Python", "Proposal"} <= types.keys()
    assert all(
        cls in types[name] for known in types.values() for cls in known for name in cls.types
    )
    for name, known in types.items():
        assert len({cls.fork for cls in known}) == len(known), name


def test_every_type_says_what_it_computes():
    for known in registry().values():
        for cls in known:
            assert cls.__doc__, cls
            assert cls.__doc__.splitlines()[0].endswith((".", ":")), cls


def test_a_loss_without_an_onnx_form_is_an_evaluation():
    """So that an ONNX file goes without it by the one rule of `net.evaluations`."""
    every = {cls for known in registry().values() for cls in known}
    formless = {cls for cls in every if cls.loss and cls.lower is Layer.lower}
    assert formless and all(cls.evaluates for cls in formless)
    assert all(cls.lower is Layer.lower for cls in every if cls.evaluates and cls.tops)


def test_every_module_has_its_test():
    room, tests = Path(families.__file__).parent, Path(__file__).parent / "families"
    modules = {path.stem for path in room.glob("*.py")} - {"__init__"}
    assert modules <= {path.stem.removeprefix("test_") for path in tests.glob("test_*.py")}
    modules = {path.stem for path in room.parent.glob("*.py")} - {"__init__"}
    assert modules <= {path.stem.removeprefix("test_") for path in tests.parent.glob("test_*.py")}


def test_a_type_that_is_not_known():
    with pytest.raises(UnsupportedError, match="unknown layer type"):
        find(LayerParameter(type="Conv"), registry())


def test_the_one_definition_is_taken_whatever_fork_is_named():
    types = registry()
    assert find(LayerParameter(type="ReLU"), types, "segnet") is types["ReLU"][0]


def test_forks_are_told_apart_or_named():
    types, proto = registry(), LayerParameter(type="BN")
    with pytest.raises(UnsupportedError, match=r"name the fork .*segnet: .*; pspnet: ") as error:
        find(proto, types)
    assert error.value.remedies == ("fork",)
    assert find(proto, types, "segnet").fork == "segnet"
    assert find(proto, types, None, [(1, 4, 1, 1)] * 4).fork == "pspnet"


def test_a_later_registration_replaces_an_earlier_one(monkeypatch):
    monkeypatch.setattr("caffe_compat.layers.registry._python", {})
    proto = LayerParameter(type="Python")
    proto.python_param.module, proto.python_param.layer = "m", "C"

    def add(bottoms):
        @caffe_compat.register(module="m", layer="C", bottoms=bottoms)
        class Custom(Layer):
            """The caller's."""

        return Custom

    first, second = add(1), add(2)
    assert find(proto, registry()) is second is not first
    assert second.bottoms == 2


def test_a_type_is_registered_once():
    registry()
    with pytest.raises(ValueError, match="layer type ReLU is registered twice"):

        @layer("ReLU")
        class Another(Layer):
            """Another's."""


def test_what_cannot_be_registered():
    with pytest.raises(TypeError, match="no subclass of"):
        caffe_compat.register(module="m", layer="l")(object)
