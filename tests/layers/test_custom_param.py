"""Layers of the caller's own, which read their own *_param message."""

from __future__ import annotations

import numpy as np
import pytest

import caffe_compat
from caffe_compat.caffe_pb2 import ReshapeParameter
from caffe_compat.errors import ParseError
from caffe_compat.layers.registry import _types

NET = """
input: "data" input_shape { dim: 2 dim: 3 }
layer { name: "own" type: "OwnScale" bottom: "data" top: "y" own_scale_param { %s } }
"""


@pytest.fixture
def own():
    """Register a layer type, and take it out again."""

    def register(**options):
        class OwnScale(caffe_compat.Layer):
            def forward(self, x):
                return x * np.float32(self.factor())

            def lower(self, g, x):
                return g.Mul(x, np.float32(self.factor()))

            def factor(self):
                return self.p["factor"] if isinstance(self.p, dict) else self.p.axis

        return caffe_compat.layer(param="own_scale_param", **options)(OwnScale)

    yield register
    _types.pop("OwnScale", None)


def write(tmp_path, fields):
    path = tmp_path / "net.prototxt"
    path.write_text(NET % fields)
    return path


def test_as_a_mapping_through_every_form(own, tmp_path):
    own()
    path = write(tmp_path, "factor: 2.5 name: 'a \\\"b\\\"'")
    net = caffe_compat.load(path)
    assert net.graph.nodes[-1].layer.p == {"factor": 2.5, "name": 'a "b"'}
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(net.run({"data": x})["y"], 2.5 * x)
    folded, _ = caffe_compat.fold_batchnorm(net)  # built again from the message
    np.testing.assert_array_equal(folded.run({"data": x})["y"], 2.5 * x)
    caffe_compat.save(net, tmp_path / "again.prototxt")
    assert "own_scale_param {" in (tmp_path / "again.prototxt").read_text()
    again = caffe_compat.load(tmp_path / "again.prototxt")
    np.testing.assert_array_equal(again.run({"data": x})["y"], 2.5 * x)
    with caffe_compat.Session(net, "cpu") as session:
        np.testing.assert_array_equal(session.run({"data": x})["y"], 2.5 * x)


def test_as_a_message(own, tmp_path):
    own(message=ReshapeParameter)
    net = caffe_compat.load(write(tmp_path, "axis: 4 num_axes: 1"))
    assert net.graph.nodes[-1].layer.p == ReshapeParameter(axis=4, num_axes=1)
    assert net.run({"data": np.ones((2, 3), np.float32)})["y"][0, 0] == 4
    with pytest.raises(ParseError, match="ReshapeParameter has no field 'novel'"):
        caffe_compat.load(write(tmp_path, "novel: 1"))


def test_without_the_message(own, tmp_path):
    own()
    path = tmp_path / "net.prototxt"
    path.write_text((NET % "").replace("own_scale_param {  }", ""))
    assert caffe_compat.load(path).graph.nodes[-1].layer.p == {}


def test_another_types_message_stays_unknown(own, tmp_path):
    own()
    path = write(tmp_path, "factor: 1")
    path.write_text(path.read_text().replace("own_scale_param", "other_param"))
    with pytest.raises(ParseError, match="has no field 'other_param'"):
        caffe_compat.load(path)
