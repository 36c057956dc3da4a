"""Split layers against the layer lists of real Caffe (golden/nets), and by hand."""

import json
from pathlib import Path

import pytest

from caffe_compat.caffe_pb2 import TEST, NetParameter, Phase
from caffe_compat.errors import CaffeCompatError
from caffe_compat.prototxt.parser import parse
from caffe_compat.prototxt.phase import select
from caffe_compat.prototxt.reader import read_net
from caffe_compat.prototxt.splits import insert_splits
from caffe_compat.prototxt.upgrade import upgrade

GOLDEN = Path(__file__).parents[1] / "golden"
NETS = sorted([*(GOLDEN / "nets").iterdir(), *(GOLDEN / "random_nets").iterdir()])


def split(text):
    return insert_splits(select(parse(text, NetParameter), TEST))


@pytest.mark.parametrize("case", NETS, ids=lambda path: path.name)
def test_layers_and_blobs_are_caffes(case):
    caffe = json.loads((case / "net.json").read_text())
    net, _ = read_net(case / "net.prototxt")
    new = insert_splits(select(upgrade(net), Phase.Value(caffe["phase"])))
    assert [[layer.name, layer.type] for layer in new.layer] == caffe["layers"]
    blobs = list(dict.fromkeys(top for layer in new.layer for top in layer.top))
    # "(automatic)" is the top that a loss layer makes where the prototxt names none.
    assert blobs == [blob for blob in caffe["blobs"] if blob != "(automatic)"]


def test_in_place_and_order_of_readers():
    new = split(
        "layer { name: 'in' type: 'Input' top: 'a' top: 'b' }"
        "layer { name: 'r' bottom: 'b' top: 'b' }"
        "layer { name: 's' bottom: 'b' bottom: 'a' bottom: 'b' top: 's' }"
        "layer { name: 't' bottom: 'b' top: 'b' }"
    )
    assert [(x.name, list(x.bottom), list(x.top)) for x in new.layer] == [
        ("in", [], ["a", "b"]),
        ("r", ["b"], ["b"]),
        ("b_r_0_split", ["b"], ["b_r_0_split_0", "b_r_0_split_1", "b_r_0_split_2"]),
        ("s", ["b_r_0_split_0", "a", "b_r_0_split_1"], ["s"]),
        ("t", ["b_r_0_split_2"], ["b"]),
    ]


def test_loss_weight_is_the_first_reader():
    new = split(
        "layer { name: 'in' top: 'a' top: 'b' loss_weight: 0 loss_weight: 2.5 }"
        "layer { name: 'x' bottom: 'b' bottom: 'a' top: 'x' loss_weight: 1 }"
    )
    assert [x.name for x in new.layer] == ["in", "b_in_1_split", "x"]
    assert list(new.layer[0].loss_weight) == []
    assert list(new.layer[1].loss_weight) == [2.5, 0]
    assert list(new.layer[2].bottom) == ["b_in_1_split_1", "a"]
    assert list(new.layer[2].loss_weight) == [1]


def test_unknown_bottom():
    message = "Unknown bottom blob 'zz' \\(layer 'x', bottom index 1\\)"
    with pytest.raises(CaffeCompatError, match=message):
        split("layer { name: 'in' top: 'a' } layer { name: 'x' bottom: 'a' bottom: 'zz' }")
