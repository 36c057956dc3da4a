"""A net written as Caffe saves it."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from caffe_compat import weights
from caffe_compat.caffe_pb2 import NetParameter
from caffe_compat.errors import CaffeCompatError
from caffe_compat.net.saving import save, with_splits
from caffe_compat.prototxt.reader import read_net

from ..cases import make
from ..slope_nets import layer

PARAM = 'param { name: "w" } inner_product_param { num_output: 4 bias_term: false }'
TEXT = (
    'input: "x" input_shape { dim: 3 dim: 4 }'
    + layer("InnerProduct", "x", "a", PARAM, "one")
    + layer("InnerProduct", "a", "b", PARAM, "two")
    + layer("Eltwise", "a b", "sum")
    + 'layer { name: "bn" type: "BatchNorm" bottom: "sum" top: "bn" param {} param {} param {} }'
)


def test_layers_and_splits_are_caffes():
    net = make(TEXT)
    message, places = with_splits(net)
    assert [layer.name for layer in message.layer] == [
        "input",
        "one",
        "a_one_0_split",
        "two",
        "eltwise",
        "bn",
    ]
    assert places == [0, 1, None, 2, 3, 4]
    assert list(message.layer[4].bottom) == ["a_one_0_split_1", "b"]
    (batch_norm,) = (layer for layer in message.layer if layer.type == "BatchNorm")
    assert [spec.lr_mult for spec in batch_norm.param] == [0, 0, 0]


def test_a_caffemodel_has_every_blob_and_hdf5_leaves_shared_ones_to_their_owner(tmp_path):
    net = make(TEXT)
    save(net, tmp_path / "w.caffemodel")
    message = NetParameter.FromString((tmp_path / "w.caffemodel").read_bytes())
    counts = {layer.name: len(layer.blobs) for layer in message.layer}
    assert counts == {"input": 0, "one": 1, "a_one_0_split": 0, "two": 1, "eltwise": 0, "bn": 3}
    save(net, tmp_path / "w.caffemodel.h5")
    with h5py.File(tmp_path / "w.caffemodel.h5") as file:
        assert {name: len(group) for name, group in file["data"].items()} == counts | {"two": 0}
    for path in (tmp_path / "w.caffemodel", tmp_path / "w.caffemodel.h5"):
        stored = {layer.name: layer for layer in weights.read(path).layers}
        np.testing.assert_array_equal(stored["one"].blobs[0].array, net.arrays[1][0])


def test_a_prototxt_has_the_layers_of_the_net(tmp_path):
    net = make(TEXT)
    save(net, tmp_path / "net.prototxt")
    again, skipped = read_net(tmp_path / "net.prototxt")
    assert (again, skipped) == (net.graph.net, [])


@pytest.mark.parametrize("name", ["w.bin", "caffemodel", "w.onnx"])
def test_other_suffixes(tmp_path, name):
    with pytest.raises(CaffeCompatError, match=r"ends in none of \.caffemodel, "):
        save(make(TEXT), tmp_path / name)
    assert not any(tmp_path.iterdir())


def test_layers_are_saved_as_caffes_setup_leaves_them(tmp_path):
    """A loss has its weight, BatchNorm all three lr_mult and what else its param had (net.cpp)."""
    net = make("""
        layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "bn" type: "BatchNorm" bottom: "d" top: "b"
                param { lr_mult: 0 decay_mult: 0 } param { lr_mult: 0 name: "v" } }
        layer { name: "l" type: "EuclideanLoss" bottom: "b" bottom: "d" top: "l" }""")
    net.save(tmp_path / "net.caffemodel")
    saved = NetParameter.FromString((tmp_path / "net.caffemodel").read_bytes())
    layers = {layer.name: layer for layer in saved.layer}
    assert list(layers["l"].loss_weight) == [1]
    specs = [(p.name, p.lr_mult, p.decay_mult) for p in layers["bn"].param]
    assert specs == [("", 0, 0), ("v", 0, 1), ("", 0, 1)]
