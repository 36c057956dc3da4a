"""Parameters by layer and name: looked at, changed in place, copied, saved."""

from __future__ import annotations

import numpy as np
import pytest

import caffe_compat
from caffe_compat.errors import ShapeError

from ..slope_nets import layer

SHARED = 'param { name: "w" } inner_product_param { num_output: 3 bias_term: false }'
TEXT = (
    'name: "n" input: "x" input_shape { dim: 2 dim: 3 }'
    + layer(
        "InnerProduct",
        "x",
        "a",
        'inner_product_param { num_output: 4 weight_filler { type: "xavier" } }',
        "fc",
    )
    + layer("InnerProduct", "x", "b", SHARED, "one")
    + layer("InnerProduct", "b", "c", SHARED, "two")
)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "net.prototxt").write_text(TEXT)
    caffe_compat.load(tmp_path / "net.prototxt").save(tmp_path / "w.caffemodel")
    return tmp_path / "net.prototxt", tmp_path / "w.caffemodel"


def test_by_name_and_by_index(files):
    net = caffe_compat.load(*files)
    assert list(net.params) == ["fc", "one", "two"]
    assert list(net.params["fc"]) == ["weight", "bias"]
    assert net.params["fc"][1] is net.params["fc"]["bias"]
    assert net.blobs["x"].shape == (2, 3)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (lambda net: net.params["fc1"], "no layer 'fc1' has parameters; these have: fc, one, two"),
        (lambda net: net.params["fc"]["slope"], "'fc' has no blob 'slope'; it has: weight, bias"),
        (lambda net: net.params["fc"][2], "'fc' has no blob 2"),
    ],
)
def test_a_name_that_is_not_there(files, key, says):
    with pytest.raises(KeyError, match=says):
        key(caffe_compat.load(*files))


@pytest.mark.parametrize("form", ["new.caffemodel", "new.caffemodel.h5", "new.npz"])
def test_changed_in_place_and_saved(files, tmp_path, form):
    net, before = caffe_compat.load(*files), files[1].read_bytes()
    old = net.params["fc"]["weight"].copy()
    net.params["fc"]["weight"] *= 2
    net.params["fc"]["weight"][:, 0] = 0
    net.params["fc"]["bias"][...] = [1, 2, 3, 4]
    net.params["one"]["weight"] = np.eye(3)
    net.save(tmp_path / form)
    again = caffe_compat.load(files[0], tmp_path / form)
    np.testing.assert_array_equal(again.params["fc"]["weight"], old * [0, 2, 2])
    np.testing.assert_array_equal(again.params["fc"]["bias"], [1, 2, 3, 4])
    np.testing.assert_array_equal(again.params["two"]["weight"], np.eye(3))
    y = again.forward(np.float32([[1, 0, 0], [0, 1, 0]]))
    np.testing.assert_array_equal(y["a"][0], [1, 2, 3, 4])
    assert files[1].read_bytes() == before


def test_a_blob_is_copied_from_the_file_only_when_it_is_asked_for(files):
    net = caffe_compat.load(*files)
    assert not any(array.flags.writeable for arrays in net.arrays for array in arrays)
    bias = net.params["fc"]["bias"]
    assert net.params["fc"]["bias"] is bias
    assert [array.flags.writeable for array in net.arrays[1]] == [False, True]
    assert net.arrays[1][1] is bias


def test_a_shared_blob_is_one_for_all_its_layers(files):
    net = caffe_compat.load(*files)
    net.params["two"]["weight"][0] = 5
    assert (net.params["one"]["weight"][0] == 5).all()
    assert np.shares_memory(net.arrays[2][0], net.arrays[3][0])


def test_a_layer_is_copied_whole_or_not_at_all(files):
    net, other = caffe_compat.load(*files), caffe_compat.load(files[0], seed=5)
    net.params["fc"] = other.params["fc"]
    np.testing.assert_array_equal(net.params["fc"]["weight"], other.params["fc"]["weight"])
    before = net.params["fc"]["weight"].copy()
    for blobs, says in (
        ({"weight": np.ones((4, 3))}, "layer 'fc' has 2 blobs, and gets 1"),
        (
            {"w": np.ones((4, 3)), "b": np.ones(3)},
            r"'bias' of layer 'fc' is \(4,\), and gets \(3,\)",
        ),
    ):
        with pytest.raises(ShapeError, match=says):
            net.params["fc"] = blobs
    with pytest.raises(ShapeError, match="'fc/weight' takes real numbers, and was fed <U1"):
        net.params["fc"]["weight"] = "a"
    np.testing.assert_array_equal(net.params["fc"]["weight"], before)


def test_printed_as_the_table_of_show(files):
    net = caffe_compat.load(*files)
    lines = str(net).split("\n")
    assert lines[0] == "net 'n'"
    row = "fc InnerProduct x a 2x4 weight 4x3, bias 4 16 xavier, constant"
    assert lines[3].split() == row.split()
    assert lines[-1] == "4 layers, 25 parameters (100 bytes), and 9 shared"
    assert repr(net) == "<Net 'n' of 4 layers>"
